//! `stdio · server`: standard input and output as one line stream.
//!
//! Each line of standard input is a message to the exit; each message from the exit is a line of
//! standard output, and nothing else is written there. The end of standard input ENDs the stream;
//! when the reply half also ENDs, the engine is requested to stop. A stop from elsewhere ends the
//! stream like the end of standard input does, and waits until the output is written.
//!
//! With `authorization`, the client has the identity of its credential: the stream states it, and ends when
//! it expires.
//!
//! Bounds: a line longer than `maxLineSize` is skipped and reported by a FLUSH. No line is read
//! while the previous one waits for credit.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "an edge works in real time")]

mod authorization;
pub mod client;
mod lines;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_driver::{Assembly, Edge, Handle, StartError, Stop};
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{At, BindingId, CallContext, Meter, PendingData, StreamId, Token};
use tidegate_options::{GuardReference, positive};
use tidegate_streams::line::{LineBegin, LineOversized};
use tidegate_streams::{Data, DataFlags, Frame, Identity};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

pub use authorization::Authorization;
use lines::{Line, Lines};

/// Credit of the reply half, in bytes: the output that may wait for a client that does not read.
const WINDOW: u32 = 256 * 1024;

/// Options of `stdio · server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Maximum length of a line, in bytes.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_line_size: usize,
    /// Who the client is: a guard, and the credential that it checks at start. Take the credential from
    /// the environment: `staff: { credentials: "${{env.TIDEGATE_KEY}}" }`. A credential that is not
    /// accepted fails the start, and the input ends when it expires. None: the client is anonymous.
    pub authorization: Option<Authorization>,
}

impl tidegate_options::Options for Options {
    fn guards(&self) -> Vec<GuardReference> {
        let authorization = self.authorization.iter();
        authorization.map(Authorization::reference).collect()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_line_size: 4 * 1024 * 1024,
            authorization: None,
        }
    }
}

/// State of the edge.
struct StdioServer {
    id: BindingId,
    stop: Stop,
    stream: Cell<Option<StreamId>>,
    input: RefCell<PendingData>,
    output: RefCell<VecDeque<(Bytes, bool)>>,
    /// Credit has arrived for queued input.
    credit: Notify,
    /// Output is queued.
    written: Notify,
    /// The reply half has ended.
    over: Cell<bool>,
    /// The engine is stopping.
    stopping: Notify,
    lines: Counts,
}

/// Number of lines.
#[derive(Default)]
struct Counts {
    received: Cell<u64>,
    oversized: Cell<u64>,
    sent: Cell<u64>,
}

fn count(figure: &Cell<u64>) {
    figure.set(figure.get() + 1);
}

/// Attaches the edge to the process's standard input and output. `identity` is what the guard of
/// `authorization` has answered.
///
/// # Errors
///
/// Standard output is closed, or no file descriptor is left to duplicate it.
pub fn attach(
    assembly: &mut Assembly,
    options: &Options,
    exit: BindingId,
    identity: Option<Arc<Identity>>,
) -> Result<BindingId, StartError> {
    // Use a duplicated descriptor: at exit, the standard library flushes its own stream, and waits
    // for a client that does not read.
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    let output = output
        .map_err(|error| StartError::Edge(format!("cannot open standard output: {error}")))?;
    let output = tokio::fs::File::from_std(output.into());
    let input = tokio::io::stdin();
    let client = Client { exit, identity };
    Ok(attach_to(assembly, options, client, input, output))
}

/// Who writes to the input, and where its messages go.
struct Client {
    exit: BindingId,
    identity: Option<Arc<Identity>>,
}

/// Attaches the edge to another input and output.
fn attach_to(
    assembly: &mut Assembly,
    options: &Options,
    client: Client,
    input: impl AsyncRead + Unpin + 'static,
    output: impl AsyncWrite + Unpin + 'static,
) -> BindingId {
    let stop = assembly.stop();
    let (id, edge) = assembly.attach_edge(WINDOW, |id, _| {
        Rc::new(StdioServer {
            id,
            stop,
            stream: Cell::new(None),
            input: RefCell::default(),
            output: RefCell::default(),
            credit: Notify::new(),
            written: Notify::new(),
            over: Cell::new(false),
            stopping: Notify::new(),
            lines: Counts::default(),
        })
    });
    let lines = Lines::new(input, options.max_line_size);
    assembly.spawn(read(Rc::clone(&edge), assembly.handle(), client, lines));
    assembly.spawn(write(edge, assembly.handle(), output));
    id
}

impl Edge for StdioServer {
    fn on_output(&self, _at: At, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                let fin = data.flags.is_fin();
                self.output.borrow_mut().push_back((data.payload, fin));
                self.written.notify_one();
            }
            Frame::Window(_) => self.credit.notify_one(),
            Frame::End(_) | Frame::Abort(_) | Frame::Reset(_) => self.finish(),
            _ => {}
        }
    }

    fn on_shutdown(&self) {
        self.stopping.notify_one();
    }

    fn report(&self, meter: &mut dyn Meter) {
        for (kind, lines) in [
            ("received", &self.lines.received),
            ("oversized", &self.lines.oversized),
            ("sent", &self.lines.sent),
        ] {
            let labels = [("kind", kind)];
            meter.record(Counter, "stdio.server.lines", &labels, lines.get());
        }
    }
}

impl StdioServer {
    /// Ends input and output: only queued output is still written.
    fn finish(&self) {
        self.over.set(true);
        self.credit.notify_one();
        self.written.notify_one();
    }
}

impl Client {
    /// The time left to its identity, if that ends.
    fn expires_in(&self, handle: &Handle, edge: BindingId) -> Option<Duration> {
        let expires = self.identity.as_ref().map(|identity| identity.expires);
        let expires = expires.filter(|expires| *expires > 0)?;
        let now = handle.turn(edge, |cx| cx.wall_clock().unix_millis());
        Some(Duration::from_millis(expires.saturating_sub(now)))
    }
}

/// Waits for a time; without one, forever.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn read<R: AsyncRead + Unpin>(
    edge: Rc<StdioServer>,
    handle: Handle,
    client: Client,
    mut lines: Lines<R>,
) {
    let expires_in = client.expires_in(&handle, edge.id);
    let call = CallContext {
        identity: client.identity,
        ..CallContext::default()
    };
    let exit = client.exit;
    let opened = handle.turn(edge.id, |cx| {
        cx.open_for(call, exit, LineBegin {}, Token::default())
    });
    let stream = match opened {
        Ok(stream) => stream,
        Err(error) => {
            tracing::error!(%error, "cannot open a stream for standard input");
            return edge.finish();
        }
    };
    edge.stream.set(Some(stream));
    let mut expired = pin!(after(expires_in));
    loop {
        let next = tokio::select! {
            biased;
            () = &mut expired => {
                tracing::error!("the credential of standard input has expired");
                break;
            }
            () = edge.stopping.notified() => break,
            next = lines.next() => next,
        };
        match next {
            Ok(Some(Line::Whole(payload))) => {
                count(&edge.lines.received);
                let data = Data {
                    flags: DataFlags::WHOLE,
                    payload,
                    extension: None,
                };
                handle.turn(edge.id, |cx| edge.input.borrow_mut().send(cx, stream, data));
                while !edge.input.borrow().is_empty() && !edge.over.get() {
                    edge.credit.notified().await;
                    handle.turn(edge.id, |cx| edge.input.borrow_mut().flush(cx, stream));
                }
            }
            Ok(Some(Line::Oversized(length))) => {
                count(&edge.lines.oversized);
                let limit = lines.limit() as u64;
                handle.turn(edge.id, |cx| {
                    cx.send(stream, Frame::flush(LineOversized { length, limit }));
                });
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "cannot read standard input");
                break;
            }
        }
        if edge.over.get() {
            break;
        }
    }
    handle.turn(edge.id, |cx| cx.end(stream, Frame::end()));
}

async fn write<W: AsyncWrite + Unpin>(edge: Rc<StdioServer>, handle: Handle, mut output: W) {
    let _hold = handle.hold();
    loop {
        let next = edge.output.borrow_mut().pop_front();
        let Some((part, fin)) = next else {
            if edge.over.get() {
                break;
            }
            edge.written.notified().await;
            continue;
        };
        let length = part.len();
        if let Err(error) = write_part(&mut output, &part, fin).await {
            tracing::debug!(%error, "standard output is closed");
            break;
        }
        if fin {
            count(&edge.lines.sent);
        }
        if let Some(stream) = edge.stream.get() {
            handle.turn(edge.id, |cx| cx.acknowledge(stream, length));
        }
    }
    if let Some(stream) = edge.stream.get() {
        handle.turn(edge.id, |cx| cx.terminate(stream, None, None));
    }
    edge.finish();
    edge.stop.request();
}

async fn write_part<W: AsyncWrite + Unpin>(
    output: &mut W,
    part: &[u8],
    fin: bool,
) -> std::io::Result<()> {
    // Replace line ends by spaces: they only occur as white space between the tokens of a message,
    // never within strings.
    if memchr::memchr2(b'\n', b'\r', part).is_some() {
        let space = |byte: &u8| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        };
        let line: Vec<u8> = part.iter().map(space).collect();
        output.write_all(&line).await?;
    } else {
        output.write_all(part).await?;
    }
    if fin {
        output.write_all(b"\n").await?;
        output.flush().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
