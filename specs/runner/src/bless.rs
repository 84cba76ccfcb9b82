//! Writes the reactions of a script anew: what still holds stays as it is written, with its patterns
//! and captures; comments and stimuli stay where they are.

use tidegate_config::Registry;

use crate::factory::Factory;
use crate::player::{Told, reactions};
use crate::script::{Line, Script, Step};

/// The script's text with the reactions that the binding shows today.
pub fn bless<F: Factory>(script: &Script, registry: &Registry<F>) -> Result<String, String> {
    let told = reactions(script, registry)?;
    let mut lines: Vec<Line> = Vec::new();
    for (index, line) in script.lines.iter().enumerate() {
        let holds = told.iter().find_map(|told| match told {
            Told::Holds(place, before) if *place == index => Some(before),
            _ => None,
        });
        if let Some(before) = holds {
            lines.extend(before.iter().map(new));
        }
        // A reaction that no longer comes is gone.
        if holds.is_some() || !matches!(line.step, Some(Step::Expect(_))) {
            lines.push(line.clone());
        }
        for told in &told {
            if let Told::Behind(place, behind) = told
                && *place == index
            {
                lines.extend(behind.iter().map(new));
            }
        }
    }
    let mut blessed = script.clone();
    blessed.lines = lines;
    Ok(blessed.source())
}

fn new(text: impl Into<String>) -> Line {
    Line {
        number: 0,
        text: text.into(),
        step: None,
    }
}
