//! Events: what a binding tells operators, apart from its streams.
//!
//! An event is declared once, with [`event!`]: its id, its severity, its fields with their meaning, and
//! the sentence in which a log tells it. Exporters turn it into a log line, an audit record or a metric;
//! bindings know none of them.

use crate::field::Extension;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Of use to whoever looks for a fault.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What does not work.
    Error,
}

/// A typed event. Its id is [`Extension::WORD`], e.g. `mqtt.client.connection.lost`.
pub trait Event: Extension {
    /// How much it matters.
    const SEVERITY: Severity;
    /// What it means.
    const HELP: &'static str;
    /// It as a sentence, for people.
    fn message(&self) -> String;
}

/// Declares an event: its struct, id, severity, sentence and fields.
///
/// ```
/// use tidegate_streams::{Event, Extension, Severity, event};
///
/// event! {
///     /// A session was closed because nothing was asked in it for too long.
///     pub struct SessionExpired "mcp.server.session.expired" Info
///         "session expired after {idle} ms without a request"
///     {
///         /// For how long nothing was asked, in milliseconds.
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
