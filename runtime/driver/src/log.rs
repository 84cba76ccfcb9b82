//! Writes events as log lines.

use std::fmt;

use tidegate_engine::Emitted;
use tidegate_streams::{Severity, Value, Visible};
use tracing::Level;

/// Log target of binding events.
pub(crate) const EVENTS: &str = "tidegate::event";
/// Log target of calls, which are logged on request.
pub const CALLS: &str = "tidegate::call";

/// A longer text that occurs in the message is not repeated as a field.
const REPEATED: usize = 24;

/// Formats the fields of an event as `name=value`.
struct Fields<'a>(&'a Emitted);

impl Fields<'_> {
    fn shown(&self) -> impl Iterator<Item = &(&'static str, Value)> {
        let message = &self.0.message;
        let repeated = move |value: &Value| match value {
            Value::Text(text) => text.len() > REPEATED && message.contains(&**text),
            _ => false,
        };
        let fields = self.0.fields.iter();
        fields.filter(move |(_, value)| !repeated(value))
    }
}

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.shown().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
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
    let fields = Visible(Fields(event));
    let message = Visible(&event.message);
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
