//! The floor: the baseline of an HTTP exchange plus an MQTT exchange.
//!
//! A bare hyper handler responds to a POST once a prepared PUBLISH is done: at `QoS` 0 when it is written,
//! at 1 with PUBACK, at 2 with PUBCOMP. No MCP, no JSON, no policy; one thread, one connection to the
//! broker, no allocation per publication; concurrent publications are written together. It respects the
//! Receive Maximum of the broker.
//!
//! For `receive` and `read` it responds with the retained message of a topic, requested for each call (see
//! [`retained`]); for `updates` with a stream of events (see [`updates`]). For `reverse` it is a bridge in the other
//! direction (see [`reverse`]).

mod acks;
mod answer;
mod publications;
mod retained;
mod reverse;
mod updates;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tidegate_binding_mqtt::codec::{Publish, REMAINING_LENGTH_MAX, Version, encode_publish};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::task::spawn_local;

use crate::LoadError;
use crate::child::end_of_input;
use crate::mqtt::{Mqtt, MqttError};
use crate::plan::Operation;
use crate::socket::{BrokerAddress, Socket};
use answer::Answer;
use publications::Publications;
use retained::Retained;
use updates::{Events, Updates};

/// Response to a publication, as long as that of tidegate.
const ANSWER: &[u8] =
    br#"{"jsonrpc":"2.0","id":1000000000,"result":{"resultType":"complete","content":[],"structuredContent":{"outcome":"acknowledged","reasonCode":0,"matched":null}}}"#;
/// Most slices of one vectored write.
const SLICES: usize = 64;

/// Settings of the floor.
#[derive(Debug, Clone)]
pub struct Floor {
    /// Listen address; port 0 for a free port.
    pub listen: SocketAddr,
    /// The broker.
    pub broker: BrokerAddress,
    /// The operation.
    pub operation: Operation,
    /// 0, 1 or 2; only for publish.
    pub qos: u8,
    /// Topic to publish to, or of the retained message, or the topic filter of updates, or the prefix of the
    /// topics of devices.
    pub topic: String,
    /// Payload to publish, or the argument of the upstream's tool.
    pub payload: Bytes,
    /// Host and port of the upstream; only for reverse.
    pub upstream: Option<String>,
    /// Whether to send TCP acknowledgements immediately (`TCP_QUICKACK`): with Nagle's algorithm the broker
    /// delays a packet while the last one is unacknowledged.
    pub quickack: bool,
}

/// Runs the floor until the end of standard input; calls `listening` with its address.
pub fn run_floor(floor: &Floor, listening: impl FnOnce(SocketAddr)) -> Result<(), LoadError> {
    keep_freed_memory();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let client = format!("tidegate-floor-{}", std::process::id());
        let mqtt = Mqtt::connect(&floor.broker, &client).await;
        let failed =
            |error: MqttError| LoadError::Broker(floor.broker.to_string(), error.to_string());
        let mut mqtt = mqtt.map_err(failed)?;
        if floor.operation == Operation::Updates {
            mqtt.subscribe(&floor.topic).await.map_err(failed)?;
        }
        if floor.operation == Operation::Reverse {
            let requests = format!("{}/+/call", floor.topic);
            mqtt.quickack = floor.quickack;
            mqtt.subscribe_at(&requests, 1).await.map_err(failed)?;
        }
        let listener = TcpListener::bind(floor.listen).await?;
        listening(listener.local_addr()?);
        if floor.operation == Operation::Reverse {
            let calls = Rc::new(reverse::Calls::new(floor)?);
            tokio::select! {
                ended = reverse::bridge(mqtt, &calls) => ended?,
                () = end_of_input() => {}
            }
            return Ok(());
        }
        let exchange = match floor.operation {
            Operation::Publish => Exchange::Publish(Publications::new(
                packet(floor)?,
                floor.payload.clone(),
                floor.qos,
                mqtt.receive_maximum,
            )),
            Operation::Receive | Operation::Read => {
                Exchange::Retained(Retained::new(floor.topic.clone(), floor.operation))
            }
            Operation::Updates => Exchange::Updates(Rc::default()),
            Operation::Proxy | Operation::List | Operation::Reverse => {
                let why = "proxy and list have no MQTT exchange".to_owned();
                return Err(LoadError::Floor(why));
            }
        };
        let exchange = Rc::new(exchange);
        tokio::select! {
            ended = exchange.converse(mqtt.socket, floor.quickack) => ended?,
            ended = accept(&listener, &exchange) => ended?,
            () = end_of_input() => {}
        }
        Ok(())
    })
}

/// Lets the buffer of a large request stay in the process. By default glibc returns what is free at the end
/// of the heap if it is more than 128 KiB; the floor would then wait for the kernel to map and clear it again
/// for each request, which a gateway need not do. The limit is twice the size of the largest block that was
/// mapped on its own and freed (mallopt(3), `M_TRIM_THRESHOLD`).
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(2 << 20)));
}

/// The MQTT exchange of a call.
enum Exchange {
    Publish(Publications),
    Retained(Retained),
    Updates(Rc<Updates>),
}

type FloorBody = Either<Answer, Events>;

impl Exchange {
    /// Performs the exchange; `None` if the broker rejects it.
    async fn call(&self) -> Option<FloorBody> {
        match self {
            Self::Publish(publications) => {
                let met = publications.publish().await;
                met.then(|| Either::Left(ANSWER.into()))
            }
            Self::Retained(retained) => retained.receive().await.map(Either::Left),
            Self::Updates(updates) => Some(Either::Right(updates.listen())),
        }
    }

    /// Runs the connection to the broker until it fails.
    async fn converse(&self, socket: Socket, quickack: bool) -> io::Result<()> {
        match (self, socket) {
            (Self::Publish(publications), Socket::Tcp(socket)) => {
                let (reading, writing) = socket.into_split();
                tokio::select! {
                    ended = read(reading, publications, quickack) => ended,
                    ended = write(writing, publications) => ended,
                }
            }
            (Self::Publish(publications), socket) => {
                converse_in_turns(socket, publications, quickack).await
            }
            (Self::Retained(retained), socket) => retained.serve(socket, quickack).await,
            (Self::Updates(updates), socket) => updates.serve(socket, quickack).await,
        }
    }
}

/// The PUBLISH up to its payload, with packet identifier 0.
fn packet(floor: &Floor) -> Result<Vec<u8>, LoadError> {
    let publish = Publish {
        qos: floor.qos,
        topic: floor.topic.as_str().into(),
        ..Publish::default()
    };
    let mut out = BytesMut::new();
    let length = floor.payload.len();
    encode_publish(
        &publish,
        length,
        Version::V5,
        REMAINING_LENGTH_MAX,
        &mut out,
    )
    .map_err(|error| LoadError::Floor(error.to_string()))?;
    Ok(out.to_vec())
}

async fn accept(listener: &TcpListener, exchange: &Rc<Exchange>) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        spawn_local(serve(socket, Rc::clone(exchange)));
    }
}

async fn serve(socket: TcpStream, exchange: Rc<Exchange>) {
    let service = service_fn(|request| handle(request, &exchange));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // Errors of a connection end it.
    let _ = connection.await;
}

async fn handle(
    request: Request<Incoming>,
    exchange: &Exchange,
) -> Result<Response<FloorBody>, Infallible> {
    let mut body = request.into_body();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        whole &= frame.is_ok();
    }
    let answer = if whole { exchange.call().await } else { None };
    let Some(answer) = answer else {
        let refused: &[u8] = b"rejected by the broker";
        let mut response = Response::new(Either::Left(refused.into()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    };
    let mut response = Response::new(answer);
    let content = match response.body() {
        Either::Left(_) => HeaderValue::from_static("application/json"),
        Either::Right(_) => HeaderValue::from_static("text/event-stream"),
    };
    response.headers_mut().insert(CONTENT_TYPE, content);
    Ok(response)
}

/// Reads acknowledgements of the broker.
async fn read(
    mut socket: OwnedReadHalf,
    publications: &Publications,
    quickack: bool,
) -> io::Result<()> {
    #[cfg(not(target_os = "linux"))]
    let _ = quickack;
    let mut input = BytesMut::with_capacity(64 << 10);
    loop {
        input.reserve(16 << 10);
        if socket.read_buf(&mut input).await? == 0 {
            return Err(io::Error::other("connection closed by the broker"));
        }
        #[cfg(target_os = "linux")]
        if quickack {
            // The kernel resets the option with every acknowledgement.
            socket.as_ref().set_quickack(true)?;
        }
        while let Some(ack) = acks::next(&mut input)? {
            publications.acknowledged(ack)?;
        }
    }
}

/// Reads and writes in one task: the two directions of a TLS connection share its state.
async fn converse_in_turns(
    mut socket: Socket,
    publications: &Publications,
    quickack: bool,
) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(64 << 10);
    let mut parts = VecDeque::new();
    loop {
        input.reserve(16 << 10);
        tokio::select! {
            () = publications.gathered(&mut parts) => {
                write_parts(&mut socket, publications, &mut parts).await?;
                socket.flush().await?;
            }
            read = socket.read_buf(&mut input) => {
                if read? == 0 {
                    return Err(io::Error::other("connection closed by the broker"));
                }
                if quickack {
                    socket.set_quickack()?;
                }
                while let Some(ack) = acks::next(&mut input)? {
                    publications.acknowledged(ack)?;
                }
            }
        }
    }
}

/// Writes the publications queued since the last write.
async fn write(mut socket: OwnedWriteHalf, publications: &Publications) -> io::Result<()> {
    let mut parts = VecDeque::new();
    loop {
        publications.gathered(&mut parts).await;
        write_parts(&mut socket, publications, &mut parts).await?;
    }
}

async fn write_parts(
    socket: &mut (impl AsyncWrite + Unpin),
    publications: &Publications,
    parts: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !parts.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, part) in slices.iter_mut().zip(parts.iter()) {
            *slice = IoSlice::new(part);
        }
        let slices = slices.get(..parts.len()).unwrap_or(&slices);
        let written = socket.write_vectored(slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        publications.written(written);
        advance(parts, written);
    }
    Ok(())
}

/// Removes the written bytes.
fn advance(parts: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = parts.front_mut() {
        if first.len() > written {
            first.advance(written);
            return;
        }
        written -= first.len();
        parts.pop_front();
    }
}
