//! Counts the outcomes of calls, and emits an event for each if enabled.

use bytestring::ByteString;
use tidegate_engine::{Context, Meter, MeterKind, Time};

use super::events::{CallCompleted, CallOutcome, caller};
use crate::jsonrpc::{Method, Params};
use crate::shown::shown;

/// Number of calls by outcome.
#[derive(Debug, Default)]
pub(super) struct Calls([u64; CallOutcome::ALL.len()]);

/// A running call.
#[derive(Debug)]
pub(super) struct Call {
    began: Time,
    /// Only present if the event is enabled.
    subject: Option<Box<Subject>>,
}

/// What a call is about and who makes it, for its event.
#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) target: ByteString,
    pub(super) client: Client,
    pub(super) era: &'static str,
    pub(super) session: ByteString,
}

/// Name and version of a client, shortened.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) name: ByteString,
    pub(super) version: ByteString,
}

impl Client {
    /// Copies the texts, because they outlive the message that they are read from.
    pub(super) fn of(params: &Params) -> Self {
        let copied = |member| {
            let text = params.client_info(member);
            text.map_or_else(ByteString::new, |text| ByteString::from(&*shown(&text)))
        };
        Self {
            name: copied("name"),
            version: copied("version"),
        }
    }
}

impl Call {
    /// A call that begins now. `subject` is called only if the event is enabled.
    pub(super) fn begin(cx: &Context<'_>, subject: impl FnOnce() -> Subject) -> Self {
        let hears = cx.hears::<CallCompleted>();
        Self {
            began: cx.now(),
            subject: hears.then(|| Box::new(subject())),
        }
    }
}

impl Calls {
    /// Records the outcome of a call. `code` is the error code, if any.
    pub(super) fn complete(
        &mut self,
        cx: &mut Context<'_>,
        method: Method,
        call: Call,
        outcome: CallOutcome,
        code: Option<i64>,
    ) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count += 1;
        }
        if let Some(subject) = call.subject {
            let duration = cx.now().since(call.began);
            cx.event(&CallCompleted {
                method: ByteString::from_static(method.name()),
                target: subject.target,
                client: subject.client.name,
                client_version: subject.client.version,
                era: ByteString::from_static(subject.era),
                session: subject.session,
                identity: caller(cx),
                outcome: ByteString::from_static(outcome.word()),
                code: code.unwrap_or_default(),
                duration: duration.as_millis(),
                duration_micros: duration.as_micros(),
            });
        }
    }

    pub(super) fn report(&self, meter: &mut dyn Meter) {
        for (outcome, count) in CallOutcome::ALL.iter().zip(self.0) {
            let labels = [("outcome", outcome.word())];
            meter.record(MeterKind::Counter, "mcp.server.calls", &labels, count);
        }
    }
}
