//! Events as log lines.

use std::fmt;

use tidegate_engine::Emitted;
use tidegate_streams::{Severity, Value};
use tracing::Level;

/// The target of lines about events of bindings.
pub(crate) const EVENTS: &str = "tidegate::event";
/// The target of lines about calls, which are logged on demand.
pub const CALLS: &str = "tidegate::call";

/// A text that is longer and stands in the sentence is not told twice.
const REPEATED: usize = 24;

/// The fields of an event as `name=value`, for logs.
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

/// From which severity on events are logged.
pub(crate) fn severity() -> Severity {
    if tracing::enabled!(target: EVENTS, Level::DEBUG) {
        Severity::Debug
    } else {
        Severity::Info
    }
}

/// Logs an event of a binding: its sentence, and its fields for whoever searches. A call that was
/// asked for is logged at `info`.
pub(crate) fn event(worker: u16, binding: &str, event: &Emitted, is_call: bool) {
    let fields = Fields(event);
    let message = &event.message;
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

/// A trace as logs show it.
struct Trace(u64);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
