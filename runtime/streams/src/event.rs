//! Events for operators.
//!
//! An event is declared once, with [`event!`]: its id, severity, message and documented fields.
//! Exporters turn it into a log line, an audit record or a metric; bindings do not know the
//! exporters.

use crate::field::Extension;

/// Severity of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Details for debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Needs attention.
    Warn,
    /// A failure.
    Error,
}

/// A typed event. Its id is [`Extension::WORD`], e.g. `mqtt.client.connection.lost`.
pub trait Event: Extension {
    /// Severity of all events of this type.
    const SEVERITY: Severity;
    /// Description, from the doc comment.
    const HELP: &'static str;
    /// The message for people, with the field values filled in.
    fn message(&self) -> String;
}

/// Declares an event: struct, id, severity, message and fields.
///
/// ```
/// use tidegate_streams::{Event, Extension, Severity, event};
///
/// event! {
///     /// A session expired because it was idle for too long.
///     pub struct SessionExpired "mcp.server.session.expired" Info
///         "session expired after {idle} ms without a request"
///     {
///         /// Time since the last request, in milliseconds.
///         idle "idle": u64 = 0,
///     }
/// }
///
/// let event = SessionExpired { idle: 300_000 };
/// assert_eq!(SessionExpired::WORD, "mcp.server.session.expired");
/// assert_eq!(SessionExpired::SEVERITY, Severity::Info);
/// assert_eq!(event.message(), "session expired after 300000 ms without a request");
/// ```
#[macro_export]
macro_rules! event {
    (
        $(#[doc = $doc:literal])+
        pub struct $type:ident $id:literal $severity:ident $message:literal {
            $(
                $(#[doc = $field_doc:literal])+
                $field:ident $name:literal : $field_type:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        $crate::extension! {
            $(#[doc = $doc])+
            pub struct $type $id {
                $(
                    $(#[doc = $field_doc])+
                    $field $name : $field_type = $default
                ),*
            }
        }

        impl $crate::Event for $type {
            const SEVERITY: $crate::Severity = $crate::Severity::$severity;
            const HELP: &'static str = concat!($($doc),+);

            #[allow(unused_variables)]
            fn message(&self) -> String {
                let Self { $($field),* } = self;
                format!($message)
            }
        }
    };
}
