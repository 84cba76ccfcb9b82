//! How calls come out: counted, and told operators one by one where somebody listens.

use bytestring::ByteString;
use tidegate_engine::{Context, Meter, MeterKind, Time};

use super::events::{CallCompleted, CallOutcome, caller};
use crate::jsonrpc::Method;
use crate::shown::shown;

/// How many calls came out in each way.
#[derive(Debug, Default)]
pub(super) struct Calls([u64; CallOutcome::ALL.len()]);

/// What a call is, until it is over.
#[derive(Debug)]
pub(super) struct Call {
    began: Time,
    /// Only there while somebody listens.
    subject: Option<Box<Subject>>,
}

#[derive(Debug)]
struct Subject {
    target: ByteString,
    client: ByteString,
}

impl Call {
    /// A call that begins now. `subject` says its target and its client, if somebody listens.
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
    /// A call is over. `code` is that of the error, where it is one.
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
