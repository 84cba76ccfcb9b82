//! By when an operation is to be answered behind this binding: `timeout` from now, or the caller's own
//! deadline where that is earlier.

use tidegate_engine::{CallContext, Context, Duration};

/// How much longer this binding waits than it has told its exit, whose own answer says more.
pub(super) const SLACK: Duration = Duration::from_millis(500);

/// What a stream carries that is to be answered within so long.
pub(super) fn within(cx: &Context<'_>, timeout: Duration) -> CallContext {
    let deadline = cx.now() + timeout;
    let call = cx.call().clone();
    CallContext {
        deadline: Some(call.deadline.map_or(deadline, |own| own.min(deadline))),
        ..call
    }
}
