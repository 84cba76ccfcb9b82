//! The connections to the server: opened when needed, and kept for further requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::body::Buffers;
use crate::connect::{Connector, Target, Via, reason};
use crate::options::Options;

/// Most unused connections that are kept.
const IDLE_MAX: usize = 64;

/// Why a request has failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// As a part of a sentence.
    pub(crate) reason: String,
    /// The server may have received the request.
    pub(crate) sent: bool,
    /// A limit of the gateway is the reason.
    pub(crate) limit: bool,
}

impl Failure {
    /// Before anything was sent.
    pub(crate) fn before(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            sent: false,
            limit: false,
        }
    }

    /// At a limit of the gateway; nothing was sent.
    pub(crate) fn limit(reason: impl Into<String>) -> Self {
        Self {
            limit: true,
            ..Self::before(reason)
        }
    }

    /// When the server may have received the request.
    pub(crate) fn after(reason: impl Into<String>) -> Self {
        Self {
            sent: true,
            ..Self::before(reason)
        }
    }
}

/// A connection in use.
pub(crate) struct Lease {
    sender: SendRequest<Buffers>,
    via: Via,
    reused: bool,
    _permits: Permits,
}

/// The right to use a connection, and to keep it if it is for a stream of events.
type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

struct Idle {
    sender: SendRequest<Buffers>,
    via: Via,
    since: Instant,
}

/// Counters since the start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) opened: Cell<u64>,
    pub(crate) failed: Cell<u64>,
}

/// The connections of a worker to one server.
pub(crate) struct Pool {
    target: Target,
    scheme: &'static str,
    authority: String,
    connector: Rc<Connector>,
    idle: Rc<RefCell<VecDeque<Idle>>>,
    idle_timeout: Duration,
    permits: Arc<Semaphore>,
    /// Streams of events last, and would leave no connection for other requests.
    lasting: Arc<Semaphore>,
    lasting_max: usize,
    waiting: Cell<usize>,
    waiting_max: usize,
    pub(crate) counts: Counts,
}

impl Pool {
    pub(crate) fn new(options: &Options, connector: Rc<Connector>) -> Self {
        let max = options.max_connections.size();
        let lasting_max = max * 3 / 4;
        Self {
            target: Target {
                host: options.host.clone(),
                port: options.port(),
                is_tls: options.tls.is_some(),
                name: options.tls.as_ref().and_then(|tls| tls.sni.clone()),
            },
            scheme: options.scheme(),
            authority: options.authority(),
            connector,
            idle: Rc::default(),
            idle_timeout: Duration::from_millis(options.idle_timeout.get()),
            permits: Arc::new(Semaphore::new(max)),
            lasting: Arc::new(Semaphore::new(lasting_max)),
            lasting_max,
            waiting: Cell::new(0),
            waiting_max: options.max_pending.size(),
            counts: Counts::default(),
        }
    }

    /// Number of unused connections.
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Host and port as in errors.
    pub(crate) fn remote(&self) -> String {
        format!("{}:{}", self.target.host, self.target.port)
    }

    /// Sends a request with a target in origin form. A connection that the server has closed before it took
    /// the request is replaced.
    pub(crate) async fn send(
        &self,
        mut request: Request<Buffers>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        loop {
            let mut lease = self.lease(lasts(&request)).await?;
            if let Via::Proxy(credentials) = &lease.via {
                self.address_proxy(&mut request, credentials.as_ref());
            }
            match lease.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(mut error) => match error.take_message() {
                    Some(back) if lease.reused => request = back,
                    Some(_) => return Err(Failure::before(reason(&error.into_error()))),
                    None => {
                        return Err(Failure::after(reason(&error.into_error())));
                    }
                },
            }
        }
    }

    /// A proxy is told the whole URL.
    fn address_proxy(&self, request: &mut Request<Buffers>, credentials: Option<&HeaderValue>) {
        let path = request.uri().path_and_query().cloned();
        let absolute = Uri::builder()
            .scheme(self.scheme)
            .authority(self.authority.as_str())
            .path_and_query(path.map_or_else(|| "/".to_owned(), |path| path.to_string()))
            .build();
        if let Ok(absolute) = absolute {
            *request.uri_mut() = absolute;
        }
        if let Some(credentials) = credentials {
            let credentials = credentials.clone();
            request
                .headers_mut()
                .insert(PROXY_AUTHORIZATION, credentials);
        }
    }

    async fn lease(&self, lasts: bool) -> Result<Lease, Failure> {
        let lasting = if lasts { Some(self.lasting()?) } else { None };
        let permits = (self.permit().await?, lasting);
        while let Some(mut idle) = self.pop() {
            if idle.sender.ready().await.is_ok() {
                return Ok(Lease {
                    sender: idle.sender,
                    via: idle.via,
                    reused: true,
                    _permits: permits,
                });
            }
        }
        // Rare and large: in a box, it does not make the task of each request large.
        match Box::pin(self.connector.open(&self.target)).await {
            Ok(connection) => {
                self.counts.opened.set(self.counts.opened.get() + 1);
                Ok(Lease {
                    sender: connection.sender,
                    via: connection.via,
                    reused: false,
                    _permits: permits,
                })
            }
            Err(reason) => {
                self.counts.failed.set(self.counts.failed.get() + 1);
                Err(Failure::before(reason))
            }
        }
    }

    /// The right to keep a connection for a stream of events.
    fn lasting(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = Arc::clone(&self.lasting).try_acquire_owned();
        permit.map_err(|_| {
            let max = self.lasting_max;
            Failure::limit(format!(
                "{max} streams of events are open, three quarters of maxConnections; raise it to open more"
            ))
        })
    }

    /// Waits for the right to use a connection.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        if self.waiting.get() >= self.waiting_max {
            let max = self.waiting_max;
            let what = format!("{max} requests already wait for a connection (maxPending)");
            return Err(Failure::limit(what));
        }
        let _waiting = Waiting::new(&self.waiting);
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        permit.map_err(|_| Failure::limit("the gateway is stopping"))
    }

    fn pop(&self) -> Option<Idle> {
        let oldest = Instant::now().checked_sub(self.idle_timeout);
        let mut idle = self.idle.borrow_mut();
        // The one that was used last is least likely to have been closed.
        while let Some(found) = idle.pop_back() {
            let is_fresh = oldest.is_none_or(|oldest| found.since >= oldest);
            if is_fresh && !found.sender.is_closed() {
                return Some(found);
            }
        }
        None
    }

    /// Keeps a connection whose response is complete.
    pub(crate) fn keep(&self, lease: Lease) {
        if lease.sender.is_closed() {
            return;
        }
        let since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= IDLE_MAX {
            idle.pop_front();
        }
        let is_first = idle.is_empty();
        idle.push_back(Idle {
            sender: lease.sender,
            via: lease.via,
            since,
        });
        if is_first {
            let (all, after) = (Rc::downgrade(&self.idle), self.idle_timeout);
            tokio::task::spawn_local(async move {
                // Closes connections that are unused for too long, until there are none.
                loop {
                    tokio::time::sleep(after).await;
                    let Some(all) = all.upgrade() else { return };
                    let mut all = all.borrow_mut();
                    all.retain(|idle| idle.since.elapsed() < after && !idle.sender.is_closed());
                    if all.is_empty() {
                        return;
                    }
                }
            });
        }
    }
}

/// Whether a request asks for a stream of events that stays open: a GET that accepts one (the stream of a
/// legacy MCP session), or `subscriptions/listen` of MCP 2026-07-28, which its `Mcp-Method` names.
fn lasts(request: &Request<Buffers>) -> bool {
    let is = |name: &str, text: &str| {
        let value = request.headers().get(name);
        value.is_some_and(|value| value.to_str().is_ok_and(|value| value.contains(text)))
    };
    (request.method() == Method::GET && is("accept", "text/event-stream"))
        || is("mcp-method", "subscriptions/listen")
}

/// Counts a request that waits.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a Cell<usize>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
