//! Prints a script as a sequence chart: callers on the left, the binding in the middle, exits on the right.

use std::fmt::Write as _;

use crate::script::{Script, Step};

/// Width of the arrows on the right.
const MIDDLE: usize = 9;
/// Longest text of a line; the rest is cut.
const TEXT: usize = 64;

/// Prints a script as a chart.
pub fn chart(script: &Script) -> String {
    let mut out = String::new();
    let left = left_side(script);
    let width = TEXT + 12;
    let _ = writeln!(out, "{:>width$}   {}", "", script.binding);
    for line in &script.lines {
        match &line.step {
            None if line.text.trim_start().starts_with('#') => {
                let _ = writeln!(out, "{}", line.text.trim());
            }
            None => {}
            Some(Step::Play(statement) | Step::Expect(statement)) => {
                let plays = matches!(line.step, Some(Step::Play(_)));
                let text = line.text.trim_start_matches(['>', '<', ' ']);
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let text: String = text.chars().take(TEXT).collect();
                let is_left = left.as_deref() == Some(statement.side.as_str());
                let _ = match (is_left, plays) {
                    (true, true) => writeln!(out, "{text:<width$}─▶ │"),
                    (true, false) => writeln!(out, "{text:<width$}◀─ │"),
                    (false, true) => writeln!(out, "{:width$}   │◀{:─<MIDDLE$} {text}", "", ""),
                    (false, false) => writeln!(out, "{:width$}   │{:─<MIDDLE$}▶ {text}", "", ""),
                };
            }
            Some(_) => {
                let _ = writeln!(out, "{:┄^width$}   ┼", format!(" {} ", line.text.trim()));
            }
        }
    }
    out
}

/// The side of the first stimulus.
fn left_side(script: &Script) -> Option<String> {
    script.lines.iter().find_map(|line| match &line.step {
        Some(Step::Play(statement)) => Some(statement.side.clone()),
        _ => None,
    })
}
