//! The edge on real sockets, with a probe for the binding that calls it, and a played server.

mod authorization;
mod requests;
mod server;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tidegate_driver::Engine;
use tidegate_driver::testing::{Probe, probe};
use tidegate_engine::{Limits, StreamId};
use tidegate_streams::http_stream::{HttpBeginEx, HttpRequest, HttpReset, HttpResponse};
use tidegate_streams::{BeginEx, Frame, ResetEx};

use crate::Options;

/// Initial credit of the caller's half, in bytes.
const CALLER_WINDOW: u32 = 1024 * 1024;

struct Harness {
    engine: Engine,
    probe: Probe,
}

/// What a request has got.
#[derive(Debug)]
enum Got {
    Response(HttpResponse, String),
    Reset(HttpReset),
}

impl Got {
    /// Status and body.
    fn response(self) -> (u16, String) {
        match self {
            Self::Response(head, body) => (head.status.as_u16(), body),
            Self::Reset(reset) => panic!("{reset:?}"),
        }
    }

    fn reset(self) -> HttpReset {
        match self {
            Self::Reset(reset) => reset,
            other @ Self::Response(..) => panic!("{other:?}"),
        }
    }
}

impl Harness {
    /// The edge with options beside `host`, `port` and `proxy`.
    fn new(port: u16, options: &Value) -> Self {
        let mut all = json!({ "host": "127.0.0.1", "port": port, "proxy": "none" });
        for (key, value) in options.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let options: Options = serde_json::from_value(all).expect("valid");
        let (probe, seat) = probe();
        let engine = Engine::start(1, Limits::default(), move |assembly| {
            let edge = crate::attach(assembly, options.clone())?;
            seat.attach(assembly, CALLER_WINDOW, Some(edge));
            Ok(())
        });
        Self {
            engine: engine.expect("the engine starts"),
            probe,
        }
    }

    /// Opens a request with a body.
    async fn open(&mut self, path: &str, body: &str) -> StreamId {
        self.open_as(Method::POST, HeaderMap::new(), path, body)
            .await
    }

    async fn open_as(
        &mut self,
        method: Method,
        headers: HeaderMap,
        path: &str,
        body: &str,
    ) -> StreamId {
        let request = HttpRequest {
            method,
            path: path.into(),
            headers,
            content_length: -1,
            peer: None,
        };
        let stream = self.probe.open(request).await;
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        self.probe.send(stream, Frame::data(body)).await;
        self.probe.send(stream, Frame::end()).await;
        stream
    }

    /// Waits for the end of a request. Requests are waited for one after the other.
    async fn wait(&mut self, stream: StreamId) -> Got {
        let (mut head, mut body) = (None, Vec::new());
        loop {
            let (at, frame) = self.probe.next_but_window().await;
            if at.stream != stream {
                continue;
            }
            match frame {
                Frame::Begin(begin) => match begin.into_inner() {
                    BeginEx::Http(HttpBeginEx::Response(response)) => head = Some(response),
                    other => panic!("{other:?}"),
                },
                Frame::Data(data) => body.extend_from_slice(&data.payload),
                Frame::End(_) => {
                    let body = String::from_utf8(body).expect("text");
                    return Got::Response(head.expect("a head"), body);
                }
                Frame::Reset(reset) => match reset.map(|reset| *reset) {
                    Some(ResetEx::Http(reset)) => return Got::Reset(reset),
                    other => panic!("{other:?}"),
                },
                Frame::Abort(_) | Frame::Flush(_) | Frame::Window(_) | Frame::Challenge(_) => {}
            }
        }
    }

    async fn request(&mut self, path: &str, body: &str) -> Got {
        let stream = self.open(path, body).await;
        self.wait(stream).await
    }
}
