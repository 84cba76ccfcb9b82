//! Requests that continue an operation of another worker.

use tidegate_engine::Context;

use super::McpServer;
use crate::jsonrpc::Params;
use crate::server::errors::Refusal;
use crate::server::forward::{self, ForwardEvent};
use crate::server::headers::Headers;
use crate::server::seal;
use crate::server::sink::{Owner, Sink};
use crate::server::source::Source;

impl McpServer {
    /// The other worker that a modern request is for, if its state names one.
    pub(super) fn worker_elsewhere(
        cx: &Context<'_>,
        source: &Source<'_>,
        params: &Params,
    ) -> Result<Option<u16>, Refusal> {
        let Some(state) = params.request_state()?.and_then(|state| state.string()) else {
            return Ok(None);
        };
        // The state may be that of a gateway behind this one, which the other worker finds out. What
        // cannot be forwarded is therefore passed on to the exit.
        let (Sink::Http(_), Some(headers)) = (source.sink, source.headers.map(Headers::all)) else {
            return Ok(None);
        };
        let worker = seal::worker(&state).filter(|worker| cx.can_hand_over_to(*worker));
        // One that was forwarded before is not forwarded again.
        let forwarded = forward::target(headers).is_some();
        Ok(worker.filter(|_| !forwarded))
    }

    /// Has another worker answer a request.
    pub(super) fn forward(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        params: &Params,
        worker: u16,
    ) -> Result<(), Refusal> {
        let (Sink::Http(http), Some(headers)) = (source.sink, source.headers) else {
            return Err(Refusal::invalid_state());
        };
        let body = params.message().ok_or_else(Refusal::internal)?;
        let source = (http, headers.all(), source.peer);
        let key = self.forwards.open(cx, source, body, worker)?;
        self.http.set_owner(http, Owner::Forward(key));
        Ok(())
    }

    /// The other worker answers.
    pub(super) fn forward_event(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        event: Option<ForwardEvent>,
    ) {
        match event {
            None => {}
            Some(ForwardEvent::Begun(http, response)) => {
                self.http.begin_response(cx, http, response);
            }
            Some(ForwardEvent::Part(http, part)) => {
                let length = part.len();
                self.http.push_raw(cx, http, part.into());
                let waiting = self.http.waiting(http);
                self.forwards.passed(cx, key, length, waiting);
            }
            Some(ForwardEvent::Ended(http)) => self.http.finish(cx, http),
            Some(ForwardEvent::Aborted(http)) => {
                self.http.abort(cx, http);
            }
        }
    }
}
