//! What happens when a caller's identity expires while something of it is open.
//!
//! The edge checks credentials with each request. An event stream, a `subscriptions/listen` and a line are
//! open for longer: they have a timer, and end when the identity expires. A legacy session stays, so that
//! its owner can continue it with fresh credentials.

use tidegate_engine::{Context, Duration, TimerId, Token};

/// Kind of the timer.
pub(super) const EXPIRY: u32 = 1;

/// Whether the caller's identity has expired.
pub(super) fn has_expired(cx: &Context<'_>) -> bool {
    let now = cx.wall_clock().unix_millis();
    cx.identity().is_some_and(|caller| caller.is_expired(now))
}

/// A timer for the expiry of the caller's identity, if it expires.
pub(super) fn timer(cx: &mut Context<'_>, token: Token) -> Option<TimerId> {
    let expires = cx.identity()?.expires;
    if expires == 0 {
        return None;
    }
    let left = expires.saturating_sub(cx.wall_clock().unix_millis());
    let reason = "mcp_server.identity";
    Some(cx.timer(Duration::from_millis(left), token, EXPIRY, reason))
}
