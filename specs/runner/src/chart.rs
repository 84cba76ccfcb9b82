//! A script as a chart: one column for each conversation of either side, the binding between them.

use std::fmt::Write as _;

use crate::script::{Script, Step};

/// How wide the place of the binding is.
const MIDDLE: usize = 9;
/// How much of a line's text is shown.
const TEXT: usize = 64;

/// Draws a script.
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
            Some(Step::Play(said) | Step::Expect(said)) => {
                let plays = matches!(line.step, Some(Step::Play(_)));
                let text = line.text.trim_start_matches(['>', '<', ' ']);
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let text: String = text.chars().take(TEXT).collect();
                let is_left = left.as_deref() == Some(said.side.as_str());
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

/// The side that the first stimulus comes from.
fn left_side(script: &Script) -> Option<String> {
    script.lines.iter().find_map(|line| match &line.step {
        Some(Step::Play(said)) => Some(said.side.clone()),
        _ => None,
    })
}
