//! The link between the gateway and the broker: a TCP relay that the tour can cut, and where it sees the
//! packets that pass, as they are on the wire.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tidegate_binding_mqtt::codec::{Decoder, Packet, REMAINING_LENGTH_MAX, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::journal::{Event, Journal};
use super::mqtt::text_of;

/// Who is at this end of the link.
pub(super) const WHO: &str = "gateway";
/// Most requests of which the time is kept.
const REQUESTS_MAX: usize = 1_000;
const READ_SIZE: usize = 4 << 10;

/// A link; its clones are the same link.
#[derive(Debug, Clone)]
pub(super) struct Link {
    up: Arc<watch::Sender<bool>>,
    tap: Tap,
}

/// What is seen of the messages with a correlation.
#[derive(Debug, Clone)]
struct Tap {
    journal: Journal,
    times: Arc<Mutex<Times>>,
}

#[derive(Debug, Default)]
struct Times {
    /// When requests passed, by their correlation.
    requests: BTreeMap<Bytes, Instant>,
    /// The time from each request to its answer, in order.
    answers: Vec<Duration>,
}

impl Link {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            up: Arc::new(watch::Sender::new(true)),
            tap: Tap {
                journal,
                times: Arc::default(),
            },
        }
    }

    /// Cuts all connections, and closes new ones at once.
    pub(super) fn cut(&self) {
        self.up.send_replace(false);
    }

    pub(super) fn restore(&self) {
        self.up.send_replace(true);
    }

    /// The times from requests to their answers, in the order of the answers.
    pub(super) fn answers(&self) -> Vec<Duration> {
        self.tap.times().answers.clone()
    }

    /// Relays connections to the broker.
    pub(super) async fn run(&self, listener: TcpListener, broker: SocketAddr) -> io::Result<()> {
        loop {
            let (gateway, _) = listener.accept().await?;
            let mut up = self.up.subscribe();
            if !*up.borrow_and_update() {
                continue;
            }
            let tap = self.tap.clone();
            tokio::spawn(async move {
                tokio::select! {
                    // A connection ends when one of its ends closes it.
                    _ = relay(gateway, broker, &tap) => {}
                    _ = up.changed() => {}
                }
            });
        }
    }
}

async fn relay(gateway: TcpStream, broker: SocketAddr, tap: &Tap) -> io::Result<()> {
    let broker = TcpStream::connect(broker).await?;
    gateway.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (from_gateway, to_gateway) = gateway.into_split();
    let (from_broker, to_broker) = broker.into_split();
    tokio::select! {
        ended = pump(from_gateway, to_broker, |packet| tap.sent(packet)) => ended,
        ended = pump(from_broker, to_gateway, |packet| tap.received(packet)) => ended,
    }
}

/// Copies one direction, and shows its packets as soon as they are passed on.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    see: impl Fn(&Packet),
) -> io::Result<()> {
    let mut decoder = Decoder::new(Version::V5, REMAINING_LENGTH_MAX);
    let mut input = BytesMut::new();
    loop {
        input.reserve(READ_SIZE);
        if from.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let read = input.split().freeze();
        to.write_all(&read).await?;
        decoder.push(read);
        while let Some(packet) = decoder.next().map_err(io::Error::other)? {
            see(&packet);
        }
    }
}

impl Tap {
    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => {
                let now = Instant::now();
                let mut times = self.times();
                if let Some(correlation) = &publish.properties.correlation
                    && times.requests.len() < REQUESTS_MAX
                {
                    times.requests.entry(correlation.clone()).or_insert(now);
                }
                drop(times);
                let (topic, text) = (publish.topic.to_string(), text_of(publish));
                self.journal.add(WHO, Event::Received { topic, text });
            }
            Packet::Suback(_) => self.journal.add(WHO, Event::Subscribed),
            _ => {}
        }
    }

    fn sent(&self, packet: &Packet) {
        let publish = match packet {
            Packet::Publish(publish) => publish,
            Packet::Puback(_) => return self.journal.add(WHO, Event::DoneWith),
            _ => return,
        };
        let now = Instant::now();
        let mut times = self.times();
        let correlation = publish.properties.correlation.as_ref();
        let since = correlation.and_then(|it| times.requests.get(it).copied());
        if let Some(since) = since {
            times.answers.push(now.duration_since(since));
        }
        drop(times);
        let (topic, text) = (publish.topic.to_string(), text_of(publish));
        self.journal.add(WHO, Event::Sent { topic, text });
    }
}
