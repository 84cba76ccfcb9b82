//! The call context of a stream: trace, caller identity and deadline.
//!
//! A binding that opens a stream on behalf of the call it is working for passes the context on
//! unchanged ([`Context::open`](crate::Context::open)). A binding that opens a stream for several
//! callers, such as a shared connection or a cache, states a context that is valid for all of them
//! ([`Context::open_for`](crate::Context::open_for)).

use std::sync::Arc;

use tidegate_streams::Identity;

use crate::time::Time;

/// Metadata that a stream carries beside its frames.
///
/// **Deadlines.** The binding that accepts a stream with a deadline must answer by then. Requests,
/// publications and calls are answered by a result or a refusal; sessions and subscriptions by
/// their reply BEGIN, after which the deadline no longer applies. Three roles follow:
/// - A binding that waits for the outside world sets a timer for the deadline, and names what is
///   missing.
/// - A binding that only passes a call on sets no timer: its exit answers in time.
/// - A binding that *states* a deadline, at the edge of the gateway or for a wait of its own,
///   aborts the stream a little later than the deadline. The more specific reason from its exit
///   then arrives first, and a hung exit cannot block the call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallContext {
    /// Correlates everything one request caused, across bindings, workers and logs; 0 without a
    /// request.
    pub trace: u64,
    /// The authenticated caller; `None` if anonymous.
    pub identity: Option<Arc<Identity>>,
    /// When the caller stops waiting; `None` without a limit.
    pub deadline: Option<Time>,
}

impl CallContext {
    /// The context for work shared by several callers. It keeps the trace, so that logs show what
    /// caused the work, and drops identity and deadline, which belong to a single caller.
    #[must_use]
    pub const fn shared(&self) -> Self {
        Self {
            trace: self.trace,
            identity: None,
            deadline: None,
        }
    }
}
