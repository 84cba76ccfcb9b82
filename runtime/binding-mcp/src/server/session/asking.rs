//! What the exit asks the client of a session for, outside of a request.
//!
//! Only legacy servers do so. There is no deadline: the client may answer as long as the session lasts.

use tidegate_engine::Context;
use tidegate_streams::Frame;
use tidegate_streams::mcp::{
    CHALLENGES_MAX, McpChallenge, McpResponse, McpRootsListChanged, capability_to_ask,
};

use super::{Session, SessionEvent, Sessions};
use crate::server::challenge;

impl Session {
    /// The exit asks the client for something, or no longer waits for it.
    pub(super) fn challenged(
        &mut self,
        cx: &mut Context<'_>,
        challenge: McpChallenge,
    ) -> Option<SessionEvent> {
        if challenge.cancelled {
            return self.take_asked(challenge.id).map(SessionEvent::Withdrawn);
        }
        let needed = capability_to_ask(&challenge.method, false);
        let why = if !needed.is_some_and(|needed| self.capabilities.contains(needed)) {
            "the client has not declared this capability"
        } else if self.asked.len() >= CHALLENGES_MAX {
            "too many requests to the client are open"
        } else {
            return Some(SessionEvent::Challenged(challenge));
        };
        let answer = challenge::unsupported(challenge.id, &challenge.method, why);
        challenge::answer(cx, self.lifecycle, answer);
        None
    }

    fn take_asked(&mut self, challenge: u64) -> Option<u64> {
        let at = self.asked.iter().position(|(id, _)| *id == challenge)?;
        Some(self.asked.swap_remove(at).1)
    }
}

impl Sessions {
    /// A request to the client was sent, with this id.
    pub(in crate::server) fn asked(&mut self, key: usize, challenge: u64, id: u64) {
        if let Some(session) = self.get_mut(key) {
            session.asked.push((challenge, id));
        }
    }

    /// The client has answered, or cannot be asked.
    pub(in crate::server) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        response: McpResponse,
    ) {
        if let Some(session) = self.get_mut(key) {
            session.take_asked(response.id);
            challenge::answer(cx, session.lifecycle, response);
        }
    }

    /// The roots of the client have changed: the exit is told.
    pub(in crate::server) fn roots_changed(&self, cx: &mut Context<'_>, key: usize) {
        if let Some(session) = self.get(key)
            && session.begun
            && cx.is_sending(session.lifecycle)
        {
            cx.send(session.lifecycle, Frame::flush(McpRootsListChanged {}));
        }
    }
}
