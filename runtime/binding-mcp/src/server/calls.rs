//! How calls come out: counted, and told operators one by one where somebody listens.

use bytestring::ByteString;
use tidegate_engine::{Context, Meter, MeterKind, Time};

use super::events::{CallCompleted, CallOutcome};
use crate::jsonrpc::Method;
use crate::shown::shown;

/// How many calls came out in each way.
#[derive(Debug, Default)]
pub(super) struct Calls([u64; CallOutcome::ALL.len()]);

/// What will be told of a call.
#[derive(Debug)]
pub(super) struct Call {
    began: Time,
    /// Kept where somebody listens.
    told: Option<Box<Told>>,
}

#[derive(Debug)]
struct Told {
    target: ByteString,
    client: ByteString,
}

impl Call {
    /// A call that begins now. `told` says what it is about and who asks, if somebody listens.
    pub(super) fn begin(
        cx: &Context<'_>,
        told: impl FnOnce() -> (Option<ByteString>, Option<ByteString>),
    ) -> Self {
        let kept = |text: Option<ByteString>| {
            text.map_or_else(ByteString::new, |text| ByteString::from(&*shown(&text)))
        };
        Self {
            began: cx.now(),
            told: cx.hears::<CallCompleted>().then(|| {
                let (target, client) = told();
                Box::new(Told {
                    target: kept(target),
                    client: kept(client),
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
        if let Some(told) = call.told {
            let duration = cx.now().since(call.began).as_millis();
            cx.event(&CallCompleted {
                method: ByteString::from_static(method.name()),
                target: told.target,
                client: told.client,
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
