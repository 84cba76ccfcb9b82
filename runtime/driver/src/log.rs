//! Events as log lines.

use std::fmt;

use tidegate_engine::Emitted;
use tidegate_streams::{Severity, Value};

/// The fields of an event as `name=value`, for logs.
struct Fields<'a>(&'a [(&'static str, Value)]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
        }
        Ok(())
    }
}

/// Logs an event of a binding: its sentence, and its fields for whoever searches.
pub(crate) fn event(binding: &str, event: &Emitted) {
    let fields = Fields(&event.fields);
    let message = &event.message;
    let trace = format_args!("{:016x}", event.trace);
    macro_rules! log {
        ($level:ident) => {
            tracing::$level!(event = event.id, binding, trace, %fields, "{message}")
        };
    }
    match event.severity {
        Severity::Debug => log!(debug),
        Severity::Info => log!(info),
        Severity::Warn => log!(warn),
        Severity::Error => log!(error),
    }
}
