//! Continues the response to a request in a legacy session, whose stream of events has ended before the answer. The
//! server may end it at any time, and is then asked for what follows the last event (2025-11-25, Streamable HTTP,
//! Resumability and Redelivery). A stream whose events have no ids cannot be continued.

use tidegate_engine::{Context, Duration};

use super::{About, McpClient, post_timer};
use crate::client::key::Key;
use crate::client::link::Phase;
use crate::client::post::Purpose;
use crate::client::refusal::lost;
use crate::jsonrpc::Era;

/// Wait before a stream is continued if the server states none, in milliseconds.
const WAIT_DEFAULT: u64 = 1_000;
/// Longest wait, in milliseconds.
const WAIT_MAX: u64 = 60_000;
/// Maximum number of streams in a row that bring no event. The deadline of the operation limits the others.
const FRUITLESS_MAX: u32 = 5;

impl McpClient {
    /// The response of an HTTP request has ended: waits to continue it, if it can be continued. Returns whether it does.
    pub(super) fn continue_later(&mut self, cx: &mut Context<'_>, key: usize) -> bool {
        let Some(post) = self.posts.get_mut(key) else {
            return false;
        };
        let Purpose::Request(id) = post.purpose else {
            return false;
        };
        let request = self.requests.get(&id);
        let request = request.filter(|it| matches!(it.about, About::Call(_) | About::Again(_)));
        let link = request.and_then(|request| self.links.get(request.link));
        let is_legacy = link.is_some_and(|link| {
            let server = link.server.as_ref();
            link.phase == Phase::Ready && server.is_some_and(|it| it.era == Era::Legacy)
        });
        if !is_legacy || !post.is_continuable() {
            return false;
        }
        let (after, retry) = post.position();
        let brought = after.is_some() && after != post.after;
        let fruitless = if brought { 0 } else { post.fruitless + 1 };
        let Some(after) = after.or_else(|| post.after.clone()) else {
            return false;
        };
        if fruitless >= FRUITLESS_MAX {
            return false;
        }
        post.close(cx);
        post.after = Some(after);
        post.fruitless = fruitless;
        let wait = Duration::from_millis(retry.unwrap_or(WAIT_DEFAULT).min(WAIT_MAX));
        let token = Key::Post(key).token();
        let timer = cx.timer(wait, token, post_timer::CONTINUE, "mcp_client.continue");
        post.timer = Some(timer);
        true
    }

    /// Asks the server for what follows.
    pub(super) fn continue_now(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(ended) = self.posts.try_remove(key) else {
            return;
        };
        let Purpose::Request(id) = ended.purpose else {
            return;
        };
        let link = ended.link.filter(|link| {
            let link = self.links.get(*link);
            link.is_some_and(|link| link.phase == Phase::Ready && link.session == ended.session)
        });
        let after = ended.after.as_ref();
        let opened = link.ok_or_else(lost);
        let opened = opened.and_then(|link| self.get_events(cx, link, ended.purpose, after));
        match opened {
            Ok(post) => {
                if let Some(opened) = self.posts.get_mut(post) {
                    opened.after.clone_from(&ended.after);
                    opened.fruitless = ended.fruitless;
                }
                if let Some(request) = self.requests.get_mut(&id) {
                    request.post = Some(post);
                }
            }
            Err(reset) => self.request_failed(cx, id, reset),
        }
    }
}
