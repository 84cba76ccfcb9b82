//! Requests of legacy clients whose events can be resumed over another connection.

use super::Requests;
use crate::jsonrpc::{Era, Id};
use crate::server::sink::Sink;

impl Requests {
    /// The session of a request whose client can resume its events.
    pub(in crate::server) fn resumable_session(&self, key: usize) -> Option<usize> {
        let request = self.all.get(key)?;
        request.session.filter(|_| request.era == Era::Legacy)
    }

    /// The stream of events of a request that its client can resume.
    pub(in crate::server) fn event_stream(&self, key: usize) -> Option<u64> {
        let stream = self.all.get(key)?.event_stream;
        (stream > 0).then_some(stream)
    }

    pub(in crate::server) fn set_event_stream(&mut self, key: usize, stream: u64) {
        if let Some(request) = self.get_mut(key) {
            request.event_stream = stream;
        }
    }

    /// The id of a request, if a part of its result has been sent.
    pub(in crate::server) fn streams(&self, key: usize) -> Option<&Id> {
        let request = self.all.get(key)?;
        request.streaming.then_some(&request.id)
    }

    /// The client of a request has come back with this exchange; returns where it was before.
    pub(in crate::server) fn attach(&mut self, key: usize, http: usize) -> Sink {
        self.get_mut(key).map_or(Sink::Nowhere, |request| {
            std::mem::replace(&mut request.sink, Sink::Http(http))
        })
    }

    /// The client of a request will come back for the response; whether it can.
    pub(in crate::server) fn detach(&mut self, key: usize) -> bool {
        let Some(request) = self.get_mut(key) else {
            return false;
        };
        if request.streaming || request.event_stream == 0 {
            return false;
        }
        request.sink = Sink::Nowhere;
        true
    }
}
