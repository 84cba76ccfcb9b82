//! Deadline of an operation at the exit: `timeout` from now, or the caller's deadline if that is
//! earlier.

use tidegate_engine::{CallContext, Context, Duration};

/// How long this binding waits after the deadline, so that the exit's more specific answer arrives
/// first.
pub(super) const SLACK: Duration = Duration::from_millis(500);

/// Call context of a stream that must be answered within `timeout`.
pub(super) fn within(cx: &Context<'_>, timeout: Duration) -> CallContext {
    let deadline = cx.now() + timeout;
    let call = cx.call().clone();
    CallContext {
        deadline: Some(call.deadline.map_or(deadline, |own| own.min(deadline))),
        ..call
    }
}
