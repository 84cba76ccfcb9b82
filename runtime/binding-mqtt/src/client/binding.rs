//! The binding: assigns streams to connections and routes frames.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::streams::mqtt::{MqttAcknowledge, MqttBeginEx, MqttDelivery, MqttFlushEx};
use tidegate_engine::streams::{AbortEx, BeginEx, FlushEx, Frame, ResetEx, Role};
use tidegate_engine::{At, Binding, BindingId, Context, Meter, StreamId, Token};
use tidegate_options::RouteRule;

use super::accounts::Owner;
use super::client_ids::ClientIds;
use super::connection::{Connection, DEADLINE_TIMER, Env, Phase, Shared, stream_token};
use super::counted::taken;
use super::credentials::ReadPassword;
use super::failure::Failure;
use super::link::{self, Link};
use super::meters::Counts;
use super::options::Options;
use super::permission::{Condition, Permission};
use super::publications::Publication;
use super::publishing::shutting_down;
use super::quarantine::Quarantine;
use super::streams::{Kind, Session, Stream, Streams, Subscriber};
use super::strings::{check_client_id, check_topic};
use super::version::Negotiation;
use crate::codec::ReasonCode;

/// The binding `mqtt · client`: accepts mqtt streams and opens one byte stream per connection.
///
/// See the [module](super) for its guarantees.
#[derive(Debug)]
pub struct MqttClient {
    pub(super) shared: Shared,
    pub(super) streams: Streams,
    pub(super) connections: Slab<Connection>,
    /// The connections of each client or caller: the shared one first, then those opened for single
    /// filters.
    pub(super) clients: BTreeMap<ByteString, Vec<usize>>,
    /// The client identifiers of all connections.
    pub(super) names: ClientIds,
    /// What the routes permit; `None`: everything.
    permission: Option<Permission>,
    /// The shutdown began while there was a subscription whose caller acknowledges its messages.
    pub(super) answers: bool,
}

impl MqttClient {
    /// Creates a binding that sends MQTT to `exit`, which carries bytes.
    pub fn new(options: Options, exit: BindingId) -> Self {
        Self {
            shared: Shared {
                negotiation: Negotiation::new(options.version, options.authenticates()),
                files: None,
                own: ByteString::new(),
                options,
                exit,
                counts: Counts::default(),
                link: Link::default(),
                quarantine: Quarantine::default(),
                pending: 0,
            },
            streams: Streams::default(),
            connections: Slab::new(),
            clients: BTreeMap::new(),
            names: ClientIds::default(),
            permission: None,
            answers: false,
        }
    }

    /// Reads the files of passwords with `files`.
    #[must_use]
    pub fn with_password_files(mut self, files: Box<dyn ReadPassword>) -> Self {
        self.shared.files = Some(files);
        self
    }

    /// Permits only what these routes do; without routes, everything.
    #[must_use]
    pub fn with_routes(mut self, routes: &[RouteRule<Condition>]) -> Self {
        self.permission = Permission::new(routes);
        self
    }

    /// Calls `act` with a connection, then settles the connection.
    pub(super) fn with(
        &mut self,
        cx: &mut Context<'_>,
        key: usize,
        act: impl FnOnce(&mut Connection, &mut Env<'_, '_>),
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut env = Env {
            cx: &mut *cx,
            streams: &mut self.streams,
            shared: &mut self.shared,
        };
        act(connection, &mut env);
        self.settle(cx, key);
    }

    fn settle(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut env = Env {
            cx: &mut *cx,
            streams: &mut self.streams,
            shared: &mut self.shared,
        };
        let stays = connection.settle(&mut env);
        let moving = std::mem::take(&mut connection.moving);
        let closing = connection.phase == Phase::Closing;
        if !stays || closing {
            self.unregister(key);
        }
        if !stays && let Some(mut removed) = self.remove_connection(key) {
            let mut env = Env {
                cx: &mut *cx,
                streams: &mut self.streams,
                shared: &mut self.shared,
            };
            removed.cancel_attempt(&mut env);
        }
        let again = !moving.is_empty();
        for stream in moving {
            self.move_stream(cx, key, stream);
        }
        if again {
            // Without the streams that were moved away, it may be due to be closed.
            self.settle(cx, key);
        }
    }

    /// Starts the attempts of queued connections as far as allowed, or reports a failure to them.
    fn run_queue(&mut self, cx: &mut Context<'_>) {
        if self.shared.link.is_quiet() {
            return;
        }
        loop {
            if let Some((waiting, why)) = self.shared.link.take_failure(cx.now()) {
                for key in waiting {
                    self.with(cx, key, |connection, env| {
                        connection.attempt_failed(env, &why);
                    });
                }
            } else if let Some(key) = self.shared.link.next(cx.now()) {
                self.with(cx, key, Connection::on_turn);
            } else {
                break;
            }
        }
        self.shared.link.update_timer(cx);
    }

    /// Whose connections a stream uses, its kind, and the client identifier of a connection of its own.
    fn read(
        &self,
        cx: &mut Context<'_>,
        begin: BeginEx,
    ) -> Result<(Owner, Kind, Option<ByteString>), Failure> {
        let publishes = matches!(begin, BeginEx::Mqtt(MqttBeginEx::Publish(_)));
        if cx.stopping() && !publishes {
            return Err(shutting_down());
        }
        let BeginEx::Mqtt(begin) = begin else {
            let reason = "mqtt · client accepts only mqtt streams.";
            return Err(Failure::new(
                ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
                reason,
            ));
        };
        let (client, kind) = match begin {
            MqttBeginEx::Session(session) => (
                Some(session.client_id),
                Kind::Session(Session { accepted: false }),
            ),
            MqttBeginEx::Publish(publish) => {
                check_topic(&publish.topic).map_err(Failure::of_message)?;
                let limits = &self.shared.options.limits;
                limits
                    .check_topic(&publish.topic)
                    .map_err(Failure::of_message)?;
                if let Some(permission) = &self.permission {
                    let permitted = permission.check_publish(cx, &publish);
                    permitted.map_err(Failure::of_message)?;
                }
                let publication = Publication::new(&publish, self.window());
                (publish.client_id, Kind::Publish(publication))
            }
            MqttBeginEx::Subscribe(mut subscribe) => {
                if let Some(permission) = &self.permission {
                    permission.check_subscribe(cx, &subscribe)?;
                }
                let client = subscribe.client_id.take();
                let most = u16::try_from(self.shared.options.receive_maximum.get());
                let most = most
                    .ok()
                    .and_then(NonZeroU16::new)
                    .unwrap_or(NonZeroU16::MAX);
                let mut subscriber = Subscriber::new(subscribe, most)?;
                subscriber.restrict(&self.shared.options.limits)?;
                (client, Kind::Subscribe(Box::new(subscriber)))
            }
        };
        let (options, own) = (&self.shared.options, &self.shared.own);
        let own_connection = match &kind {
            Kind::Subscribe(subscriber) if subscriber.terms().is_some() => {
                client.clone().filter(|it| !it.is_empty())
            }
            _ => None,
        };
        let owner = options.owner(cx, client, own)?;
        if let Owner::Client(client) = &owner {
            check_client_id(client)?;
            options.limits.check_client_id(client)?;
        }
        Ok((owner, kind, own_connection))
    }

    fn begin(&mut self, cx: &mut Context<'_>, id: StreamId, begin: BeginEx) -> Result<(), Failure> {
        let (owner, kind, client_id) = self.read(cx, begin)?;
        let connection = self.connection_for(cx, &owner, &kind, client_id)?;
        let limit = self.shared.options.max_streams.size();
        let there = self.connections.get(connection);
        if there.is_some_and(|it| it.streams.len() >= limit) {
            let reason = format!(
                "Stream limit reached: the connection to the broker has {limit} streams (maxStreams)."
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
        self.with(cx, connection, |connection, env| {
            connection.add(env, key);
            if env.cx.stopping() {
                env.cap_deadline(key);
            }
        });
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
                self.with(cx, connection, |it, env| it.on_part(env, key, data));
            }
            (Frame::Data(data), _) => cx.acknowledge(at.stream, data.payload.len()),
            (Frame::Window(_), Kind::Subscribe(subscriber)) => {
                subscriber.flush(cx, at.stream);
                self.settle(cx, connection);
            }
            (Frame::Flush(flush), Kind::Subscribe(_)) => match *flush {
                FlushEx::Mqtt(MqttFlushEx::Acknowledge(MqttAcknowledge { number })) => {
                    self.with(cx, connection, |it, env| it.acknowledge(env, number));
                }
                _ => self.with(cx, connection, Connection::request_unsubscribe),
            },
            (Frame::End(_), Kind::Publish(_)) => {
                self.with(cx, connection, |it, env| it.on_publish_end(env, key));
            }
            (Frame::End(end), kind) => {
                match kind {
                    Kind::Subscribe(subscriber) => subscriber.close(cx, at.stream),
                    _ => cx.end(at.stream, Frame::end()),
                }
                let taken = taken(end);
                self.with(cx, connection, |it, env| {
                    it.end_subscription(env, key, taken);
                });
            }
            (Frame::Abort(_) | Frame::Reset(_), _) => {
                self.with(cx, connection, |it, env| it.remove_stream(env, key, None));
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
        self.with(cx, connection, |it, env| it.expire(env, key));
    }

    fn on_connection(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let key = at.token.index() >> 1;
        let there = self.connections.get(key);
        if there.is_none_or(|connection| connection.bytes != Some(at.stream)) {
            return;
        }
        self.with(cx, key, |connection, env| {
            on_bytes_frame(connection, env, at.stream, frame);
        });
    }
}

fn on_bytes_frame(
    connection: &mut Connection,
    env: &mut Env<'_, '_>,
    stream: StreamId,
    frame: Frame,
) {
    let reason = match frame {
        Frame::Begin(begin) => {
            if let BeginEx::Bytes(begin) = begin.into_inner() {
                connection.is_chosen = false;
                connection.is_secure = false;
                connection.set_remote(env.shared, begin.remote);
            }
            return;
        }
        Frame::Data(data) => {
            if connection.phase == Phase::Closing {
                return env.cx.acknowledge(stream, data.payload.len());
            }
            return connection.on_bytes(env, data);
        }
        Frame::Window(_) => return connection.on_window(env, stream),
        Frame::Reset(Some(reset)) => match *reset {
            ResetEx::Bytes(reset) => Some(reset),
            _ => None,
        },
        Frame::Abort(Some(abort)) => match *abort {
            AbortEx::Bytes(reset) => Some(reset),
            _ => None,
        },
        Frame::End(_) | Frame::Reset(None) | Frame::Abort(None) => None,
        Frame::Flush(flush) => {
            if let FlushEx::Bytes(connected) = *flush {
                connection.is_secure = connected.secure;
                connection.set_chosen(env.shared, connected.remote);
            }
            return;
        }
        Frame::Challenge(_) => return,
    };
    connection.bytes_closed(env, reason.unwrap_or_default());
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
        self.shared.own = match cx.worker() {
            0 => name.into(),
            // No subject of an account yields this character (see `accounts`).
            worker => format!("{name}:{worker}").into(),
        };
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        if self.shared.own.is_empty() {
            self.on_start(cx);
        }
        if let Err(failure) = self.begin(cx, stream, begin) {
            cx.terminate(stream, Some(failure.reset(MqttDelivery::None)), None);
        }
        self.run_queue(cx);
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match at.role {
            Role::Callee => self.on_stream(cx, at, frame),
            Role::Caller => self.on_connection(cx, at, frame),
        }
        self.run_queue(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        if token == link::TOKEN {
            self.shared.link.timer_fired();
        } else if kind == DEADLINE_TIMER {
            self.on_deadline(cx, token.index() >> 1);
        } else {
            self.with(cx, token.index() >> 1, |connection, env| {
                connection.on_timer(env, kind);
            });
        }
        self.run_queue(cx);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        if token == link::TOKEN {
            self.shared.link.timer_fired();
            return self.run_queue(cx);
        }
        let index = token.index() >> 1;
        let key = match token.index() & 1 {
            0 => Some(index),
            _ => self.streams.get(index).map(|stream| stream.connection),
        };
        let Some(key) = key else { return };
        self.unregister(key);
        if let Some(mut connection) = self.remove_connection(key) {
            let mut env = Env {
                cx: &mut *cx,
                streams: &mut self.streams,
                shared: &mut self.shared,
            };
            connection.reset_streams(&mut env);
        }
        self.run_queue(cx);
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        self.answers = self.connections.iter().any(|(_, it)| it.is_held());
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.with(cx, key, Connection::shut_down);
        }
        self.run_queue(cx);
    }
}

/// `tidegate-` and eight random letters or digits.
fn random_name(cx: &mut Context<'_>) -> String {
    let mut name = String::from("tidegate-");
    cx.random_letters(&mut name, 8);
    name
}
