//! `http · client`: sends http streams as requests to a server.
//!
//! - One server, over HTTP/1.1 with or without TLS, through a proxy if the environment names one. Open
//!   connections are used again; `TCP_NODELAY` is always set.
//! - **Credentials are its own**: fixed headers, a token of a file, or a token of an authorization server
//!   (`credentials.rs`). A request that is answered 401 is sent once more if there is a newer token. What
//!   a caller of the gateway presented never gets here.
//! - A redirect (307, 308) is followed to the same server only.
//! - A request that a connection did not take, because the server had closed it, is sent on another one.
//! - A response is read as fast as its stream is consumed.
//! - Streams of events that stay open take three quarters of the connections at most.
//!
//! Bounds: `maxConnections` at the same time, `maxPending` requests that wait for one, `maxBodySize` of a
//! request, 64 KiB of response headers, `connectTimeout`. How long a response is waited for is the
//! decision of who sent the request, and ends it.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "an edge works in real time")]

mod body;
mod connect;
mod credentials;
mod exchange;
mod oauth;
mod options;
mod pool;
mod redirect;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytestring::ByteString;
use http::uri::InvalidUri;
use http::{HeaderValue, Uri};
use tidegate_driver::{Assembly, Edge, Handle, StartError, caught};
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{At, BindingId, Meter, StreamId};
use tidegate_streams::{BeginEx, Frame, http_stream::HttpBeginEx};

use exchange::Exchange;
pub use options::{Authorization, ClientCredentials, Options, ProxyChoice, Tls};
use pool::Pool;

/// Credit of a stream to the server, in bytes.
const WINDOW: u32 = 512 * 1024;

/// Size of the task of a request, in bytes. What is rare in it is in boxes.
const TASK_MAX: usize = 2_048;

/// What the requests of a worker share.
pub(crate) struct Client {
    pub(crate) edge: BindingId,
    pub(crate) options: Options,
    pub(crate) pool: Pool,
    pub(crate) credentials: credentials::Credentials,
    /// `Host` of each request; `None` if it is not a valid header.
    host: Option<HeaderValue>,
    /// The last path and what it is as a URI: most requests have the same.
    path: RefCell<(ByteString, Uri)>,
}

/// The edge `http · client`.
struct HttpClient {
    client: Rc<Client>,
    handle: Handle,
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    exchanges: BTreeMap<StreamId, Rc<Exchange>>,
    /// Streams that received frames since the last flush.
    touched: Vec<StreamId>,
}

/// Attaches the edge to a worker.
///
/// # Errors
///
/// A file of `tls` cannot be used.
pub fn attach(assembly: &mut Assembly, options: Options) -> Result<BindingId, StartError> {
    let connector = connect::Connector::new(&options).map_err(StartError::Edge)?;
    let (id, _) = assembly.attach_edge(WINDOW, |id, handle| {
        let connector = Rc::new(connector);
        let credentials = credentials::Credentials::new(&options, Rc::clone(&connector));
        let client = Client {
            edge: id,
            pool: Pool::new(&options, connector),
            credentials,
            host: HeaderValue::try_from(options.authority()).ok(),
            path: RefCell::default(),
            options,
        };
        Rc::new(HttpClient {
            client: Rc::new(client),
            handle,
            state: Rc::default(),
        })
    });
    Ok(id)
}

impl Client {
    /// A path as the target of a request.
    pub(crate) fn target(&self, path: &ByteString) -> Result<Uri, InvalidUri> {
        let mut last = self.path.borrow_mut();
        if last.0 != *path {
            let uri = Uri::from_maybe_shared(path.as_bytes().clone())?;
            *last = (path.clone(), uri);
        }
        Ok(last.1.clone())
    }
}

impl HttpClient {
    /// Sends a request in a task, and removes its exchange when the task ends.
    fn run(&self, exchange: &Rc<Exchange>) {
        let (handle, state) = (self.handle.clone(), Rc::clone(&self.state));
        let client = Rc::clone(&self.client);
        let running = Rc::clone(exchange);
        // The runtime moves a task when it is spawned, and writes over all of it when it ends.
        let run = Box::pin(Rc::clone(exchange).run(handle.clone(), Rc::clone(&client)));
        debug_assert!(
            size_of_val(&*run) <= TASK_MAX,
            "{} bytes",
            size_of_val(&*run)
        );
        let task = tokio::task::spawn_local(async move {
            if caught(run).await.is_err() {
                let failure = pool::Failure::after("internal error in tidegate");
                running.fail(&handle, &client, &failure);
            }
            state.borrow_mut().exchanges.remove(&running.stream());
        });
        exchange.set_task(task.abort_handle());
    }
}

impl Edge for HttpClient {
    fn on_output(&self, at: At, frame: Frame) {
        let mut state = self.state.borrow_mut();
        if let Frame::Begin(begin) = frame {
            if let BeginEx::Http(HttpBeginEx::Request(request)) = begin.into_inner() {
                let exchange = Rc::new(Exchange::new(at.stream, request));
                state.exchanges.insert(at.stream, exchange);
                state.touched.push(at.stream);
            }
            return;
        }
        let Some(exchange) = state.exchanges.get(&at.stream) else {
            return;
        };
        exchange.take(frame);
        if state.touched.last() != Some(&at.stream) {
            state.touched.push(at.stream);
        }
    }

    fn flush(&self, handle: &Handle) {
        let mut touched = std::mem::take(&mut self.state.borrow_mut().touched);
        for stream in touched.drain(..) {
            let exchange = self.state.borrow().exchanges.get(&stream).cloned();
            let Some(exchange) = exchange else { continue };
            match exchange.next(handle, &self.client) {
                exchange::Next::Wait => {}
                exchange::Next::Run => self.run(&exchange),
                exchange::Next::Remove => {
                    self.state.borrow_mut().exchanges.remove(&stream);
                }
            }
        }
        self.state.borrow_mut().touched = touched;
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("http.client.requests", self.state.borrow().exchanges.len());
        let pool = &self.client.pool;
        meter.gauge("http.client.connections.idle", pool.idle());
        for (outcome, count) in [
            ("opened", pool.counts.opened.get()),
            ("failed", pool.counts.failed.get()),
        ] {
            let labels = [("outcome", outcome)];
            meter.record(Counter, "http.client.connections", &labels, count);
        }
    }
}
