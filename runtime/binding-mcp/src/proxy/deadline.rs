//! The deadline for toolkits' answers, and the grace period after it.

use tidegate_engine::{CallContext, Context, Duration, Time};

/// Maximum grace period, in milliseconds: an answer sent at the deadline may still be in flight.
pub(super) const GRACE: u64 = 100;

/// How long to wait for toolkits.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToolkitDeadline {
    /// When toolkits must answer; stated in their call contexts.
    deadline: Time,
    grace: Duration,
}

impl ToolkitDeadline {
    /// `milliseconds` from now, or earlier if the caller's deadline requires it.
    pub(super) fn new(cx: &Context<'_>, milliseconds: u64) -> Self {
        let left = cx.deadline().map(|until| until.since(cx.now()).as_millis());
        let grace = left.map_or(GRACE, |left| GRACE.min(left / 10));
        let within = left.map_or(milliseconds, |left| milliseconds.min(left - grace));
        Self {
            deadline: cx.now() + Duration::from_millis(within),
            grace: Duration::from_millis(grace),
        }
    }

    /// The engine is stopping: moves the deadline to the stop deadline, if that is earlier.
    pub(super) fn limit_to_stop(&mut self, cx: &Context<'_>) {
        if let Some(stop) = cx.stop_deadline()
            && stop < self.deadline
        {
            self.deadline = stop;
            self.grace = Duration::default();
        }
    }

    /// The call context of a stream towards a toolkit.
    pub(super) fn call_context(self, cx: &Context<'_>) -> CallContext {
        CallContext {
            deadline: Some(self.deadline),
            ..cx.call().clone()
        }
    }

    /// Time until a toolkit that has not answered fails.
    pub(super) fn remaining(self, cx: &Context<'_>) -> Duration {
        self.deadline.since(cx.now()) + self.grace
    }
}
