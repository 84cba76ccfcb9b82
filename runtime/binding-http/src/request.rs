//! One request: checked, gathered, and turned into a stream.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tidegate_engine::Token;
use tidegate_streams::http_stream::HttpRequest;
use tokio::time::timeout;

use crate::HttpServer;
use crate::exchange::Exchange;
use crate::origin;
use crate::response::ResponseBody;

/// How much of a body that is too large is read on, so that the client gets to read the answer.
const DISCARDED_MAX: usize = 64 * 1024 * 1024;

type Answer = Response<ResponseBody>;

/// Serves one request.
pub(crate) async fn serve(
    edge: Rc<HttpServer>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let on_loopback = edge.listening.ip().is_loopback();
    if let Err(why) = origin::check(request.headers(), &edge.options, on_loopback) {
        return Ok(plain(StatusCode::FORBIDDEN, why));
    }
    if request.uri().path() != edge.options.path {
        return Ok(plain(
            StatusCode::NOT_FOUND,
            "There is nothing at this path.",
        ));
    }
    let (head, body) = request.into_parts();
    let within = Duration::from_millis(edge.options.body_timeout);
    let gathered = timeout(within, gather(body, edge.options.max_body_size)).await;
    let parts = match gathered {
        Ok(Ok(parts)) => parts,
        Ok(Err(Refused::TooLarge)) => {
            return Ok(plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large.",
            ));
        }
        // Nobody is there to read an answer.
        Ok(Err(Refused::Broken)) => {
            return Ok(plain(StatusCode::BAD_REQUEST, "The body broke off."));
        }
        Err(_) => {
            return Ok(plain(
                StatusCode::REQUEST_TIMEOUT,
                "The body took too long.",
            ));
        }
    };
    let length: usize = parts.iter().map(Bytes::len).sum();
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let begin = HttpRequest {
        method: head.method,
        path: path.into(),
        headers: head.headers,
        content_length: i64::try_from(length).unwrap_or(-1),
    };
    Ok(exchange(&edge, begin, parts).await)
}

enum Refused {
    TooLarge,
    Broken,
}

/// The whole body, in the buffers in which it was read.
async fn gather(mut body: Incoming, limit: usize) -> Result<Vec<Bytes>, Refused> {
    let announced = body.size_hint().lower();
    let mut too_large = usize::try_from(announced).map_or(true, |announced| announced > limit);
    let mut parts = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if too_large || length > limit {
            too_large = true;
            parts.clear();
            if length > DISCARDED_MAX {
                break;
            }
        } else if !data.is_empty() {
            parts.push(data);
        }
    }
    if too_large {
        Err(Refused::TooLarge)
    } else {
        Ok(parts)
    }
}

async fn exchange(edge: &Rc<HttpServer>, begin: HttpRequest, parts: Vec<Bytes>) -> Answer {
    let opened = edge.handle.turn(edge.id, |cx| {
        let stream = cx.open(edge.exit, begin, Token::default()).ok()?;
        let exchange = Rc::new(Exchange::new(stream, edge.id));
        edge.exchanges
            .borrow_mut()
            .insert(stream, Rc::clone(&exchange));
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
            *response.headers_mut() = head.headers;
            if let Some(length) = length {
                response
                    .headers_mut()
                    .insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
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
        self.edge.handle.turn(self.edge.id, |cx| {
            cx.acknowledge(self.exchange.stream, bytes);
        });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.edge
            .exchanges
            .borrow_mut()
            .remove(&self.exchange.stream);
        self.edge.handle.turn(self.edge.id, |cx| {
            cx.terminate(self.exchange.stream, None, None);
        });
    }
}
