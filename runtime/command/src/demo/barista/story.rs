//! The tour, act by act: what happens, and what must be seen of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::journal::{Entry, Event, Journal};
use super::kitchen::Kitchen;
use super::link::Link;
use super::robot::Reading;
use super::shop::{display_topic, restock_topic};
use crate::console::{bold, print_line};
use crate::demo::TourError;

/// Longest time for anything that must be seen.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the tour acts on.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) journal: Journal,
    pub(super) link: Link,
    /// Longest time from a request to its plan, at the gateway's end of its link.
    pub(super) plan_within: Duration,
    pub(super) kitchen: Arc<Kitchen>,
    pub(super) orders: mpsc::Sender<String>,
    pub(super) readings: mpsc::Sender<Reading>,
}

/// Tells the whole story. The error is the first claim that does not hold.
pub(super) async fn tell(stage: &Stage) -> Result<(), TourError> {
    stage.subscribed().await?;
    stage.flat_white().await?;
    stage.almond_instead_of_oat().await?;
    stage.no_backup().await?;
    stage.link_lost().await
}

/// The plan of the first drink.
fn expected() -> Value {
    json!({
        "drink": "flat white",
        "size": "regular",
        "milk": "oat",
        "station": 2,
        "notice": null,
        "choose": [],
        "recipe_allergens": ["milk"],
        "steps": [
            { "do": "grind", "grams": 18, "size": "fine" },
            { "do": "pull", "shot": "ristretto", "temperature": 200 },
            { "do": "steam", "milk": "oat", "temperature": 140, "texture": "microfoam" },
            { "do": "pour", "ounces": 4, "where": "center" },
            { "do": "dispense", "cup_ounces": 8, "station": 2 },
        ],
    })
}

fn order(drink: &str, customer: &str) -> String {
    format!(r#"{{"drink": "{drink}", "size": "regular", "customer_id": "{customer}"}}"#)
}

impl Stage {
    async fn subscribed(&self) -> Result<(), TourError> {
        const ACT: &str = "0  the gateway subscribes";
        self.begin(ACT);
        let subscribed = |entry: &Entry| matches!(entry.event, Event::Subscribed).then_some(());
        self.wait(ACT, 0, subscribed).await
    }

    async fn flat_white(&self) -> Result<(), TourError> {
        const ACT: &str = "1  a drink that the robot has never made";
        let from = self.begin(ACT);
        self.order(ACT, "flat white", "LYL-90482").await?;
        let plan = self.wait(ACT, from, plan).await?;
        claim(
            ACT,
            "the plan is the recipe as this customer likes it",
            plan == expected(),
            &plan,
        )?;
        self.planned_in_time(ACT)?;
        let served = "Your flat white is ready at station 2.";
        self.wait(ACT, from, displayed(served)).await?;
        let calls = self.journal.all(from, called);
        let expected = [
            "lookup_drink_recipe",
            "get_customer_preferences",
            "check_ingredient_levels",
            "check_allergen_flags",
        ];
        let each_once = expected
            .iter()
            .all(|tool| calls.iter().filter(|(it, _)| it == tool).count() == 1);
        claim(
            ACT,
            "each of the four tools was called once",
            each_once && calls.len() == expected.len(),
            &format!("{calls:?}"),
        )?;
        let steps = self.journal.all(from, |entry| match &entry.event {
            Event::Did(step) if entry.who == "robot" => Some(step.clone()),
            _ => None,
        });
        let made = [
            "grind 18g fine",
            "pull ristretto at 200°F",
            "steam oat milk to 140°F with microfoam",
            "pour 4 oz center",
            "dispense 8 oz cup at station 2",
        ];
        claim(
            ACT,
            "the robot made it, step by step",
            steps.ends_with(&made.map(str::to_owned)),
            &format!("{steps:?}"),
        )
    }

    async fn almond_instead_of_oat(&self) -> Result<(), TourError> {
        const ACT: &str = "2  oat milk runs low";
        let from = self.begin(ACT);
        for percent in [38, 21, 9, 8, 7] {
            self.weigh(ACT, percent).await?;
        }
        let alert = self.wait(ACT, from, restocked).await?;
        let due = json!({ "ingredient": "oat-milk", "level": 9 });
        claim(ACT, "an alert at 9%", alert == due, &alert)?;
        self.order(ACT, "flat white", "LYL-90482").await?;
        let plan = self.wait(ACT, from, plan).await?;
        let milk = plan.pointer("/steps/2/milk").and_then(Value::as_str);
        claim(
            ACT,
            "almond milk is substituted",
            milk == Some("almond"),
            &plan,
        )?;
        let notice = "We've used your backup milk preference (almond) today.";
        self.wait(ACT, from, displayed(notice)).await?;
        let served = "Your flat white is ready at station 2.";
        self.wait(ACT, from, displayed(served)).await?;
        let alerts = self.journal.all(from, restocked);
        claim(
            ACT,
            "one alert for five readings",
            alerts.len() == 1,
            &format!("{alerts:?}"),
        )
    }

    async fn no_backup(&self) -> Result<(), TourError> {
        const ACT: &str = "3  a customer without a backup preference";
        let from = self.begin(ACT);
        self.order(ACT, "flat white", "LYL-11730").await?;
        let plan = self.wait(ACT, from, plan).await?;
        let choice = plan.get("choose") == Some(&json!(["almond", "whole"]));
        let steps = plan.get("steps") == Some(&json!([]));
        claim(
            ACT,
            "the customer chooses, and nothing is made yet",
            choice && steps,
            &plan,
        )?;
        let question = "We are out of oat milk. Please choose: almond or whole.";
        self.wait(ACT, from, displayed(question)).await
    }

    async fn link_lost(&self) -> Result<(), TourError> {
        const ACT: &str = "4  the link drops mid-drink";
        let from = self.begin(ACT);
        self.order(ACT, "flat white", "LYL-90482").await?;
        self.wait(ACT, from, did("grind 18g fine")).await?;
        // Otherwise the broker would send that request again, too.
        self.all_done_with(ACT).await?;
        self.link.cut();
        self.journal.add("link", Event::Did("down".to_owned()));
        let down = self.journal.place();
        self.order(ACT, "cortado", "LYL-90482").await?;
        self.wait(ACT, down, acknowledged).await?;
        self.order(ACT, "espresso", "LYL-90482").await?;
        let finished = "Your flat white is ready at station 2.";
        self.wait(ACT, down, displayed(finished)).await?;
        let cached = "Your espresso is ready at station 1.";
        self.wait(ACT, down, displayed(cached)).await?;
        let calls = self.journal.all(down, called);
        claim(
            ACT,
            "the drink was finished and one from the cache served without the link",
            calls.is_empty(),
            &format!("{calls:?}"),
        )?;
        let up = self.journal.place();
        self.journal.add("link", Event::Did("up".to_owned()));
        self.link.restore();
        let cortado =
            |entry: &Entry| plan(entry).filter(|it| it.get("drink") == Some(&json!("cortado")));
        let plan = self.wait(ACT, up, cortado).await?;
        let steps = plan.get("steps").and_then(Value::as_array);
        let drink = steps.is_some_and(|it| it.len() == 5);
        claim(
            ACT,
            "the request that was queued at the broker is answered on return",
            drink,
            &plan,
        )?;
        self.planned_in_time(ACT)?;
        let served = "Your cortado is ready at station 2.";
        self.wait(ACT, up, displayed(served)).await?;
        let calls = self.journal.all(up, called);
        let lookups = calls
            .iter()
            .filter(|(tool, _)| *tool == "lookup_drink_recipe");
        claim(
            ACT,
            "it was executed once",
            lookups.count() == 1,
            &format!("{calls:?}"),
        )
    }

    /// Begins an act; returns the place of its first entry.
    fn begin(&self, act: &str) -> usize {
        print_line("");
        print_line(bold(act));
        self.journal.begin();
        self.journal.place()
    }

    async fn order(&self, act: &'static str, drink: &str, customer: &str) -> Result<(), TourError> {
        let sent = self.orders.send(order(drink, customer)).await;
        sent.map_err(|_| TourError::TimedOut(act))
    }

    /// The weight sensor of the oat milk measures a level, which the kitchen's tools know as well.
    async fn weigh(&self, act: &'static str, percent: u8) -> Result<(), TourError> {
        self.kitchen.set_level("oat milk", percent);
        let reading = Reading {
            ingredient: "oat-milk",
            percent,
        };
        let sent = self.readings.send(reading).await;
        sent.map_err(|_| TourError::TimedOut(act))
    }

    async fn wait<T>(
        &self,
        act: &'static str,
        from: usize,
        find: impl Fn(&Entry) -> Option<T>,
    ) -> Result<T, TourError> {
        let found = timeout(PATIENCE, self.journal.first(from, find)).await;
        found.map_err(|_| TourError::TimedOut(act))
    }

    /// Waits until the gateway has acknowledged all that it has received.
    async fn all_done_with(&self, act: &'static str) -> Result<(), TourError> {
        loop {
            let place = self.journal.place();
            let received = self.journal.all(0, |entry| {
                let is_its = entry.who == super::link::WHO;
                entry.event.received().filter(|_| is_its).map(|_| ())
            });
            let done = |entry: &Entry| matches!(entry.event, Event::DoneWith).then_some(());
            if received.len() == self.journal.all(0, done).len() {
                return Ok(());
            }
            self.wait(act, place, |_| Some(())).await?;
        }
    }

    /// The last plan was on the wire in time.
    fn planned_in_time(&self, act: &'static str) -> Result<(), TourError> {
        let took = self.link.answers().last().copied();
        let took = took.unwrap_or(Duration::MAX);
        let claimed = format!(
            "the plan was on the wire {:.1} ms after the request, at the gateway's end (limit: {} ms)",
            took.as_secs_f64() * 1e3,
            self.plan_within.as_millis()
        );
        claim(act, &claimed, took < self.plan_within, &format!("{took:?}"))
    }
}

/// Prints a claim that holds; one that does not ends the tour.
fn claim(
    act: &'static str,
    claimed: &str,
    holds: bool,
    got: &impl ToString,
) -> Result<(), TourError> {
    if holds {
        print_line(format!("  ✓ {claimed}"));
        return Ok(());
    }
    Err(TourError::Unexpected {
        step: act,
        expected: claimed.to_owned(),
        got: got.to_string(),
    })
}

/// A plan that the robot received.
fn plan(entry: &Entry) -> Option<Value> {
    let (topic, payload) = entry.event.received()?;
    (entry.who == "robot" && topic.ends_with("/execution-plan")).then_some(payload)
}

fn called(entry: &Entry) -> Option<(&'static str, String)> {
    match &entry.event {
        Event::Called { tool, argument, .. } => Some((*tool, argument.clone())),
        _ => None,
    }
}

fn restocked(entry: &Entry) -> Option<Value> {
    let (topic, payload) = entry.event.received()?;
    (entry.who == "staff" && topic == restock_topic()).then_some(payload)
}

fn displayed(text: &'static str) -> impl Fn(&Entry) -> Option<()> {
    move |entry| {
        let (topic, payload) = entry.event.received()?;
        let shown = payload.get("text").and_then(Value::as_str);
        (topic == display_topic() && shown == Some(text)).then_some(())
    }
}

fn did(step: &'static str) -> impl Fn(&Entry) -> Option<()> {
    move |entry| matches!(&entry.event, Event::Did(it) if it == step).then_some(())
}

/// The broker has a request of the robot.
fn acknowledged(entry: &Entry) -> Option<()> {
    match &entry.event {
        Event::Acknowledged { topic } => topic.ends_with("/recipe-request").then_some(()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_does_not_hold_ends_the_tour() {
        assert!(claim("1  act", "two", true, &2).is_ok());
        let wrong = claim("1  act", "two", false, &3).expect_err("it does not hold");
        assert_eq!(wrong.to_string(), "step '1  act': expected two, got 3");
    }
}
