//! Updates: one publisher, and listeners that get an update for every message.
//!
//! An update names a resource, not a message. Messages are published to a ring of topics, and an update is
//! matched with the oldest message of its topic that has no update yet at this listener; in a closed loop
//! only one message is pending. Updates that a server coalesces are missing at the end and count as
//! failures.
//!
//! Latency is measured from the publication to the update at one listener, which uses HTTP
//! (`subscriptions/listen`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::LoadError;
use crate::caller::CALL_TIMEOUT;
use crate::drive::Schedule;
use crate::measure::{Tally, figure};
use crate::message::{Message, Ready, shown};
use crate::mqtt::Mqtt;
use crate::pace::Pace;
use crate::socket::BrokerAddress;
use crate::target::UPDATES;
use crate::targets::{MODERN, Url};
use crate::wire::{Connection, Head, WireError};

/// Wait for missing updates at the end of a scheduled round.
const LATE: Duration = Duration::from_secs(2);
/// Number of topics for scheduled messages, of which several may be pending.
pub(crate) const RING: u64 = 16;
/// Longest accepted line of an event.
const LINE_MAX: usize = 1 << 20;

/// A publisher and its listeners.
pub(crate) struct Fanout {
    publisher: Mqtt,
    payload: Bytes,
    board: Arc<Board>,
    next: u64,
    ring: u64,
    listeners: usize,
    /// Dropping this stops the listeners.
    tasks: JoinSet<()>,
}

/// Published messages and missing updates.
#[derive(Debug, Default)]
struct Board {
    state: Mutex<State>,
    /// Signals that a message has reached every listener, or that a listener failed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    under_way: BTreeMap<u64, Published>,
    tally: Tally,
    failure: Option<String>,
}

#[derive(Debug)]
struct Published {
    at: Instant,
    topic: u64,
    missing: BTreeSet<usize>,
}

impl Board {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records an update of a topic at a listener; ignored if no message is pending there.
    fn updated(&self, listener: usize, topic: u64) {
        let now = Instant::now();
        let whole = self.with(|state| {
            let new = state
                .under_way
                .iter_mut()
                .find(|(_, message)| message.topic == topic && message.missing.contains(&listener));
            let Some((&number, message)) = new else {
                return false;
            };
            message.missing.remove(&listener);
            state.tally.record(now - message.at, Ok(()));
            let whole = message.missing.is_empty();
            if whole {
                state.under_way.remove(&number);
            }
            whole
        });
        if whole {
            self.changed.notify_one();
        }
    }

    fn failure(&self, why: String) {
        self.with(|state| state.failure.get_or_insert(why).len());
        self.changed.notify_one();
    }

    /// Waits until every listener has all updates.
    async fn settled(&self) {
        while !self.with(|state| state.under_way.is_empty() || state.failure.is_some()) {
            self.changed.notified().await;
        }
    }

    /// The figures of the round; missing updates count as failures.
    fn taken(&self, start: Instant, duration: Duration) -> Tally {
        self.with(|state| {
            let mut tally = std::mem::take(&mut state.tally);
            for message in std::mem::take(&mut state.under_way).into_values() {
                for _ in message.missing {
                    let why = state.failure.as_deref().unwrap_or("missing update");
                    tally.record(Duration::ZERO, Err(why.to_owned()));
                }
            }
            let elapsed = start.elapsed().max(duration).as_secs_f64();
            tally.rate = figure(tally.calls()) / elapsed;
            tally
        })
    }
}

impl Fanout {
    /// Starts listeners at an endpoint; returns once all subscriptions are acknowledged.
    pub(crate) async fn start(
        name: &str,
        url: &Url,
        listeners: usize,
        broker: &BrokerAddress,
        payload: &str,
        rate: Option<f64>,
    ) -> Result<Self, LoadError> {
        let mut fanout = Self::new(name, listeners, broker, payload).await?;
        fanout.ring = if rate.is_some() { RING } else { 1 };
        let uris = (0..fanout.ring).map(|topic| format!("mqtt://{UPDATES}{topic}"));
        let uris: Vec<String> = uris.collect();
        let params = json!({ "notifications": { "resourceSubscriptions": uris } });
        let message = Message::request(MODERN, "subscriptions/listen", params);
        let ready = message.post(url, &BTreeMap::new(), None);
        let failed = |why: String| LoadError::Target {
            name: format!("{name}, listener"),
            why,
        };
        for listener in 0..listeners {
            let connected = Connection::connect(&url.authority).await;
            let mut connection = connected.map_err(|error| failed(error.to_string()))?;
            let stands = listen(&mut connection, &ready, uris.len());
            let head = match timeout(CALL_TIMEOUT, stands).await {
                Ok(head) => head.map_err(failed)?,
                Err(_) => return Err(failed("subscription not acknowledged in time".to_owned())),
            };
            let board = Arc::clone(&fanout.board);
            fanout.tasks.spawn(async move {
                let why = events(connection, head, listener, &board).await;
                board.failure(why);
            });
        }
        Ok(fanout)
    }

    async fn new(
        name: &str,
        listeners: usize,
        broker: &BrokerAddress,
        payload: &str,
    ) -> Result<Self, LoadError> {
        let client_id = format!("tidegate-bench-{}-{name}", std::process::id());
        Ok(Self {
            publisher: connected(broker, &client_id).await?,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            board: Arc::default(),
            next: 0,
            ring: RING,
            listeners,
            tasks: JoinSet::new(),
        })
    }

    /// Closed loop: each message is published after all listeners have the update of the last one.
    pub(crate) async fn closed(&mut self, duration: Duration) -> Tally {
        let start = Instant::now();
        while start.elapsed() < duration {
            self.publish(Instant::now()).await;
            // After the timeout of a call, missing updates are failures.
            let _ = timeout(CALL_TIMEOUT, self.board.settled()).await;
            if self.board.with(|state| state.failure.is_some()) {
                break;
            }
        }
        self.board.taken(start, duration)
    }

    /// Open loop: messages on a schedule.
    pub(crate) async fn scheduled(
        &mut self,
        rate: f64,
        duration: Duration,
        pace: &mut impl Pace,
    ) -> Tally {
        let start = Instant::now();
        let schedule = Schedule::new(start, rate, duration);
        for message in 0..schedule.total() {
            let intended = schedule.intended(message);
            pace.until(intended).await;
            self.publish(intended).await;
        }
        let _ = timeout(LATE, self.board.settled()).await;
        self.board.taken(start, duration)
    }

    async fn publish(&mut self, at: Instant) {
        self.next += 1;
        let message = Published {
            at,
            topic: self.next % self.ring,
            missing: (0..self.listeners).collect(),
        };
        let topic = format!("{UPDATES}{}", message.topic);
        self.board
            .with(|state| state.under_way.insert(self.next, message));
        if let Err(error) = self.publisher.publish(&topic, self.payload.clone()).await {
            self.board.failure(error.to_string());
        }
    }
}

async fn connected(broker: &BrokerAddress, client_id: &str) -> Result<Mqtt, LoadError> {
    let connected = Mqtt::connect(broker, client_id).await;
    connected.map_err(|error| LoadError::Broker(broker.to_string(), error.to_string()))
}

/// Subscribes, and waits for the acknowledgement with all resources.
async fn listen(connection: &mut Connection, ready: &Ready, uris: usize) -> Result<Head, String> {
    let describe = |error: WireError| error.to_string();
    let sent = connection.send(&ready.front, &ready.tail).await;
    sent.map_err(describe)?;
    let mut head = connection.head().await.map_err(describe)?;
    while memmem::find_iter(&connection.body, UPDATES).count() < uris {
        let whole = connection.some(&mut head).await.map_err(describe)?;
        if whole || head.status != 200 {
            let body = shown(&connection.body);
            return Err(format!("HTTP status {}: {body}", head.status));
        }
    }
    connection.body.clear();
    Ok(head)
}

/// Reads events until the stream ends; returns the reason.
async fn events(
    mut connection: Connection,
    mut head: Head,
    listener: usize,
    board: &Board,
) -> String {
    loop {
        match connection.some(&mut head).await {
            Ok(true) => return "the server ended a subscription".to_owned(),
            Ok(false) => {}
            Err(error) => return error.to_string(),
        }
        let whole = memchr::memrchr(b'\n', &connection.body).map_or(0, |end| end + 1);
        let lines = connection.body.get(..whole).unwrap_or_default();
        for line in lines.split(|byte| *byte == b'\n') {
            if let Some(topic) = topic_in(line) {
                board.updated(listener, topic);
            }
        }
        connection.body.drain(..whole);
        if connection.body.len() > LINE_MAX {
            return "the server sent a line that is too long".to_owned();
        }
    }
}

/// The topic number of an update.
fn topic_in(text: &[u8]) -> Option<u64> {
    let at = memmem::find(text, UPDATES.as_bytes())? + UPDATES.len();
    let behind = text.get(at..)?;
    let count = behind
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(behind.get(..count)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_of_an_update_is_found() {
        let line = format!(r#"data: {{"params":{{"uri":"mqtt://{UPDATES}17"}}}}"#);
        assert_eq!(topic_in(line.as_bytes()), Some(17));
        assert_eq!(topic_in(format!("{UPDATES}+").as_bytes()), None);
        assert_eq!(topic_in(b": keep-alive"), None);
    }

    #[tokio::test]
    async fn each_listener_counts_once_and_missing_updates_are_failures() {
        let board = Board::default();
        let start = Instant::now();
        for (number, topic) in [(1, 7), (2, 7), (3, 8)] {
            let message = Published {
                at: start,
                topic,
                missing: (0..2).collect(),
            };
            board.with(|state| state.under_way.insert(number, message));
        }
        // The first listener gets two updates of topic 7 and one extra of topic 8, the second one of each.
        for (listener, topic) in [(0, 7), (0, 7), (0, 8), (0, 8), (0, 9), (1, 7), (1, 8)] {
            board.updated(listener, topic);
        }
        let tally = board.taken(start, Duration::ZERO);
        assert_eq!((tally.calls(), tally.errors), (5, 1));
        board.settled().await;
    }
}
