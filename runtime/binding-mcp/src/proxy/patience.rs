//! How long toolkits are waited for: they are told by when to answer, and are given a little longer.

use tidegate_engine::{CallContext, Context, Duration, Time};

/// For how long the answer of a toolkit that keeps its deadline may be under way, at the most.
const GRACE: u64 = 100;

/// Until when toolkits are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// By when they are to answer.
    deadline: Time,
    grace: Duration,
}

impl Patience {
    /// So many milliseconds, or less where the caller's deadline asks for an answer earlier.
    pub(super) fn new(cx: &Context<'_>, milliseconds: u64) -> Self {
        let left = cx.deadline().map(|until| until.since(cx.now()).as_millis());
        let grace = left.map_or(GRACE, |left| GRACE.min(left / 10));
        let within = left.map_or(milliseconds, |left| milliseconds.min(left - grace));
        Self {
            deadline: cx.now() + Duration::from_millis(within),
            grace: Duration::from_millis(grace),
        }
    }

    /// The engine stops: no longer than until what is under way is to be answered.
    pub(super) fn hasten(&mut self, cx: &Context<'_>) {
        if let Some(stop) = cx.stop_deadline()
            && stop < self.deadline
        {
            self.deadline = stop;
            self.grace = Duration::default();
        }
    }

    /// What a stream towards a toolkit carries.
    pub(super) fn call(self, cx: &Context<'_>) -> CallContext {
        CallContext {
            deadline: Some(self.deadline),
            ..cx.call().clone()
        }
    }

    /// How long it is until a toolkit that has not answered is given up.
    pub(super) fn left(self, cx: &Context<'_>) -> Duration {
        self.deadline.since(cx.now()) + self.grace
    }
}
