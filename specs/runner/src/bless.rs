//! Rewrites the reactions of a script. Lines that still match are kept as written, with their patterns
//! and captures; comments and stimuli keep their positions.

use tidegate_config::Registry;

use crate::factory::Factory;
use crate::player::{Blessing, reactions};
use crate::script::{Line, Script, Step};

/// The text of the script with the current reactions of the binding.
pub fn bless<F: Factory>(script: &Script, registry: &Registry<F>) -> Result<String, String> {
    let blessings = reactions(script, registry)?;
    let mut lines: Vec<Line> = Vec::new();
    for (index, line) in script.lines.iter().enumerate() {
        let kept = blessings.iter().find_map(|blessing| match blessing {
            Blessing::Keep(line, before) if *line == index => Some(before),
            _ => None,
        });
        if let Some(before) = kept {
            lines.extend(before.iter().map(new));
        }
        // Drop reactions that no longer occur.
        if kept.is_some() || !matches!(line.step, Some(Step::Expect(_))) {
            lines.push(line.clone());
        }
        for blessing in &blessings {
            if let Blessing::InsertAfter(line, after) = blessing
                && *line == index
            {
                lines.extend(after.iter().map(new));
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
