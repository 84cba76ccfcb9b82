//! Counts the outcomes of calls, and emits an event for each if enabled.

use bytestring::ByteString;
use tidegate_engine::{CallContext, Context, Histogram, Meter, MeterKind, Time};

use super::events::{CallCompleted, CallOutcome, caller};
use crate::jsonrpc::{Method, Params};
use crate::shown::shown;

/// Number and durations of calls by method and outcome. All series exist from the start, so that
/// counting a call allocates nothing.
#[derive(Debug)]
pub(super) struct Calls(Vec<[Histogram; CallOutcome::ALL.len()]>);

impl Default for Calls {
    fn default() -> Self {
        Self(vec![Default::default(); Method::ALL.len()])
    }
}

/// A running call.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    began: Time,
    /// Only present if the event is enabled, with the context of the call: it may end in a handler that
    /// works for another one.
    told: Option<Box<(Subject, CallContext)>>,
}

/// What a call is about and who makes it, for its event.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    pub(super) target: ByteString,
    pub(super) client: Client,
    pub(super) era: &'static str,
    pub(super) session: ByteString,
    pub(super) address: ByteString,
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
    pub(super) fn begin(
        cx: &Context<'_>,
        method: Method,
        subject: impl FnOnce() -> Subject,
    ) -> Self {
        let hears = cx.hears::<CallCompleted>();
        Self {
            method,
            began: cx.now(),
            told: hears.then(|| Box::new((subject(), cx.call().clone()))),
        }
    }

    /// The call that goes on after this one, which has its result.
    pub(super) fn next(&self, cx: &Context<'_>) -> Self {
        Self {
            method: self.method,
            began: cx.now(),
            told: self.told.clone(),
        }
    }

    /// The context of the stream that was opened for it.
    pub(super) fn set_context(&mut self, context: &CallContext) {
        if let Some(told) = &mut self.told {
            told.1 = context.clone();
        }
    }
}

impl Calls {
    /// Records the outcome of a call. `code` is the error code, if any.
    pub(super) fn complete(
        &mut self,
        cx: &mut Context<'_>,
        call: Call,
        outcome: CallOutcome,
        code: Option<i64>,
    ) {
        let duration = cx.now().since(call.began);
        let of_method = self.0.get_mut(call.method as usize);
        if let Some(histogram) = of_method.and_then(|it| it.get_mut(outcome as usize)) {
            histogram.record(duration);
        }
        if let Some((subject, context)) = call.told.map(|told| *told) {
            let handler = cx.call().clone();
            cx.work_with(context);
            cx.event(&CallCompleted {
                method: ByteString::from_static(call.method.name()),
                target: subject.target,
                client: subject.client.name,
                client_version: subject.client.version,
                era: ByteString::from_static(subject.era),
                session: subject.session,
                address: subject.address,
                identity: caller(cx),
                outcome: ByteString::from_static(outcome.word()),
                code: code.unwrap_or_default(),
                duration: duration.as_millis(),
                duration_micros: duration.as_micros(),
            });
            cx.work_with(handler);
        } else {
            cx.count_event::<CallCompleted>();
        }
    }

    pub(super) fn report(&self, meter: &mut dyn Meter) {
        let all = self.0.iter();
        for (index, outcome) in CallOutcome::ALL.iter().enumerate() {
            let of_outcome = all.clone().filter_map(|it| it.get(index));
            let count = of_outcome.map(Histogram::count).sum();
            let labels = [("outcome", outcome.word())];
            meter.record(MeterKind::Counter, "mcp.server.calls", &labels, count);
        }
        for (of_method, method) in all.zip(Method::ALL) {
            for (histogram, outcome) in of_method.iter().zip(CallOutcome::ALL) {
                if histogram.count() > 0 {
                    let labels = [
                        ("mcp.method.name", method.name()),
                        ("outcome", outcome.word()),
                    ];
                    meter.histogram("mcp.server.operation.duration", &labels, histogram);
                }
            }
        }
    }
}
