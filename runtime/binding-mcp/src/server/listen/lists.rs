//! Changes of lists: a session at the exit for each `listen` that wants to be told of them.
//!
//! A session is what tells such changes at the exit. It has no other purpose here, and ends with the
//! `listen`.

use tidegate_engine::{Context, StreamId, TimerId};
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities, McpLifecycle, McpReset};
use tidegate_streams::{BeginEx, FlushEx, Frame, ResetEx};

use super::{Acknowledgement, Listens};
use crate::jsonrpc::notification::List;
use crate::server::challenge;
use crate::server::deadline::{self, SLACK};
use crate::server::key::Key;

/// An event of a `listen`.
#[derive(Debug)]
pub(in crate::server) enum ListenEvent {
    /// The exit tells changes of the lists, or does not: the acknowledgement, if it is due.
    Settled(Option<Acknowledgement>),
    /// A list has changed.
    Changed,
    /// The exit has ended the session; the reason, if it gave one.
    Lost(Option<McpReset>),
}

/// The lists whose changes a `listen` is told of, and the session that tells them.
#[derive(Debug)]
pub(super) struct Watch {
    session: StreamId,
    lists: Vec<List>,
    /// Until the exit has accepted the session.
    timer: Option<TimerId>,
}

impl Watch {
    /// The lists whose changes the exit tells.
    pub(super) fn lists(&self) -> &[List] {
        &self.lists
    }

    pub(super) fn end(mut self, cx: &mut Context<'_>) {
        self.timer.take().map(|timer| cx.cancel(timer));
        cx.end(self.session, Frame::end());
        cx.terminate(self.session, None, None);
    }
}

impl Listens {
    /// Begins a session that tells changes of these lists.
    pub(in crate::server) fn watch(&mut self, cx: &mut Context<'_>, key: usize, lists: Vec<List>) {
        let (exit, timeout) = (self.exit, self.timeout);
        let Some(listen) = self.get_mut(key) else {
            return;
        };
        let token = Key::Listen(key).token();
        let call = deadline::within(cx, timeout);
        // Without room for it, the acknowledgement does not have the lists.
        if let Ok(session) = cx.open_for(call, exit, McpLifecycle::default(), token) {
            let timer = cx.timer(timeout + SLACK, token, 0, "mcp_server.listen");
            listen.watch = Some(Watch {
                session,
                lists,
                timer: Some(timer),
            });
            listen.unconfirmed += 1;
        }
    }

    pub(in crate::server) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<ListenEvent> {
        let listen = self.get_mut(key)?;
        match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) => {
                    self.session_begun(cx, key, lifecycle.capabilities)
                }
                _ => None,
            },
            Frame::Flush(flush) => {
                let FlushEx::Mcp(flush) = *flush else {
                    return None;
                };
                let list = List::changed(&flush)?;
                if !listen.watch.as_ref()?.lists.contains(&list) {
                    return None;
                }
                listen.updates.note_list(list);
                Some(ListenEvent::Changed)
            }
            Frame::Challenge(challenge) => {
                challenge::refuse(cx, listen.watch.as_ref()?.session, &challenge);
                None
            }
            Frame::Reset(reset) => match reset.map(|reset| *reset) {
                Some(ResetEx::Mcp(reset)) => self.session_lost(cx, key, Some(reset)),
                _ => self.session_lost(cx, key, None),
            },
            Frame::Abort(_) | Frame::End(_) => self.session_lost(cx, key, None),
            Frame::Data(_) | Frame::Window(_) => None,
        }
    }

    /// The exit has not accepted the session in time.
    pub(in crate::server) fn on_timer(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
    ) -> Option<ListenEvent> {
        self.get_mut(key)?.watch.as_mut()?.timer = None;
        self.without_lists(cx, key)
    }

    fn session_begun(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        capabilities: McpCapabilities,
    ) -> Option<ListenEvent> {
        let listen = self.get_mut(key)?;
        let watch = listen.watch.as_mut()?;
        // Without the timer it has begun before.
        cx.cancel(watch.timer.take()?);
        let told = |list: &List| capabilities.contains(list.capability());
        watch.lists.retain(told);
        if watch.lists.is_empty() {
            return self.without_lists(cx, key);
        }
        Some(ListenEvent::Settled(listen.settle()))
    }

    fn session_lost(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        reset: Option<McpReset>,
    ) -> Option<ListenEvent> {
        let watch = self.get_mut(key)?.watch.as_mut()?;
        match watch.timer.take() {
            // It had not begun: the acknowledgement does not have the lists.
            Some(timer) => {
                cx.cancel(timer);
                self.without_lists(cx, key)
            }
            None => Some(ListenEvent::Lost(reset)),
        }
    }

    /// The exit does not tell changes of any list.
    fn without_lists(&mut self, cx: &mut Context<'_>, key: usize) -> Option<ListenEvent> {
        let listen = self.get_mut(key)?;
        listen.watch.take()?.end(cx);
        Some(ListenEvent::Settled(listen.settle()))
    }
}
