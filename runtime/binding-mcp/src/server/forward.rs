//! Requests that belong to another worker, which is known only once their body has been read.
//!
//! A modern client repeats a request with a state that names the worker where the operation waits. The
//! worker that has received it opens an http stream to this binding itself, with a header that names the
//! owner, and hands it over as that of a legacy session ([`Context::hand_over`]). Owns these streams, and
//! passes the responses on.

use std::net::SocketAddr;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use slab::Slab;
use tidegate_engine::{Context, PendingData, StreamId};
use tidegate_json::Parts;
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest, HttpResponse};
use tidegate_streams::{BeginEx, Data, Frame};

use super::errors::Refusal;
use super::headers::SESSION_ID;
use super::key::Key;
use super::sink::UNSENT_MAX;

/// Names the worker that a request is for. Set by this binding.
const WORKER: HeaderName = HeaderName::from_static("tidegate-worker");

/// The worker that a request was forwarded to, if it was.
pub(super) fn target(headers: &HeaderMap) -> Option<u16> {
    let worker = headers.get(WORKER)?.to_str().ok()?;
    u16::from_str_radix(worker, 16).ok()
}

/// The response to a forwarded request.
#[derive(Debug)]
pub(super) enum ForwardEvent {
    Begun(usize, HttpResponse),
    /// A part of the body. Call [`Forwards::passed`].
    Part(usize, Bytes),
    Ended(usize),
    /// It was broken off.
    Aborted(usize),
}

/// The forwarded requests of a worker.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    all: Slab<Forward>,
}

#[derive(Debug)]
struct Forward {
    /// The exchange of the client.
    http: usize,
    stream: StreamId,
    body: PendingData,
    /// Received bytes that are not acknowledged, because the client is slow.
    unacknowledged: usize,
}

impl Forward {
    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.body.flush(cx, self.stream) && cx.is_sending(self.stream) {
            cx.end(self.stream, Frame::end());
        }
    }
}

impl Forwards {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Sends the request of an exchange, with its headers and the address of its client, to a worker;
    /// returns its key.
    pub(super) fn open(
        &mut self,
        cx: &mut Context<'_>,
        source: (usize, &HeaderMap, Option<SocketAddr>),
        body: Parts,
        worker: u16,
    ) -> Result<usize, Refusal> {
        let (http, headers, peer) = source;
        let mut headers = headers.clone();
        // A modern request has no session.
        headers.remove(SESSION_ID);
        let value = HeaderValue::from_str(&format!("{worker:x}"));
        headers.insert(WORKER, value.map_err(|_| Refusal::internal())?);
        let request = HttpRequest {
            method: Method::POST,
            path: "/".into(),
            headers,
            content_length: i64::try_from(body.len()).unwrap_or(-1),
            peer,
        };
        let entry = self.all.vacant_entry();
        let (key, token) = (entry.key(), Key::Forward(entry.key()).token());
        let own = cx.binding();
        let stream = cx.open(own, request, token).map_err(Refusal::no_room)?;
        let mut forward = Forward {
            http,
            stream,
            body: PendingData::new(),
            unacknowledged: 0,
        };
        for data in Data::of_message(body) {
            forward.body.push(data);
        }
        forward.flush(cx);
        entry.insert(forward);
        Ok(key)
    }

    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        frame: Frame,
    ) -> Option<ForwardEvent> {
        let forward = self.all.get_mut(key)?;
        let http = forward.http;
        match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Http(HttpBeginEx::Response(response)) => {
                    Some(ForwardEvent::Begun(http, response))
                }
                _ => None,
            },
            Frame::Data(Data { payload, .. }) => Some(ForwardEvent::Part(http, payload)),
            Frame::Window(_) => {
                forward.flush(cx);
                None
            }
            Frame::End(_) => {
                self.close(cx, key);
                Some(ForwardEvent::Ended(http))
            }
            Frame::Abort(_) | Frame::Reset(_) => {
                self.close(cx, key);
                Some(ForwardEvent::Aborted(http))
            }
            Frame::Flush(_) | Frame::Challenge(_) => None,
        }
    }

    /// A part was passed on, and `waiting` bytes are queued for the client.
    pub(super) fn passed(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        length: usize,
        waiting: usize,
    ) {
        if let Some(forward) = self.all.get_mut(key) {
            forward.unacknowledged += length;
            if waiting < UNSENT_MAX {
                let unacknowledged = std::mem::take(&mut forward.unacknowledged);
                cx.acknowledge(forward.stream, unacknowledged);
            }
        }
    }

    /// Ends the stream, whatever its state.
    pub(super) fn close(&mut self, cx: &mut Context<'_>, key: usize) {
        if let Some(forward) = self.all.try_remove(key) {
            cx.terminate(forward.stream, None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::part::Bench;

    #[test]
    fn the_worker_alone_decides_and_the_client_stays_known() {
        let mut bench = Bench::new();
        let mut forwards = Forwards::default();
        let peer = Some(SocketAddr::from(([192, 0, 2, 7], 4_000)));
        let mut headers = HeaderMap::new();
        headers.insert(SESSION_ID, HeaderValue::from_static("1.x"));
        headers.insert(WORKER, HeaderValue::from_static("5"));
        let body = Parts::from(Bytes::from_static(b"{}"));
        bench
            .act(|cx| forwards.open(cx, (3, &headers, peer), body, 0x1f))
            .expect("room");
        let outputs = bench.rig.outputs(bench.own);
        let mut begins = outputs.into_iter().filter_map(|output| match output.frame {
            Frame::Begin(begin) => Some(begin.into_inner()),
            _ => None,
        });
        let Some(BeginEx::Http(HttpBeginEx::Request(head))) = begins.next() else {
            panic!("a request");
        };
        assert_eq!(target(&head.headers), Some(0x1f));
        assert!(!head.headers.contains_key(SESSION_ID));
        assert_eq!(head.peer, peer);
    }
}
