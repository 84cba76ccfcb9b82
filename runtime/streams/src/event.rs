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

/// What an event is to the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audit {
    /// Not recorded.
    #[default]
    No,
    /// A record of its own: a session, a refusal.
    Line,
    /// A part of the record of the call with the same trace, such as a decision or what a broker
    /// answered. A part with a field `outcome` is the last one of its binding.
    Part,
    /// The end of a call: completes the record of its trace.
    Call,
}

/// A typed event. Its id is [`Extension::WORD`], e.g. `mqtt.client.connection.lost`.
pub trait Event: Extension {
    /// Severity of all events of this type.
    const SEVERITY: Severity;
    /// Whether and how it is recorded by an audit exporter.
    const AUDIT: Audit;
    /// Description, from the doc comment.
    const HELP: &'static str;
    /// The message for people, with the field values filled in.
    fn message(&self) -> String;
}

/// Declares an event: struct, id, severity, message and fields.
///
/// `audit(line)`, `audit(part)` or `audit(call)` behind the severity makes it an audited event
/// ([`Audit`]): the audit log has its fields under their names, beside time, trace, binding and the
/// identity of the caller, which every event has. Fields of the same meaning have the same name in
/// all audited events: `tool`, `topic`, `toolkit`, `session`, `client`, `clientVersion`, `era`,
/// `address`, `decision` (`allowed`, `refused`), `rule`, `reason`, `code`, `outcome` and
/// `durationMicros`. A part whose id ends with `.permitted` or `.refused` states the decision by that;
/// the payload of one that ends with `.answered` is that of an answer.
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
        pub struct $type:ident $id:literal $severity:ident $(audit($audit:ident))? $message:literal {
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
            const AUDIT: $crate::Audit = $crate::event!(@audit $($audit)?);
            const HELP: &'static str = concat!($($doc),+);

            #[allow(unused_variables)]
            fn message(&self) -> String {
                let Self { $($field),* } = self;
                format!($message)
            }
        }
    };
    (@audit) => { $crate::Audit::No };
    (@audit line) => { $crate::Audit::Line };
    (@audit part) => { $crate::Audit::Part };
    (@audit call) => { $crate::Audit::Call };
}
