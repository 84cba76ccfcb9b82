//! What a stream carries beside its frames: which request it serves, for whom, and until when.
//!
//! A binding that opens a stream for the one it works for passes all of it on by doing nothing
//! ([`Context::open`](crate::Context::open)). One that opens a stream for several callers, a shared
//! connection or a cache, states what holds for all of them
//! ([`Context::open_for`](crate::Context::open_for)).

use std::sync::Arc;

use tidegate_streams::Identity;

use crate::time::Time;

/// What a stream carries beside its frames.
///
/// **Deadlines.** Whoever accepts a stream that carries one answers by then: a request, a publication
/// or a call with its result or a refusal, a session or a subscription with its reply BEGIN, after
/// which the deadline means nothing any more. Who waits for the outside world sets a timer for it, and
/// can tell what is missing. Who only passes a call on sets none: the answer comes from behind it. Who
/// *states* a deadline, at the edge of the gateway or for a wait of its own, gives the stream up a
/// little later, so that a better reason can arrive, and whatever goes wrong behind it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallContext {
    /// Ties together what one request caused, across bindings, workers and logs; 0 where there is no
    /// request.
    pub trace: u64,
    /// The authenticated caller; `None` for an anonymous one.
    pub identity: Option<Arc<Identity>>,
    /// When the caller gives up; `None` where it waits for as long as it takes.
    pub deadline: Option<Time>,
}

impl CallContext {
    /// The context of what is done for several callers: their trace is kept, so that logs tell what
    /// caused it, while identity and deadline are nobody's.
    #[must_use]
    pub const fn shared(&self) -> Self {
        Self {
            trace: self.trace,
            identity: None,
            deadline: None,
        }
    }
}
