//! The binding: which connection a stream belongs to, and what reaches whom.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::streams::mqtt::{MqttBeginEx, MqttDelivery};
use tidegate_engine::streams::{AbortEx, BeginEx, Frame, ResetEx, Role};
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};

use super::connection::{Connection, DEADLINE_TIMER, Phase, Shared, Work, stream_token};
use super::counted::taken;
use super::failure::Failure;
use super::link::{self, Link};
use super::meters::Counts;
use super::options::Options;
use super::publications::Publication;
use super::publishing::shutting_down;
use super::quarantine::Quarantine;
use super::streams::{Kind, Session, Stream, Streams, Subscriber};
use super::strings::{check_client_id, check_topic};
use crate::codec::{ReasonCode, Version};

/// `mqtt · client`: mqtt streams in, one byte stream for each connection out.
///
/// See the [module](super) for what it promises.
#[derive(Debug)]
pub struct MqttClient {
    pub(super) shared: Shared,
    pub(super) streams: Streams,
    pub(super) connections: Slab<Connection>,
    /// The connections of each client: its own first, then those that filters need for themselves.
    pub(super) clients: BTreeMap<ByteString, Vec<usize>>,
    /// The client of streams that name none.
    own: ByteString,
}

impl MqttClient {
    /// A binding that speaks MQTT 5 through `exit`, which carries bytes.
    pub fn new(options: Options, exit: BindingId) -> Self {
        Self {
            shared: Shared {
                options,
                version: Version::V5,
                exit,
                counts: Counts::default(),
                link: Link::default(),
                quarantine: Quarantine::default(),
            },
            streams: Streams::default(),
            connections: Slab::new(),
            clients: BTreeMap::new(),
            own: ByteString::new(),
        }
    }

    /// Does something with a connection, then brings it to rest.
    pub(super) fn with(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        act: impl FnOnce(&mut Connection, &mut Work<'_, '_>),
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut w = Work {
            cx: &mut *cx,
            streams: &mut self.streams,
            shared: &mut self.shared,
        };
        act(connection, &mut w);
        self.settle(cx, key);
    }

    fn settle(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut w = Work {
            cx: &mut *cx,
            streams: &mut self.streams,
            shared: &mut self.shared,
        };
        let stays = connection.settle(&mut w);
        let moving = std::mem::take(&mut connection.moving);
        let closing = connection.phase == Phase::Closing;
        if !stays || closing {
            self.forget(key);
        }
        if !stays && let Some(mut gone) = self.connections.try_remove(key) {
            let mut w = Work {
                cx: &mut *cx,
                streams: &mut self.streams,
                shared: &mut self.shared,
            };
            gone.give_up_attempt(&mut w);
        }
        let again = !moving.is_empty();
        for stream in moving {
            self.move_on(cx, key, stream);
        }
        if again {
            // Without the streams that have moved, it may be due to be closed.
            self.settle(cx, key);
        }
    }

    /// Lets the connections that wait for their turn go ahead, as far as may be, or tells them why not.
    fn attend(&mut self, cx: &mut Context<'_>) {
        if self.shared.link.is_quiet() {
            return;
        }
        loop {
            if let Some((waiting, why)) = self.shared.link.take_news(cx.now()) {
                for key in waiting {
                    self.with(cx, key, |connection, w| connection.put_off(w, &why));
                }
            } else if let Some(key) = self.shared.link.next(cx.now()) {
                self.with(cx, key, Connection::go);
            } else {
                break;
            }
        }
        self.shared.link.keep_time(cx);
    }

    /// Which client a stream is of, and what it is for.
    fn read(&self, cx: &Context<'_>, begin: BeginEx) -> Result<(ByteString, Kind), Failure> {
        if cx.stopping() {
            return Err(shutting_down());
        }
        let BeginEx::Mqtt(begin) = begin else {
            let reason = "mqtt · client takes mqtt streams alone.";
            return Err(Failure::new(
                ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                reason,
            ));
        };
        let own = |client: Option<ByteString>| match client {
            Some(client) if !client.is_empty() => client,
            _ => self.own.clone(),
        };
        let (client, kind) = match begin {
            MqttBeginEx::Session(session) => (
                own(Some(session.client_id)),
                Kind::Session(Session { accepted: false }),
            ),
            MqttBeginEx::Publish(publish) => {
                check_topic(&publish.topic)?;
                let publication = Publication::new(&publish, self.window());
                (own(publish.client_id), Kind::Publish(publication))
            }
            MqttBeginEx::Subscribe(mut subscribe) => {
                let client = own(subscribe.client_id.take());
                let most = u16::try_from(self.shared.options.receive_maximum.get());
                let most = most
                    .ok()
                    .and_then(NonZeroU16::new)
                    .unwrap_or(NonZeroU16::MAX);
                (client, Kind::Subscribe(Subscriber::new(subscribe, most)?))
            }
        };
        check_client_id(&client)?;
        Ok((client, kind))
    }

    fn begin(&mut self, cx: &mut Context<'_>, id: StreamId, begin: BeginEx) -> Result<(), Failure> {
        let (client, kind) = self.read(cx, begin)?;
        let connection = self.connection_for(cx, &client, &kind)?;
        let limit = self.shared.options.max_streams.size();
        let there = self.connections.get(connection);
        if there.is_some_and(|it| it.streams.len() >= limit) {
            let reason = format!(
                "The connection to the broker has {limit} streams already, the limit (maxStreams)."
            );
            return Err(Failure::new(ReasonCode::QUOTA_EXCEEDED, reason));
        }
        let (now, until) = (cx.now(), cx.deadline());
        let key = self.streams.vacant_key();
        let token = stream_token(key);
        let deadline = until.map(|until| {
            let reason = "the deadline of an mqtt stream";
            cx.timer(until.since(now), token, DEADLINE_TIMER, reason)
        });
        self.streams.insert(Stream {
            id,
            connection,
            kind,
            opened: now,
            deadline,
        });
        cx.accept(id, token);
        self.with(cx, connection, |connection, w| connection.add(w, key));
        Ok(())
    }

    fn on_stream(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index() >> 1;
        let Some(stream) = self.streams.get_mut(key).filter(|it| it.id == at.stream) else {
            return;
        };
        let connection = stream.connection;
        match (frame, &mut stream.kind) {
            (Frame::Data(data), Kind::Publish(_)) => {
                self.with(cx, connection, |it, w| it.on_part(w, key, data));
            }
            (Frame::Data(data), _) => cx.acknowledge(at.stream, data.payload.len()),
            (Frame::Window(_), Kind::Subscribe(subscriber)) => {
                subscriber.flush(cx, at.stream);
                self.settle(cx, connection);
            }
            (Frame::Flush(_), Kind::Subscribe(_)) => {
                self.with(cx, connection, Connection::ask_no_more);
            }
            (Frame::End(_), Kind::Publish(_)) => {
                self.with(cx, connection, |it, w| it.on_publish_end(w, key));
            }
            (Frame::End(end), kind) => {
                match kind {
                    Kind::Subscribe(subscriber) => subscriber.close(cx, at.stream),
                    _ => cx.end(at.stream, Frame::end()),
                }
                let taken = taken(end);
                self.with(cx, connection, |it, w| it.leave_having_taken(w, key, taken));
            }
            (Frame::Abort(_) | Frame::Reset(_), _) => {
                self.with(cx, connection, |it, w| it.leave(w, key, None));
            }
            _ => {}
        }
    }

    fn on_deadline(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.deadline = None;
        let (id, connection) = (stream.id, stream.connection);
        cx.work_for(id);
        self.with(cx, connection, |it, w| it.expire(w, key));
    }

    fn on_connection(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index() >> 1;
        let there = self.connections.get(key);
        if there.is_none_or(|connection| connection.bytes != Some(at.stream)) {
            return;
        }
        self.with(cx, key, |connection, w| {
            on_bytes_frame(connection, w, at.stream, frame);
        });
    }
}

fn on_bytes_frame(
    connection: &mut Connection,
    w: &mut Work<'_, '_>,
    stream: StreamId,
    frame: Frame,
) {
    let told = match frame {
        Frame::Begin(begin) => {
            if let BeginEx::Bytes(begin) = begin.into_inner() {
                connection.learn(w.shared, begin.remote);
            }
            return;
        }
        Frame::Data(data) => {
            if connection.phase == Phase::Closing {
                return w.cx.acknowledge(stream, data.payload.len());
            }
            return connection.on_bytes(w, data);
        }
        Frame::Window(_) => return connection.on_window(w, stream),
        Frame::Reset(Some(reset)) => match *reset {
            ResetEx::Bytes(reset) => Some(reset),
            ResetEx::Mcp(_) | ResetEx::Mqtt(_) => None,
        },
        Frame::Abort(Some(abort)) => match *abort {
            AbortEx::Bytes(reset) => Some(reset),
            AbortEx::Mcp(_) | AbortEx::Mqtt(_) => None,
        },
        Frame::End(_) | Frame::Reset(None) | Frame::Abort(None) => None,
        Frame::Flush(_) | Frame::Challenge(_) => return,
    };
    connection.gone(w, told.unwrap_or_default());
}

impl Binding for MqttClient {
    fn exchanges(&self) -> usize {
        self.streams.len() + self.connections.len()
    }

    fn report(&self, meter: &mut dyn Meter) {
        self.measure(meter);
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        let name = match &self.shared.options.client_id {
            Some(name) => name.text().to_string(),
            None => random_name(cx),
        };
        self.own = match cx.worker() {
            0 => name.into(),
            worker => format!("{name}-{worker}").into(),
        };
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        if self.own.is_empty() {
            self.on_start(cx);
        }
        if let Err(failure) = self.begin(cx, stream, begin) {
            cx.terminate(stream, Some(failure.reset(MqttDelivery::None)), None);
        }
        self.attend(cx);
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match at.role {
            Role::Callee => self.on_stream(cx, at, frame),
            Role::Caller => self.on_connection(cx, at, frame),
        }
        self.attend(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        if token == link::TOKEN {
            self.shared.link.timer_is_over();
        } else if kind == DEADLINE_TIMER {
            self.on_deadline(cx, token.index() >> 1);
        } else {
            self.with(cx, token.index() >> 1, |connection, w| {
                connection.on_timer(w, kind);
            });
        }
        self.attend(cx);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        if token == link::TOKEN {
            self.shared.link.timer_is_over();
            return self.attend(cx);
        }
        let index = token.index() >> 1;
        let key = match token.index() & 1 {
            0 => Some(index),
            _ => self.streams.get(index).map(|stream| stream.connection),
        };
        let Some(key) = key else { return };
        self.forget(key);
        if let Some(mut connection) = self.connections.try_remove(key) {
            let mut w = Work {
                cx: &mut *cx,
                streams: &mut self.streams,
                shared: &mut self.shared,
            };
            connection.abandon(&mut w);
        }
        self.attend(cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.with(cx, key, Connection::shut_down);
        }
        self.attend(cx);
    }
}

/// `tidegate-` and eight letters or digits.
fn random_name(cx: &mut Context<'_>) -> String {
    let mut name = String::from("tidegate-");
    cx.random_letters(&mut name, 8);
    name
}
