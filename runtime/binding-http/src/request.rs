//! A request: checked, received, and turned into a stream.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{EXPECT, HOST, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tidegate_engine::Token;
use tidegate_json::Parts;
use tidegate_streams::http_stream::{HttpRequest, HttpResponse};

use crate::HttpServer;
use crate::activity::ActiveRequest;
use crate::body::{gather, with_timeout};
use crate::events::RequestOpened;
use crate::exchange::Exchange;
use crate::framing;
use crate::origin::{self, Field, RequestHost};
use crate::refusal::Refusal;
use crate::response::ResponseBody;

/// Maximum size of a request head, in bytes.
pub(crate) const HEAD_MAX: usize = 64 * 1024;

type Answer = Response<ResponseBody>;

const TOO_MANY: Refusal = Refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "Stream limit reached; retry later.",
);
const UNANSWERED: Refusal = Refusal(
    StatusCode::INTERNAL_SERVER_ERROR,
    "Internal error; the request was not answered.",
);

/// Serves one request.
pub(crate) async fn serve(
    edge: Rc<HttpServer>,
    request: Request<Incoming>,
    active: ActiveRequest,
) -> Result<Answer, Infallible> {
    let expects_continue = match check(&edge, &request, &active) {
        Ok(expects) => expects,
        Err(refusal) => {
            edge.counts.requests_refused.add();
            return Ok(refusal.answer(active));
        }
    };
    let (head, body) = request.into_parts();
    let mut gathering = pin!(gather(body, edge.options.max_body_size, expects_continue));
    // A small body arrives with its head; only a later one needs a timer.
    let gathered = match poll_fn(|task| Poll::Ready(gathering.as_mut().poll(task))).await {
        Poll::Ready(gathered) => gathered,
        Poll::Pending => with_timeout(&edge, gathering).await,
    };
    let opened = gathered.and_then(|parts| open(&edge, head, parts).ok_or(TOO_MANY));
    let exchange = match opened {
        Ok(exchange) => exchange,
        Err(refusal) => {
            edge.counts.requests_refused.add();
            return Ok(refusal.answer(active));
        }
    };
    edge.counts.requests.add();
    // From here on, dropping this future aborts the stream.
    let guard = Guard { edge, exchange };
    Ok(match guard.exchange.head().await {
        Some(head) => respond(head, guard, active),
        None => UNANSWERED.answer(active),
    })
}

/// Checks a request head; returns whether the client waits for `100 Continue`.
fn check(
    edge: &HttpServer,
    request: &Request<Incoming>,
    active: &ActiveRequest,
) -> Result<bool, Refusal> {
    let seen = Seen::of(request.headers());
    let request_host = RequestHost {
        version: request.version(),
        target: request.uri(),
        host: seen.host,
        origin: seen.origin,
    };
    origin::check(
        &request_host,
        &edge.options,
        edge.listening.ip().is_loopback(),
    )?;
    if seen.coded {
        framing::check(request.headers(), &active.head())?;
    }
    if request.uri().path() != edge.options.path {
        return Err(Refusal(StatusCode::NOT_FOUND, "Unknown path."));
    }
    if target_size(request.uri()) + seen.size > HEAD_MAX {
        return Err(Refusal(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Headers too large.",
        ));
    }
    Ok(seen.expect)
}

/// The headers needed here, found in one pass, which is cheaper than separate lookups.
#[derive(Default)]
struct Seen<'a> {
    host: Field<'a>,
    origin: Field<'a>,
    coded: bool,
    expect: bool,
    /// Approximate size of the headers, in bytes.
    size: usize,
}

impl<'a> Seen<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            // Each header also has a colon, a space and a line end.
            seen.size += name.as_str().len() + value.len() + 4;
            match *name {
                HOST => seen.host.add(value),
                ORIGIN => seen.origin.add(value),
                TRANSFER_ENCODING => seen.coded = true,
                EXPECT => seen.expect = true,
                _ => {}
            }
        }
        seen
    }
}

fn target_size(uri: &Uri) -> usize {
    uri.path_and_query()
        .map_or(0, |target| target.as_str().len())
}

/// Opens the stream of a complete request; `None` at the worker's stream limit.
fn open(edge: &HttpServer, head: http::request::Parts, parts: Parts) -> Option<Rc<Exchange>> {
    let length: usize = parts.iter().map(Bytes::len).sum();
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let begin = HttpRequest {
        method: head.method,
        path: if path == &*edge.path {
            edge.path.clone()
        } else {
            path.into()
        },
        headers: head.headers,
        content_length: i64::try_from(length).unwrap_or(-1),
        peer: None,
    };
    edge.handle.turn(edge.id, |cx| {
        let mut exchanges = edge.exchanges.borrow_mut();
        let place = exchanges.vacant_entry();
        let token = Token::from_index(place.key());
        let opened = cx.hears::<RequestOpened>().then(|| RequestOpened {
            method: begin.method.as_str().into(),
            path: begin.path.clone(),
            length: u64::try_from(length).unwrap_or(u64::MAX),
        });
        let stream = cx.open(edge.exit, begin, token).ok()?;
        if let Some(opened) = opened {
            cx.event(&opened);
        }
        let exchange = Rc::new(Exchange::new(stream, token, edge.id));
        place.insert(Rc::clone(&exchange));
        exchange.send_body(cx, parts);
        Some(exchange)
    })
}

fn respond(head: HttpResponse, guard: Guard, active: ActiveRequest) -> Answer {
    let length = u64::try_from(head.content_length).ok();
    let mut response = Response::new(ResponseBody::of_stream(guard, length, active));
    *response.status_mut() = head.status;
    // hyper sets the length, which it takes from the body.
    *response.headers_mut() = head.headers;
    response
}

/// Ends an exchange when the client disconnects.
pub(crate) struct Guard {
    edge: Rc<HttpServer>,
    pub(crate) exchange: Rc<Exchange>,
}

impl Guard {
    /// Marks bytes of the response as sent to the client.
    pub(crate) fn acknowledge(&self, bytes: usize) {
        if self.exchange.is_whole() {
            return;
        }
        let (edge, stream) = (self.edge.id, self.exchange.stream);
        self.edge.handle.acknowledge(edge, stream, bytes);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (key, stream) = (self.exchange.token.index(), self.exchange.stream);
        self.edge.remove(key, stream);
        if self.exchange.is_over() {
            return;
        }
        self.edge.handle.turn(self.edge.id, |cx| {
            cx.terminate(self.exchange.stream, None, None);
        });
    }
}
