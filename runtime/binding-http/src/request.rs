//! A request: checked, received, and turned into a stream.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{EXPECT, HOST, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tidegate_engine::{CallContext, Token};
use tidegate_json::Parts;
use tidegate_streams::http_stream::{HttpRequest, HttpResponse};
use tidegate_streams::{Identity, shown};

use crate::HttpServer;
use crate::activity::ActiveRequest;
use crate::authorization::{Authorizer, Challenges, Denial, Metadata};
use crate::body::{discard, gather, with_timeout};
use crate::client::Client;
use crate::cors::{self, Cors};
use crate::events::{RequestOpened, RequestRefused};
use crate::exchange::Exchange;
use crate::framing;
use crate::multiplexed::Responses;
use crate::origin::{self, Field, RequestHost};
use crate::refusal::{Refusal, close_after, closes_after};
use crate::response::ResponseBody;
use crate::status::Status;

/// Maximum size of a request head, in bytes.
pub(crate) const HEAD_MAX: usize = 64 * 1024;

/// Names the worker that answers a request. Only bindings set it, on streams between workers.
const WORKER: HeaderName = HeaderName::from_static("tidegate-worker");

type Answer = Response<ResponseBody>;

const TOO_MANY: Refusal = Refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "Stream limit reached; retry later.",
);
const UNANSWERED: Refusal = Refusal(
    StatusCode::INTERNAL_SERVER_ERROR,
    "Internal error; the request was not answered.",
);

/// Serves one request. `responses` are those of a multiplexed connection.
pub(crate) async fn serve(
    edge: Rc<HttpServer>,
    client: &Client,
    request: Request<Incoming>,
    active: ActiveRequest,
    responses: Option<&Responses>,
) -> Result<Answer, Infallible> {
    if edge.cors.is_none() {
        return Ok(answer(edge, client, request, active, responses).await);
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut answer = answer(Rc::clone(&edge), client, request, active, responses).await;
    if let (Some(cors), Some(origin)) = (&edge.cors, origin) {
        cors.expose(&origin, &edge.options, client.port, answer.headers_mut());
    }
    Ok(answer)
}

async fn answer(
    edge: Rc<HttpServer>,
    client: &Client,
    request: Request<Incoming>,
    active: ActiveRequest,
    responses: Option<&Responses>,
) -> Answer {
    let checked = check(&edge, client, &request, &active);
    let (mut head, body) = request.into_parts();
    let expects_continue = match checked {
        Ok(Checked::Call { expects_continue }) => expects_continue,
        // Boxed, so that requests that are served do not carry the state of these.
        Ok(Checked::Page(page)) => {
            let answered = async {
                let answer = page.answer(&head.method, active).await;
                finish(&edge, body, &head, answer).await
            };
            return Box::pin(answered).await;
        }
        Err(refusal) => {
            let asked = (&head.method, head.uri.path());
            let answer = refuse(&edge, client, None, asked, refusal, active);
            return Box::pin(finish(&edge, body, &head, answer)).await;
        }
    };
    // Before the body is received: a client that is not accepted makes the gateway hold nothing.
    let identity = match &edge.authorizer {
        None => None,
        Some(authorizer) => match identify(authorizer, client, &mut head).await {
            Ok(identity) => identity,
            Err(denial) => {
                let answer = deny(&edge, client, &denial, authorizer.challenges(), active);
                return Box::pin(finish(&edge, body, &head, answer)).await;
            }
        },
    };
    let mut gathering = pin!(gather(body, edge.options.max_body_size, expects_continue));
    // A small body arrives with its head; only a later one needs a timer.
    let gathered = match poll_fn(|task| Poll::Ready(gathering.as_mut().poll(task))).await {
        Poll::Ready(gathered) => gathered,
        Poll::Pending => with_timeout(&edge, gathering).await,
    };
    let parts = match gathered {
        Ok(parts) => parts,
        Err(refusal) => {
            let asked = (&head.method, head.uri.path());
            return refuse(&edge, client, identity, asked, refusal, active);
        }
    };
    let Some(exchange) = open(&edge, client, identity, head, parts) else {
        let asked = (&Method::POST, &*edge.path);
        return refuse(&edge, client, None, asked, TOO_MANY, active);
    };
    edge.counts.requests.add();
    // From here on, dropping this future aborts the stream.
    let running = AbortOnDrop { edge, exchange };
    match running.exchange.head().await {
        Some(head) => {
            if let (Some(responses), Some(place)) = (responses, active.place()) {
                responses.add(&running.exchange, place);
            }
            respond(head, running, active)
        }
        None => UNANSWERED.answer(active),
    }
}

/// Reads the body of a request whose answer is known, so that its client can send the next request, and
/// repeat this one with other credentials. The connection is closed after the response if the body is too
/// large or too slow for that.
async fn finish(
    edge: &HttpServer,
    body: Incoming,
    head: &http::request::Parts,
    mut answer: Answer,
) -> Answer {
    // Where the body of a request that violates the framing ends is unknown.
    if closes_after(&answer) {
        return answer;
    }
    let expects_continue = head.headers.contains_key(EXPECT);
    let rest = discard(body, edge.options.max_body_size, expects_continue);
    // HTTP/2 ends the request alone.
    if with_timeout(edge, pin!(rest)).await.is_err() && head.version != Version::HTTP_2 {
        close_after(&mut answer);
    }
    answer
}

/// The identity of a client; `None` is an anonymous one. Its credential is removed from the head.
async fn identify(
    authorizer: &Authorizer,
    client: &Client,
    head: &mut http::request::Parts,
) -> Result<Option<Arc<Identity>>, Denial> {
    let identity = match authorizer.known(client, head) {
        Some(identity) => Some(identity),
        // Boxed, so that other requests do not carry the state of this.
        None => Box::pin(authorizer.ask(client, head)).await?,
    };
    authorizer.strip(head);
    Ok(identity)
}

/// The answer to a request for which no stream is opened.
fn refuse(
    edge: &HttpServer,
    client: &Client,
    identity: Option<Arc<Identity>>,
    (method, path): (&Method, &str),
    refusal: Refusal,
    active: ActiveRequest,
) -> Answer {
    edge.counts.requests_refused.add();
    edge.handle.turn(edge.id, |cx| {
        cx.work_with(CallContext {
            identity,
            ..CallContext::default()
        });
        cx.event_with(|_| RequestRefused {
            status: refusal.0.as_u16(),
            reason: ByteString::from_static(refusal.1),
            method: ByteString::from(&*shown(method.as_str())),
            path: ByteString::from(&*shown(path)),
            address: client.shown(),
        });
    });
    refusal.answer(active)
}

/// The answer to a request whose client is not accepted.
fn deny(
    edge: &HttpServer,
    client: &Client,
    denial: &Denial,
    challenges: &Challenges,
    active: ActiveRequest,
) -> Answer {
    edge.counts.requests_refused.add();
    edge.counts.authorizations_failed.add();
    edge.failures.add(&edge.handle, edge.id, client, denial);
    denial.answer(challenges, active)
}

/// What a request is for.
enum Checked<'a> {
    /// A stream; the client may wait for `100 Continue`.
    Call {
        expects_continue: bool,
    },
    Page(Page<'a>),
}

/// What the edge answers itself.
enum Page<'a> {
    Preflight(&'a Cors),
    /// The metadata of the endpoint as a resource of OAuth.
    Metadata(&'a Metadata),
    Status(&'a Status),
}

impl Page<'_> {
    async fn answer(self, method: &Method, active: ActiveRequest) -> Answer {
        match self {
            Self::Preflight(cors) => preflight(cors, active),
            Self::Metadata(metadata) => metadata.answer(method, active),
            Self::Status(status) => status.answer(method, active).await,
        }
    }
}

/// Checks a request head.
fn check<'a>(
    edge: &'a HttpServer,
    client: &Client,
    request: &Request<Incoming>,
    active: &ActiveRequest,
) -> Result<Checked<'a>, Refusal> {
    let seen = Seen::of(request.headers());
    let path = request.uri().path();
    if let Some(authorizer) = &edge.authorizer
        && let Some(metadata) = authorizer.metadata()
        && metadata.is_at(path)
    {
        // It is public, so neither host nor origin matters.
        if seen.coded {
            framing::check(request.headers(), &active.head())?;
        }
        return Ok(Checked::Page(Page::Metadata(metadata)));
    }
    let request_host = RequestHost {
        version: request.version(),
        target: request.uri(),
        host: seen.host,
        origin: seen.origin,
    };
    origin::check(&request_host, &edge.options, client.port)?;
    if seen.coded {
        framing::check(request.headers(), &active.head())?;
    }
    let is_status = path != edge.options.path;
    if is_status && edge.options.status.as_deref() != Some(path) {
        return Err(Refusal(StatusCode::NOT_FOUND, "Unknown path."));
    }
    if target_size(request.uri()) + seen.size > HEAD_MAX {
        return Err(Refusal(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Headers too large.",
        ));
    }
    if let Some(cors) = &edge.cors
        && cors::is_preflight(request.method(), request.headers())
    {
        return Ok(Checked::Page(Page::Preflight(cors)));
    }
    match &edge.status {
        Some(status) if is_status => Ok(Checked::Page(Page::Status(status))),
        _ => Ok(Checked::Call {
            expects_continue: seen.expect,
        }),
    }
}

/// Answers a preflight request, which asks for no more than this.
fn preflight(cors: &Cors, active: ActiveRequest) -> Answer {
    let mut response = Response::new(ResponseBody::empty(active));
    *response.status_mut() = StatusCode::NO_CONTENT;
    cors.preflight(response.headers_mut());
    response
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
fn open(
    edge: &HttpServer,
    client: &Client,
    identity: Option<Arc<Identity>>,
    mut head: http::request::Parts,
    parts: Parts,
) -> Option<Rc<Exchange>> {
    // A client does not choose the worker.
    head.headers.remove(WORKER);
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
        peer: client.peer(),
    };
    edge.handle.turn(edge.id, |cx| {
        let mut exchanges = edge.exchanges.borrow_mut();
        let place = exchanges.vacant_entry();
        let token = Token::from_index(place.key());
        let opened = cx.hears::<RequestOpened>().then(|| RequestOpened {
            method: begin.method.as_str().into(),
            // A query may have a secret, wherever it was meant to be.
            path: path_alone(&begin.path),
            length: u64::try_from(length).unwrap_or(u64::MAX),
            address: client.shown(),
            certified: !client.certificates.is_empty(),
        });
        let call = CallContext {
            identity,
            ..CallContext::default()
        };
        let stream = cx.open_for(call, edge.exit, begin, token).ok()?;
        match opened {
            Some(opened) => cx.event(&opened),
            None => cx.count_event::<RequestOpened>(),
        }
        let exchange = Rc::new(Exchange::new(stream, token, edge.id));
        place.insert(Rc::clone(&exchange));
        exchange.send_body(cx, parts);
        Some(exchange)
    })
}

fn path_alone(target: &ByteString) -> ByteString {
    match target.split_once('?') {
        Some((path, _)) => path.into(),
        None => target.clone(),
    }
}

fn respond(mut head: HttpResponse, running: AbortOnDrop, active: ActiveRequest) -> Answer {
    if let Some(authorizer) = &running.edge.authorizer {
        authorizer.announce(head.status, &mut head.headers);
    }
    let length = u64::try_from(head.content_length).ok();
    let mut response = Response::new(ResponseBody::of_stream(running, length, active));
    *response.status_mut() = head.status;
    // hyper sets the length, which it takes from the body.
    *response.headers_mut() = head.headers;
    response
}

/// Ends an exchange when the client disconnects.
pub(crate) struct AbortOnDrop {
    edge: Rc<HttpServer>,
    pub(crate) exchange: Rc<Exchange>,
}

impl AbortOnDrop {
    /// Marks bytes of the response as sent to the client.
    pub(crate) fn acknowledge(&self, bytes: usize) {
        if self.exchange.is_whole() {
            return;
        }
        let (edge, stream) = (self.edge.id, self.exchange.stream);
        self.edge.handle.acknowledge(edge, stream, bytes);
    }
}

impl Drop for AbortOnDrop {
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
