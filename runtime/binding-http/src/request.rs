//! One request: checked, gathered, and turned into a stream.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, EXPECT, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tidegate_engine::Token;
use tidegate_streams::http_stream::HttpRequest;
use tokio::time::timeout;

use crate::HttpServer;
use crate::body::{Parts, Refused, gather};
use crate::exchange::Exchange;
use crate::origin;
use crate::quiet::Busy;
use crate::response::ResponseBody;

/// Bytes of a request's head at the most.
pub(crate) const HEAD_MAX: usize = 64 * 1024;

type Answer = Response<ResponseBody>;

/// Serves one request.
pub(crate) async fn serve(
    edge: Rc<HttpServer>,
    request: Request<Incoming>,
    busy: Busy,
) -> Result<Answer, Infallible> {
    let mut answer = answer(edge, request).await;
    answer.body_mut().keeps(busy);
    Ok(answer)
}

async fn answer(edge: Rc<HttpServer>, request: Request<Incoming>) -> Answer {
    let seen = Seen::of(request.headers());
    let known = !seen.origin && seen.host.is_some_and(|host| edge.is_known_host(host));
    if !known {
        let on_loopback = edge.listening.ip().is_loopback();
        if let Err(why) = origin::check(request.headers(), &edge.options, on_loopback) {
            return plain(StatusCode::FORBIDDEN, why);
        }
        edge.know_host(request.headers());
    }
    if request.uri().path() != edge.options.path {
        return plain(StatusCode::NOT_FOUND, "There is nothing at this path.");
    }
    if target_size(request.uri()) + seen.size > HEAD_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return plain(status, "The headers are too large.");
    }
    let asks = seen.expect;
    let (head, body) = request.into_parts();
    let within = Duration::from_millis(edge.options.body_timeout);
    let mut gathering = pin!(gather(body, edge.options.max_body_size, asks));
    // A small body is there with its head: only a later one needs a clock.
    let gathered = match poll_fn(|task| Poll::Ready(gathering.as_mut().poll(task))).await {
        Poll::Ready(gathered) => Ok(gathered),
        Poll::Pending => timeout(within, gathering).await,
    };
    let parts = match gathered.unwrap_or(Err(Refused::Late)) {
        Ok(parts) => parts,
        Err(refused) => return refused.answer(),
    };
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
    };
    exchange(&edge, begin, parts).await
}

/// What one walk over a request's headers finds, which is less than a look-up of each name.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a HeaderValue>,
    origin: bool,
    expect: bool,
    /// About how many bytes they are.
    size: usize,
}

impl<'a> Seen<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            // Beside name and value, a header takes a colon, a space and the line's end.
            seen.size += name.as_str().len() + value.len() + 4;
            if name == HOST {
                seen.host = seen.host.or(Some(value));
            }
            seen.origin |= name == ORIGIN;
            seen.expect |= name == EXPECT;
        }
        seen
    }
}

fn target_size(uri: &Uri) -> usize {
    uri.path_and_query()
        .map_or(0, |target| target.as_str().len())
}

impl Refused {
    fn answer(&self) -> Answer {
        match self {
            Self::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            Self::Late => plain(StatusCode::REQUEST_TIMEOUT, "The body took too long."),
            // Nobody is there to read an answer.
            Self::Broken => plain(StatusCode::BAD_REQUEST, "The body broke off."),
        }
    }
}

async fn exchange(edge: &Rc<HttpServer>, begin: HttpRequest, parts: Parts) -> Answer {
    let opened = edge.handle.turn(edge.id, |cx| {
        let mut exchanges = edge.exchanges.borrow_mut();
        let place = exchanges.vacant_entry();
        let token = Token::from_index(place.key());
        let stream = cx.open(edge.exit, begin, token).ok()?;
        let exchange = Rc::new(Exchange::new(stream, token, edge.id));
        place.insert(Rc::clone(&exchange));
        exchange.send_body(cx, parts);
        Some(exchange)
    });
    let Some(exchange) = opened else {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many requests are under way.",
        );
    };
    // From here on, dropping this future tells the stream that the client has gone away.
    let guard = Guard {
        edge: Rc::clone(edge),
        exchange,
    };
    match guard.exchange.head().await {
        Some(head) => {
            let length = u64::try_from(head.content_length).ok();
            let mut response = Response::new(ResponseBody::of_stream(guard, length));
            *response.status_mut() = head.status;
            // The length is told by hyper, which knows it from the body.
            *response.headers_mut() = head.headers;
            response
        }
        None => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The request could not be answered.",
        ),
    }
}

fn plain(status: StatusCode, sentence: &'static str) -> Answer {
    let mut response = Response::new(ResponseBody::of_text(sentence));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

/// Ends an exchange that its client has left.
pub(crate) struct Guard {
    edge: Rc<HttpServer>,
    pub(crate) exchange: Rc<Exchange>,
}

impl Guard {
    /// Tells the stream that the client has taken so many bytes.
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
        self.edge.forget(key, stream);
        if self.exchange.is_over() {
            return;
        }
        self.edge.handle.turn(self.edge.id, |cx| {
            cx.terminate(self.exchange.stream, None, None);
        });
    }
}
