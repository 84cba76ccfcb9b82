//! The edge on real sockets, with a probe for the binding that calls it.

mod endpoints;
mod flow;
mod outcomes;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use socket2::SockRef;

use bytes::Bytes;
use tidegate_driver::testing::{Probe, probe};
use tidegate_driver::{Assembly, Engine};
use tidegate_engine::{Limits, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::bytes_stream::{BytesBegin, BytesConnected};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::{Options, TcpClient};

const PATIENCE: Duration = Duration::from_secs(20);

/// Initial credit of the caller's half, in bytes.
const CALLER_WINDOW: u32 = 1024 * 1024;

/// What the edge holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kept {
    connections: usize,
    /// Number of connections with `TCP_NODELAY`.
    undelayed: usize,
}

struct Harness {
    engine: Engine,
    probe: Probe,
    asks: mpsc::UnboundedSender<oneshot::Sender<Kept>>,
}

impl Harness {
    fn with(options: Options) -> Self {
        let (probe, seat) = probe();
        let (asks, asked) = mpsc::unbounded_channel();
        let asked = Mutex::new(Some(asked));
        let engine = Engine::start(1, Limits::default(), move |assembly| {
            let (tcp, edge) = crate::place(assembly, options.clone());
            seat.attach(assembly, CALLER_WINDOW, Some(tcp));
            if let Some(asked) = asked.lock().expect("no panic").take() {
                look(assembly, edge, asked);
            }
            Ok(())
        });
        Self {
            engine: engine.expect("the engine starts"),
            probe,
            asks,
        }
    }

    fn towards(address: SocketAddr) -> Self {
        Self::with(options(&address.ip().to_string(), address.port()))
    }

    /// Opens a stream and accepts its connection.
    async fn connect(&mut self, listener: &TcpListener) -> (StreamId, TcpStream) {
        let stream = self
            .open(&listener.local_addr().expect("it listens").to_string())
            .await;
        let (socket, _) = listener.accept().await.expect("the edge connects");
        self.connected(listener).await;
        self.until(|kept| kept.undelayed == kept.connections).await;
        (stream, socket)
    }

    /// Checks that the stream says that it is connected, and to whom.
    async fn connected(&mut self, listener: &TcpListener) {
        let address = listener.local_addr().expect("it listens");
        let (_, frame) = self.probe.next_but_window().await;
        let connected = BytesConnected {
            remote: address.to_string().into(),
            host: address.ip().to_string().into(),
            ..BytesConnected::default()
        };
        assert_eq!(frame, Frame::flush(connected));
    }

    /// Waits until the edge's state satisfies `is_so`.
    async fn until(&self, is_so: impl Fn(&Kept) -> bool) {
        let so = async { while !is_so(&self.kept().await) {} };
        let so = tokio::time::timeout(PATIENCE, so).await;
        so.expect("the edge comes to it");
    }

    /// Opens a stream, and checks that its BEGIN names the peer at once.
    async fn open(&mut self, remote: &str) -> StreamId {
        let stream = self.probe.open(BytesBegin::default()).await;
        let (at, frame) = self.probe.next_but_window().await;
        assert_eq!(at.stream, stream);
        let remote = remote.into();
        assert_eq!(
            frame,
            Frame::begin(BytesBegin {
                remote,
                ..BytesBegin::default()
            })
        );
        stream
    }

    async fn kept(&self) -> Kept {
        let (reply, answer) = oneshot::channel();
        self.asks.send(reply).expect("the worker is running");
        answer.await.expect("the worker answers")
    }

    /// Checks that no connection or stream remains and no stream rule was violated.
    async fn finish(self) {
        // The connection is removed by its own task, when that runs.
        self.until(|kept| kept.connections == 0).await;
        let counters = self.engine.counters().await[0];
        assert_eq!((counters.violations, counters.faults), (0, 0));
        assert_eq!(self.engine.shutdown(PATIENCE).await.streams_cut, 0);
    }
}

fn options(host: &str, port: u16) -> Options {
    let options = serde_json::json!({ "host": host, "port": port, "connectTimeout": 10_000 });
    serde_json::from_value(options).expect("valid options")
}

/// Reports the edge's state on request.
fn look(
    assembly: &Assembly,
    edge: Rc<TcpClient>,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<Kept>>,
) {
    assembly.spawn(async move {
        while let Some(reply) = asked.recv().await {
            let state = edge.state.borrow();
            let undelayed = |connection: &&Rc<crate::Connection>| {
                let socket = connection.socket();
                socket.is_some_and(crate::socket::Socket::is_undelayed)
            };
            let kept = Kept {
                connections: state.connections.len(),
                undelayed: state.connections.values().filter(undelayed).count(),
            };
            let _ = reply.send(kept);
        }
    });
}

async fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    listener.expect("there is a free port")
}

fn payload_of(frame: Frame) -> Bytes {
    match frame {
        Frame::Data(data) => data.payload,
        other => panic!("no DATA but {other:?}"),
    }
}

/// Bytes in which each position differs from those around it, even 64 KiB away.
fn pattern(length: usize) -> Bytes {
    let byte = |at: usize| at.wrapping_mul(31) ^ (at >> 8) ^ (at >> 16);
    (0..length).map(|at| byte(at).to_le_bytes()[0]).collect()
}
