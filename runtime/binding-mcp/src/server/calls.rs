//! Counts the outcomes of calls, and emits an event for each if enabled.

use bytestring::ByteString;
use tidegate_engine::{Context, Meter, MeterKind, Time};

use super::events::{CallCompleted, CallOutcome, caller};
use crate::jsonrpc::Method;
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

#[derive(Debug)]
struct Subject {
    target: ByteString,
    client: ByteString,
}

impl Call {
    /// A call that begins now. `subject` returns its target and client, and is called only if the
    /// event is enabled.
    pub(super) fn begin(
        cx: &Context<'_>,
        subject: impl FnOnce() -> (Option<ByteString>, Option<ByteString>),
    ) -> Self {
        let bounded = |text: Option<ByteString>| {
            text.map_or_else(ByteString::new, |text| ByteString::from(&*shown(&text)))
        };
        Self {
            began: cx.now(),
            subject: cx.hears::<CallCompleted>().then(|| {
                let (target, client) = subject();
                Box::new(Subject {
                    target: bounded(target),
                    client: bounded(client),
                })
            }),
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
            let duration = cx.now().since(call.began).as_millis();
            cx.event(&CallCompleted {
                method: ByteString::from_static(method.name()),
                target: subject.target,
                client: subject.client,
                identity: caller(cx),
                outcome: ByteString::from_static(outcome.word()),
                code: code.unwrap_or_default(),
                duration,
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
