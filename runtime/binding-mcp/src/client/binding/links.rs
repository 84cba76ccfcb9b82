//! The connections with the server: which one an operation uses, and how they end.

use bytestring::ByteString;
use tidegate_engine::{Context, Duration};
use tidegate_streams::Frame;
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities, McpReset};

use super::{Exit, McpClient, link_timer};
use crate::client::key::Key;
use crate::client::link::{Link, Owner, Phase};
use crate::client::refusal::{busy, unavailable};

impl McpClient {
    /// The connection that an operation uses; it is created if there is none.
    pub(super) fn link_for(
        &mut self,
        cx: &mut Context<'_>,
        begin: &McpBeginEx,
    ) -> Result<usize, McpReset> {
        if let Exit::Line(_) = self.exit {
            let only = self.links.iter().next().map(|(key, _)| key);
            // A process serves all callers, so it is not told that it could ask one of them.
            let fresh = || Link::new(Owner::Everybody, McpCapabilities::NONE);
            return Ok(only.unwrap_or_else(|| self.links.insert(fresh())));
        }
        match (begin, begin.session_id()) {
            (McpBeginEx::Lifecycle(lifecycle), _) => {
                let id = cx.mint_identity();
                let link = Link::new(Owner::Session(id.clone()), lifecycle.capabilities);
                let key = self.add_link(link)?;
                self.by_session.insert(id, key);
                Ok(key)
            }
            (_, Some(id)) => {
                let key = self.by_session.get(id).copied();
                key.ok_or_else(|| unavailable("The session with the MCP server has ended."))
            }
            (_, None) => self.shared_link(cx, begin.capabilities()),
        }
    }

    /// The connection that the caller's operations without a session share, if it can be asked for the
    /// same: a legacy server is told that once for the whole session.
    fn shared_link(
        &mut self,
        cx: &mut Context<'_>,
        capabilities: McpCapabilities,
    ) -> Result<usize, McpReset> {
        let caller = cx.identity().cloned();
        let name: Option<(ByteString, ByteString)> = caller
            .as_ref()
            .map(|caller| (caller.guard.clone(), caller.subject.clone()));
        if let Some(key) = self.by_caller.get(&(name.clone(), capabilities)).copied() {
            let link = self.links.get(key);
            if link.is_some_and(|link| link.is_shared_by(caller.as_ref())) {
                return Ok(key);
            }
            // The caller has other rights now: its connection ends with the operations that use it.
            if let Some(link) = self.links.get_mut(key) {
                link.closing = true;
            }
            self.release_link(cx, key);
        }
        let key = self.add_link(Link::new(Owner::Caller(caller), capabilities))?;
        self.by_caller.insert((name, capabilities), key);
        Ok(key)
    }

    fn add_link(&mut self, link: Link) -> Result<usize, McpReset> {
        let max = self.options.max_sessions.size();
        if self.links.len() >= max {
            let what =
                format!("Too many sessions with one MCP server ({max}, maxSessions); retry later.");
            return Err(busy(what));
        }
        Ok(self.links.insert(link))
    }

    /// An operation has ended: ends a connection that nobody needs any more.
    pub(super) fn release_link(&mut self, cx: &mut Context<'_>, key: usize) {
        let idle = Duration::from_millis(self.options.session_timeout);
        let stopping = cx.stopping();
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if !link.calls.is_empty() {
            return;
        }
        let keeps = match &link.owner {
            // The operation that began the session is gone, or there never was one.
            Owner::Session(_) => false,
            Owner::Caller(_) => link.session.is_some() && !link.closing,
            Owner::Everybody => link.line.is_some(),
        };
        if !keeps || stopping {
            return self.close_link(cx, key);
        }
        if matches!(link.owner, Owner::Caller(_)) && link.phase == Phase::Ready {
            link.cancel_timer(cx);
            let token = Key::Link(key).token();
            link.timer = Some(cx.timer(idle, token, link_timer::IDLE, "mcp_client.session"));
        }
    }

    /// Nobody has used a shared session for a while.
    pub(super) fn link_idle(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.timer = None;
        if link.calls.is_empty() {
            self.close_link(cx, key);
        }
    }

    /// Ends and removes a connection without operations.
    pub(super) fn close_link(&mut self, cx: &mut Context<'_>, key: usize) {
        self.stop_listening(cx, key);
        let Some(mut link) = self.links.try_remove(key) else {
            return;
        };
        link.cancel_timer(cx);
        if let Some(request) = link.handshake.take() {
            self.cancel_request(cx, request);
        }
        if let Some(request) = link.probe.take() {
            self.requests.remove(&request);
        }
        if let Some(line) = link.line.take() {
            // The process is asked to end by the end of its input.
            cx.end(line.stream, Frame::end());
            cx.reset(line.stream, None);
        }
        self.close_posts(cx, key);
        match &link.owner {
            Owner::Session(id) => {
                self.by_session.remove(id);
            }
            Owner::Caller(_) => self.by_caller.retain(|_, of| *of != key),
            Owner::Everybody => {}
        }
        if let Some(session) = link.session.take() {
            let version = link.server.as_ref().map(|server| server.version);
            self.delete_session(cx, version, &session);
        }
    }

    /// The operations of a connection.
    pub(super) fn calls_of(&self, key: usize) -> Vec<usize> {
        let link = self.links.get(key);
        link.map_or_else(Vec::new, |link| link.calls.iter().copied().collect())
    }
}
