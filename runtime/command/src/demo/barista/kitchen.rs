//! What the kitchen and the loyalty programme know: recipes, levels of ingredients, customers. Their tools
//! answer from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// Where the robot serves drinks.
const STATION: u8 = 2;

/// A tool with one argument, a text.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) argument: &'static str,
    /// How long it takes.
    pub(super) takes: Duration,
    answer: fn(&Kitchen, &str) -> Option<Answer>,
}

/// The answer of a tool: for people, and for programs.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) structured: Value,
}

/// The tools of the kitchen.
pub(super) const KITCHEN: &[Tool] = &[
    Tool {
        name: "lookup_drink_recipe",
        description: "The recipe of a drink.",
        argument: "drink",
        takes: Duration::from_millis(30),
        answer: |_, drink| recipe(drink),
    },
    Tool {
        name: "check_ingredient_levels",
        description: "Levels of the ingredients of a robot, in percent.",
        argument: "station",
        takes: Duration::from_millis(15),
        answer: |kitchen, robot| Some(kitchen.levels_of(robot)),
    },
    Tool {
        name: "check_allergen_flags",
        description: "Allergens of a recipe.",
        argument: "recipe",
        takes: Duration::from_millis(10),
        answer: |_, recipe| Some(allergens(recipe)),
    },
];

/// The tools of the loyalty programme.
pub(super) const LOYALTY: &[Tool] = &[Tool {
    name: "get_customer_preferences",
    description: "What a customer likes.",
    argument: "id",
    takes: Duration::from_millis(20),
    answer: |_, id| customer(id),
}];

impl Tool {
    /// The answer; `None` if there is nothing of that name.
    pub(super) fn answer(&self, kitchen: &Kitchen, argument: &str) -> Option<Answer> {
        (self.answer)(kitchen, argument)
    }
}

/// What changes in the kitchen.
#[derive(Debug)]
pub(super) struct Kitchen {
    /// Levels of ingredients, in percent.
    levels: Mutex<BTreeMap<&'static str, u8>>,
}

impl Kitchen {
    pub(super) fn new() -> Self {
        let levels = [
            ("oat milk", 62),
            ("espresso beans", 45),
            ("almond milk", 80),
            ("whole milk", 71),
        ];
        Self {
            levels: Mutex::new(levels.into()),
        }
    }

    fn levels(&self) -> MutexGuard<'_, BTreeMap<&'static str, u8>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_level(&self, ingredient: &'static str, percent: u8) {
        self.levels().insert(ingredient, percent);
    }

    fn levels_of(&self, _robot: &str) -> Answer {
        let levels = self.levels();
        let mut text = String::new();
        for (number, ingredient) in ["oat milk", "espresso beans"].iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let percent = levels.get(ingredient).copied().unwrap_or_default();
            let _ = write!(text, "{comma}{ingredient} at {percent}%");
        }
        let structured = json!({ "station": STATION, "levels": *levels });
        Answer { text, structured }
    }
}

fn recipe(drink: &str) -> Option<Answer> {
    let (text, ounces, ratio) = match drink {
        "flat white" => (
            "ristretto base, 4 oz microfoamed whole milk, 1:4 ratio, serve at 150–160°F",
            4,
            "1:4",
        ),
        "cortado" => (
            "ristretto base, 2 oz microfoamed whole milk, 1:1 ratio, serve at 150–160°F",
            2,
            "1:1",
        ),
        _ => return None,
    };
    let structured = json!({
        "name": drink,
        "grind": { "grams": 18, "size": "fine" },
        "shot": { "kind": "ristretto", "temperature": 200 },
        "milk": "whole",
        "milk_ounces": ounces,
        "ratio": ratio,
        "texture": "microfoam",
        "temperature": 155,
        "cup_ounces": 8,
    });
    Some(Answer {
        text: text.to_owned(),
        structured,
    })
}

fn allergens(recipe: &str) -> Answer {
    Answer {
        text: format!("{recipe}: milk, unless another one is used"),
        structured: json!({ "flags": ["milk"] }),
    }
}

fn customer(id: &str) -> Option<Answer> {
    let (text, backup) = match id {
        "LYL-90482" => (
            "prefers oat milk, 140°F, no sweetener; backup: almond milk",
            Some("almond"),
        ),
        "LYL-11730" => ("prefers oat milk, 140°F, no sweetener; no backup", None),
        _ => return None,
    };
    let structured = json!({
        "id": id,
        "milk": "oat",
        "backup_milk": backup,
        "temperature": 140,
        "sweetener": "none",
    });
    Some(Answer {
        text: text.to_owned(),
        structured,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_answers_and_knows_what_it_does_not_know() {
        let kitchen = Kitchen::new();
        let ask = |name: &str, argument: &str| {
            let mut tools = KITCHEN.iter().chain(LOYALTY);
            let tool = tools.find(|it| it.name == name).expect(name);
            tool.answer(&kitchen, argument)
        };
        assert_eq!(ask("lookup_drink_recipe", "tea"), None);
        assert_eq!(ask("get_customer_preferences", "LYL-0"), None);
        let levels = ask("check_ingredient_levels", "robot-terminal-A3").expect("levels");
        assert_eq!(levels.text, "oat milk at 62%, espresso beans at 45%");
        let likes = ask("get_customer_preferences", "LYL-90482").expect("a customer");
        assert_eq!(likes.structured["milk"], "oat");
        kitchen.set_level("oat milk", 9);
        let levels = ask("check_ingredient_levels", "robot-terminal-A3").expect("levels");
        assert_eq!(levels.structured["levels"]["oat milk"], 9);
    }
}
