//! The floor: what an HTTP exchange and an MQTT exchange cost when nothing stands between them.
//!
//! A bare hyper handler answers every POST once a ready-made PUBLISH has met its `QoS` at the broker:
//! at 0 when it is written, at 1 with its PUBACK, at 2 with its PUBCOMP. No MCP, no JSON, no policy;
//! one thread, one connection to the broker, no allocation for a publication; publications that
//! arrive in the same turn go out in one write. It keeps to the broker's Receive Maximum.
//!
//! Of `receive` and `read`, it answers with the retained message of a topic, each time asked for anew
//! (see [`retained`]).

mod acks;
mod answer;
mod publications;
mod retained;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tidegate_binding_mqtt::codec::{Publish, REMAINING_LENGTH_MAX, Version, encode_publish};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::task::spawn_local;

use crate::LoadError;
use crate::mqtt::Mqtt;
use crate::plan::Operation;
use answer::Answer;
use publications::Publications;
use retained::Retained;

/// What every publication is answered with: as long as ours.
const ANSWER: &[u8] =
    br#"{"jsonrpc":"2.0","id":1000000000,"result":{"resultType":"complete","content":[]}}"#;
/// How many slices go into one write.
const SLICES: usize = 64;

/// What the floor is told.
#[derive(Debug, Clone)]
pub struct Floor {
    /// Where it listens; port 0 for any.
    pub listen: SocketAddr,
    /// The broker, as `host:port`.
    pub broker: String,
    /// Publish, receive or read; updates have a floor without HTTP.
    pub operation: Operation,
    /// 0, 1 or 2; of publish alone.
    pub qos: u8,
    /// Where it publishes, or the retained message lies.
    pub topic: String,
    /// What it publishes.
    pub payload: Bytes,
    /// Whether it acknowledges what the broker sends at once (`TCP_QUICKACK`): a broker with Nagle's
    /// algorithm holds an answer back while the last one is unacknowledged.
    pub quickack: bool,
}

/// Runs the floor until standard input ends; `tell` is told where it listens.
pub fn run_floor(floor: &Floor, tell: impl FnOnce(SocketAddr)) -> Result<(), LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let client = format!("tidegate-floor-{}", std::process::id());
        let mqtt = Mqtt::connect(&floor.broker, &client).await;
        let mqtt =
            mqtt.map_err(|error| LoadError::Broker(floor.broker.clone(), error.to_string()))?;
        let listener = TcpListener::bind(floor.listen).await?;
        tell(listener.local_addr()?);
        let work = if floor.operation == Operation::Publish {
            Work::Publish(Publications::new(
                packet(floor)?,
                floor.payload.clone(),
                floor.qos,
                mqtt.receive_maximum,
            ))
        } else {
            Work::Retained(Retained::new(floor.topic.clone(), floor.operation))
        };
        let work = Rc::new(work);
        tokio::select! {
            ended = work.converse(mqtt.socket, floor.quickack) => ended?,
            ended = accept(&listener, &work) => ended?,
            () = end_of_input() => {}
        }
        Ok(())
    })
}

/// What a call causes.
enum Work {
    Publish(Publications),
    Retained(Retained),
}

impl Work {
    /// The answer to a call; `None` where the broker does not do what it should.
    async fn call(&self) -> Option<Answer> {
        match self {
            Self::Publish(publications) => publications.publish().await.then(|| ANSWER.into()),
            Self::Retained(retained) => retained.receive().await,
        }
    }

    /// Talks with the broker until that fails.
    async fn converse(&self, socket: TcpStream, quickack: bool) -> io::Result<()> {
        match self {
            Self::Publish(publications) => {
                let (reading, writing) = socket.into_split();
                tokio::select! {
                    ended = read(reading, publications, quickack) => ended,
                    ended = write(writing, publications) => ended,
                }
            }
            Self::Retained(retained) => retained.serve(socket, quickack).await,
        }
    }
}

/// The PUBLISH in front of its payload, with packet identifier 0.
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

/// Whoever has started the floor holds its standard input open.
async fn end_of_input() {
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(input.read(&mut bytes).await, Ok(1..)) {}
}

async fn accept(listener: &TcpListener, work: &Rc<Work>) -> io::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        spawn_local(serve(socket, Rc::clone(work)));
    }
}

async fn serve(socket: TcpStream, work: Rc<Work>) {
    let service = service_fn(|request| handle(request, &work));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // A caller that hangs up is done.
    let _ = connection.await;
}

async fn handle(request: Request<Incoming>, work: &Work) -> Result<Response<Answer>, Infallible> {
    let mut body = request.into_body();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        whole &= frame.is_ok();
    }
    let answer = if whole { work.call().await } else { None };
    let Some(answer) = answer else {
        let refused: &[u8] = b"the broker refused it";
        let mut response = Response::new(refused.into());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    };
    let mut response = Response::new(answer);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Takes what the broker acknowledges.
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
            return Err(io::Error::other("the broker closed the connection"));
        }
        #[cfg(target_os = "linux")]
        if quickack {
            // The kernel forgets it with every acknowledgement.
            socket.as_ref().set_quickack(true)?;
        }
        while let Some(ack) = acks::next(&mut input)? {
            publications.acknowledged(ack)?;
        }
    }
}

/// Writes what has come together since the last write.
async fn write(mut socket: OwnedWriteHalf, publications: &Publications) -> io::Result<()> {
    let mut parts = VecDeque::new();
    loop {
        publications.gathered(&mut parts).await;
        while !parts.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, part) in slices.iter_mut().zip(&parts) {
                *slice = IoSlice::new(part);
            }
            let slices = slices.get(..parts.len()).unwrap_or(&slices);
            let written = socket.write_vectored(slices).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            publications.written(written);
            advance(&mut parts, written);
        }
    }
}

/// Takes away what has been written.
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
