//! What the command says to the person in front of it, on standard output.
//!
//! A closed pipe (`tidegate demo | head`) is no failure: what nobody reads is not said.

use std::io::{self, IsTerminal as _, Write as _};

/// Prints a line.
pub(crate) fn say(line: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
}

/// Text in bold, where standard output is a terminal.
#[cfg(feature = "broker")]
pub(crate) fn strong(text: &str) -> String {
    if io::stdout().is_terminal() {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Text that steps back, where standard output is a terminal.
pub(crate) fn faint(text: &str) -> String {
    if io::stdout().is_terminal() {
        format!("\x1b[2m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
