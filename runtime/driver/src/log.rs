//! Writes events as log lines.
//!
//! Texts in an event may come from clients and peers and be as long as a whole body. Whatever their
//! emitter has done about it, a line is bounded here: each of its fields, and its message.

use std::fmt::{self, Write as _};

use tidegate_engine::Emitted;
use tidegate_streams::{Severity, Value, Visible};
use tracing::Level;

/// Log target of binding events.
pub(crate) const EVENTS: &str = "tidegate::event";
/// Log target of calls, which are logged on request.
pub const CALLS: &str = "tidegate::call";

/// A longer text that occurs in the message is not repeated as a field.
const REPEATED: usize = 24;

/// Longest message in a log line, in bytes of UTF-8. The rest is replaced by `…`.
const MESSAGE_MAX: usize = 2_048;
/// Longest value of a field in a log line, in bytes of UTF-8. The rest is replaced by `…`.
const FIELD_MAX: usize = 512;

/// Formats a value without deceptive characters, cut after a number of bytes.
struct Cut<T>(T, usize);

impl<T: fmt::Display> fmt::Display for Cut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cutting = Cutting {
            f,
            left: Some(self.1),
        };
        write!(cutting, "{}", Visible(&self.0))
    }
}

struct Cutting<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    /// Bytes that may still be written; `None` once the text was cut.
    left: Option<usize>,
}

impl fmt::Write for Cutting<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(left) = self.left else {
            return Ok(());
        };
        self.left = left.checked_sub(text.len());
        if self.left.is_some() {
            return self.f.write_str(text);
        }
        let end = text.floor_char_boundary(left);
        self.f.write_str(text.get(..end).unwrap_or_default())?;
        self.f.write_str("…")
    }
}

/// Formats the fields of an event as `name=value`.
struct Fields<'a> {
    message: &'a str,
    fields: &'a [(&'static str, Value)],
}

impl Fields<'_> {
    fn shown(&self) -> impl Iterator<Item = &(&'static str, Value)> {
        let message = self.message;
        let repeated = move |value: &Value| match value {
            Value::Text(text) => text.len() > REPEATED && message.contains(&**text),
            _ => false,
        };
        let fields = self.fields.iter();
        fields.filter(move |(_, value)| !repeated(value))
    }
}

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.shown().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={}", Cut(value, FIELD_MAX))?;
        }
        Ok(())
    }
}

/// The minimum severity of events to log.
pub(crate) fn severity() -> Severity {
    if tracing::enabled!(target: EVENTS, Level::DEBUG) {
        Severity::Debug
    } else {
        Severity::Info
    }
}

/// Logs an event of a binding: its message, and its fields for searching. Calls that were requested
/// are logged at `info`.
pub(crate) fn event(worker: u16, binding: &str, event: &Emitted, is_call: bool) {
    // Texts from clients and peers must not break the line or the terminal that shows it.
    let fields = Fields {
        message: &event.message,
        fields: &event.fields,
    };
    let message = Cut(&event.message, MESSAGE_MAX);
    let trace = (event.trace != 0).then(|| tracing::field::display(Trace(event.trace)));
    macro_rules! log {
        ($target:expr, $level:ident) => {
            tracing::$level!(target: $target, event = event.id, binding, worker, trace, %fields, "{message}")
        };
    }
    match event.severity {
        _ if is_call => log!(CALLS, info),
        Severity::Debug => log!(EVENTS, debug),
        Severity::Info => log!(EVENTS, info),
        Severity::Warn => log!(EVENTS, warn),
        Severity::Error => log!(EVENTS, error),
    }
}

/// Formats a trace for logs.
struct Trace(u64);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_and_the_message_are_bounded() {
        let long = "ä".repeat(100_000);
        let text = |text: &str| Value::Text(text.into());
        let list = Value::List(vec![text("b"); 100_000]);
        let fields = vec![
            ("uri", text(&long)),
            ("all", list),
            ("code", Value::Integer(7)),
        ];
        let line = Fields {
            message: "",
            fields: &fields,
        };
        let line = line.to_string();
        assert!(line.len() < 2 * (FIELD_MAX + 16), "{}", line.len());
        assert!(
            line.starts_with("uri=\"ää") && line.contains("ä… all=[\"b\", "),
            "{line}"
        );
        assert!(line.ends_with("… code=7"), "{line}");

        let message = Cut(&long, MESSAGE_MAX).to_string();
        assert_eq!(message, format!("{}…", "ä".repeat(MESSAGE_MAX / 2)));
    }

    #[test]
    fn escapes_count_as_they_are_printed() {
        let text = "\u{202e}".repeat(1_000);
        let cut = Cut(&text, 20).to_string();
        assert_eq!(cut, r"\u{202e}\u{202e}\u{2…");
        for (text, expected) in [
            ("", ""),
            ("12345", "12345"),
            ("123456", "12345…"),
            ("1234ä", "1234…"),
        ] {
            assert_eq!(Cut(text, 5).to_string(), expected);
        }
    }
}
