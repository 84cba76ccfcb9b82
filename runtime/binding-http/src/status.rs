//! The status page (`status`): whether the gateway runs, and which brokers are connected.
//!
//! It needs no credentials, so it shows names of bindings and nothing else. A broker is connected while
//! a worker has a connection that it has accepted (CONNACK), which `mqtt · client` reports as a metric.
//! All workers are asked at most once in [`FRESH`], whatever the number of requests; a worker that does
//! not answer in time leaves its connections out.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use tidegate_driver::Reports;
use tidegate_engine::Measures;
use tidegate_json::write::push_string;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::activity::ActiveRequest;
use crate::refusal::Refusal;
use crate::response::ResponseBody;

/// How long an answer is used again.
const FRESH: Duration = Duration::from_millis(200);
/// Time for the workers to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The metric of `mqtt · client`, and the label of accepted connections.
const CONNECTIONS: &str = "mqtt.client.connections";
const CONNECTED: &str = "connected";

const UNSUPPORTED: Refusal = Refusal(
    StatusCode::METHOD_NOT_ALLOWED,
    "Method not allowed; use GET or HEAD.",
);

/// The status page of a worker.
pub(crate) struct Status {
    reports: Reports,
    /// Held while the workers are asked.
    asking: Mutex<()>,
    last: RefCell<Option<(Instant, Bytes)>>,
}

impl Status {
    pub(crate) fn new(reports: Reports) -> Rc<Self> {
        Rc::new(Self {
            reports,
            asking: Mutex::default(),
            last: RefCell::default(),
        })
    }

    /// Answers a request for the page.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        active: ActiveRequest,
    ) -> Response<ResponseBody> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = UNSUPPORTED.answer(active);
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        let body = self.body().await;
        // The content is omitted in answer to HEAD, as that of all responses.
        let mut response = Response::new(ResponseBody::of_bytes(body, active));
        for (name, value) in [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-store"),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }

    async fn body(&self) -> Bytes {
        // One request at a time asks the workers; the others use its answer.
        let _asking = self.asking.lock().await;
        let fresh = self
            .last
            .borrow()
            .as_ref()
            .and_then(|(at, body)| (at.elapsed() < FRESH).then(|| body.clone()));
        if let Some(body) = fresh {
            return body;
        }
        let measures = timeout(PATIENCE, self.reports.all()).await;
        let body = page(&measures.unwrap_or_default());
        self.last.replace(Some((Instant::now(), body.clone())));
        body
    }
}

/// Each broker by the name of its binding, in the order of attachment.
fn page(measures: &Measures) -> Bytes {
    let mut brokers: Vec<(&str, bool)> = Vec::new();
    for measure in measures.iter().filter(|it| it.name == CONNECTIONS) {
        let connected = measure
            .labels
            .iter()
            .any(|(_, value)| **value == *CONNECTED);
        let up = connected && measure.value > 0;
        match brokers
            .iter_mut()
            .find(|(name, _)| *name == measure.binding)
        {
            Some((_, known)) => *known |= up,
            None => brokers.push((&measure.binding, up)),
        }
    }
    let all = !brokers.is_empty() && brokers.iter().all(|(_, up)| *up);
    let mut page = BytesMut::new();
    let running = format!("{{\"running\":true,\"mqtt_connected\":{all},\"brokers\":[");
    page.extend_from_slice(running.as_bytes());
    for (index, (name, up)) in brokers.iter().enumerate() {
        let before: &[u8] = if index == 0 {
            b"{\"name\":"
        } else {
            b",{\"name\":"
        };
        page.extend_from_slice(before);
        push_string(&mut page, name);
        page.extend_from_slice(format!(",\"connected\":{up}}}").as_bytes());
    }
    page.extend_from_slice(b"]}");
    page.freeze()
}

#[cfg(test)]
mod tests {
    use tidegate_engine::{Meter as _, MeterKind};

    use super::*;

    fn measures(brokers: &[(&str, u64)]) -> Measures {
        let mut measures = Measures::default();
        for (name, connected) in brokers {
            let meter = measures.of(name);
            for (state, value) in [("connecting", 7), (CONNECTED, *connected), ("closing", 7)] {
                meter.record(MeterKind::Gauge, CONNECTIONS, &[("state", state)], value);
            }
            meter.gauge("mqtt.client.down", 1);
        }
        measures
    }

    #[test]
    fn mqtt_is_connected_when_every_broker_has_accepted_a_connection() {
        for (brokers, expected) in [
            (
                &[("a", 2), ("b", 1)][..],
                r#"{"running":true,"mqtt_connected":true,"brokers":[{"name":"a","connected":true},{"name":"b","connected":true}]}"#,
            ),
            (
                &[("a", 0), ("b", 1)],
                r#"{"running":true,"mqtt_connected":false,"brokers":[{"name":"a","connected":false},{"name":"b","connected":true}]}"#,
            ),
            (
                &[],
                r#"{"running":true,"mqtt_connected":false,"brokers":[]}"#,
            ),
        ] {
            assert_eq!(page(&measures(brokers)), expected);
        }
    }
}
