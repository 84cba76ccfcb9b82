//! HTTP/2: several requests at a time on one connection.
//!
//! - The requests of all HTTP/2 connections of a worker are limited (`maxRequests`): a connection
//!   costs little, and each request may hold a body and a response.
//! - A client that does not read one response, but others, must not keep it in memory: after
//!   `writeTimeout` its stream is aborted. Its connection stays; the response ends with a reset when
//!   the client reads again.
//! - A client that cancels many requests instead of taking their responses has its connection closed.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::{Rc, Weak};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::{Request, Response};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::HttpServer;
use crate::activity::{Activity, Place};
use crate::client::Client;
use crate::exchange::Exchange;
use crate::refusal::Refusal;
use crate::request::serve;
use crate::response::ResponseBody;

/// Requests that a client may cancel beyond those it has been answered.
const CANCELLED_MAX: u32 = 200;

/// How often responses are checked within `writeTimeout`.
const CHECKS: u32 = 4;

const TOO_MANY: Refusal = Refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "Too many requests (maxRequests); retry later.",
);

/// Spawns hyper's tasks on the worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Counts a request among those of all HTTP/2 connections of a worker, until it is dropped.
pub(crate) struct WorkerPlace(Rc<HttpServer>);

impl std::fmt::Debug for WorkerPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerPlace")
    }
}

impl WorkerPlace {
    /// `None` at `maxRequests`.
    fn take(edge: &Rc<HttpServer>) -> Option<Self> {
        let taken = edge.multiplexed.get();
        (taken < edge.options.max_requests).then(|| {
            edge.multiplexed.set(taken + 1);
            Self(Rc::clone(edge))
        })
    }
}

impl Drop for WorkerPlace {
    fn drop(&mut self) {
        let taken = &self.0.multiplexed;
        taken.set(taken.get().saturating_sub(1));
    }
}

/// The requests of one HTTP/2 connection.
pub(crate) struct Requests {
    edge: Rc<HttpServer>,
    client: Rc<Client>,
    activity: Activity,
    responses: Rc<Responses>,
    cancelled: Rc<Cell<u32>>,
    checks: AbortHandle,
}

impl Requests {
    /// Starts to check the connection's responses.
    pub(crate) fn begin(edge: &Rc<HttpServer>, client: &Rc<Client>, activity: &Activity) -> Self {
        activity.multiplex();
        let responses = Rc::new(Responses::default());
        let checks = check(Rc::downgrade(&responses), Rc::clone(edge));
        Self {
            edge: Rc::clone(edge),
            client: Rc::clone(client),
            activity: activity.clone(),
            responses,
            cancelled: Rc::default(),
            checks: tokio::task::spawn_local(checks).abort_handle(),
        }
    }

    /// Serves a request.
    pub(crate) fn serve(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
        let place = WorkerPlace::take(&self.edge);
        let refused = place.is_none();
        let active = self.activity.multiplexed_request(place);
        let (edge, client) = (Rc::clone(&self.edge), Rc::clone(&self.client));
        let responses = Rc::clone(&self.responses);
        let pending = Pending(Some(Rc::clone(&self.cancelled)));
        let is_head = request.method() == Method::HEAD;
        async move {
            let answer = if refused {
                edge.counts.requests_refused.add();
                Ok(TOO_MANY.answer(active))
            } else {
                serve(edge, &client, request, active, Some(&responses)).await
            };
            pending.answered();
            if is_head {
                answer.map(head_only)
            } else {
                answer
            }
        }
    }

    /// Whether the client cancels requests instead of taking their responses.
    pub(crate) fn are_abused(&self) -> bool {
        self.cancelled.get() > CANCELLED_MAX
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.checks.abort();
    }
}

/// The response to HEAD: hyper omits its content with HTTP/1.1 only.
fn head_only(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let length = response.body().size_hint().exact();
    let (mut head, body) = response.into_parts();
    if let Some(length) = length {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, body.without_content())
}

/// A request without a response; counted as cancelled when dropped.
struct Pending(Option<Rc<Cell<u32>>>);

impl Pending {
    fn answered(mut self) {
        if let Some(cancelled) = self.0.take() {
            cancelled.set(cancelled.get().saturating_sub(1));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(cancelled) = &self.0 {
            cancelled.set(cancelled.get().saturating_add(1));
        }
    }
}

/// The responses that a connection is sending. At most `maxStreams`.
#[derive(Default)]
pub(crate) struct Responses(RefCell<Vec<Sending>>);

struct Sending {
    exchange: Weak<Exchange>,
    place: Rc<Place>,
    /// Number of pieces taken when it last made progress.
    taken: u64,
    since: Instant,
}

impl Responses {
    pub(crate) fn add(&self, exchange: &Rc<Exchange>, place: &Rc<Place>) {
        self.0.borrow_mut().push(Sending {
            exchange: Rc::downgrade(exchange),
            place: Rc::clone(place),
            taken: exchange.taken(),
            since: Instant::now(),
        });
    }

    /// Aborts the responses of which the client has taken nothing for `timeout`.
    fn check(&self, edge: &HttpServer, timeout: Duration) {
        let mut stalled = Vec::new();
        self.0.borrow_mut().retain_mut(|sending| {
            let Some(exchange) = sending.exchange.upgrade() else {
                return false;
            };
            if exchange.taken() != sending.taken || !exchange.has_data() {
                sending.taken = exchange.taken();
                sending.since = Instant::now();
                return true;
            }
            if sending.since.elapsed() < timeout {
                return true;
            }
            stalled.push((exchange, Rc::clone(&sending.place)));
            false
        });
        for (exchange, place) in stalled {
            edge.counts.stalled();
            exchange.abandon(&edge.handle);
            edge.remove(exchange.token.index(), exchange.stream);
            place.release();
        }
    }
}

async fn check(responses: Weak<Responses>, edge: Rc<HttpServer>) {
    let timeout = Duration::from_millis(edge.options.write_timeout);
    loop {
        sleep((timeout / CHECKS).max(Duration::from_millis(1))).await;
        let Some(responses) = responses.upgrade() else {
            return;
        };
        responses.check(&edge, timeout);
    }
}
