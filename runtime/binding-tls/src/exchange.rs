//! One connection: the stream of the caller, the stream to the exit, and TLS between them.

use std::sync::Arc;

use bytestring::ByteString;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind};
use tidegate_engine::{Context, Duration, PendingData, StreamId, Time, TimerId, Token};
use tidegate_streams::bytes_stream::{BytesConnected, BytesReset};
use tidegate_streams::{AbortEx, BeginEx, Data, DataFlags, FlushEx, Frame, ResetEx, shown};
use tidegate_tls::Current;

use crate::clock::Clock;
use crate::events::{HandshakeCompleted, HandshakeFailed};
use crate::explain::{Facts, MAY_LACK_CERTIFICATE, explain, is_about_certificate};
use crate::files::Presentation;
use crate::meters::Counts;
use crate::options::Options;
use crate::records::{Plaintext, RECORD, ciphertext, decrypt};

/// Time for the peer to close the connection after both sides sent `close_notify`.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1_000);
/// What the caller sends within this time after a record was encrypted waits for what other callers send before
/// the event loop has come around. It is shorter than the answer of a broker takes, so that a single caller,
/// who waits for answers, does not pay for the timer.
const CLOSELY: Duration = Duration::from_micros(50);

/// What an exchange acts with.
pub(crate) struct Env<'a, 'c> {
    pub(crate) cx: &'a mut Context<'c>,
    pub(crate) options: &'a Options,
    pub(crate) files: &'a Current<Options>,
    pub(crate) counts: &'a mut Counts,
}

/// What the caller asks for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Name of the certificate to present; empty: that of the options.
    pub(crate) certificate: ByteString,
    /// The connection does not go to the configured endpoints.
    pub(crate) is_redirected: bool,
}

/// TLS on an open connection.
struct Tls {
    connection: Box<ClientConnection>,
    presentation: Arc<Presentation>,
    clock: Arc<Clock>,
    /// The name that the certificate must be for.
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The exit connects.
    Connecting,
    Handshake,
    /// The handshake is complete. A broker that refuses the client certificate says so only now.
    Established,
    /// The broker sent data.
    Proven,
}

/// An exchange, from the BEGIN of its caller until both streams are over.
pub(crate) struct Exchange {
    token: Token,
    caller: StreamId,
    exit: StreamId,
    phase: Phase,
    /// The peer, as the exit names it.
    remote: ByteString,
    host: ByteString,
    asked: Asked,
    tls: Option<Tls>,
    plaintext: Plaintext,
    /// The caller ended its half.
    caller_ended: bool,
    /// `close_notify` is sent.
    close_notified: bool,
    to_exit: PendingData,
    to_caller: PendingData,
    /// Ciphertext whose plaintext is not delivered yet, in bytes.
    unacknowledged: usize,
    /// The peer sent `close_notify`.
    peer_closed: bool,
    /// Limits the handshake.
    deadline: Option<TimerId>,
    /// Until it fires, plaintext is gathered.
    gathering: Option<TimerId>,
    /// When plaintext was last encrypted.
    encrypted: Option<Time>,
}

/// The kinds of timers.
const DEADLINE: u32 = 0;
const GATHERING: u32 = 1;

impl Exchange {
    pub(crate) fn new(token: Token, caller: StreamId, exit: StreamId, asked: Asked) -> Self {
        Self {
            token,
            caller,
            exit,
            phase: Phase::Connecting,
            remote: ByteString::new(),
            host: ByteString::new(),
            asked,
            tls: None,
            plaintext: Plaintext::default(),
            caller_ended: false,
            close_notified: false,
            to_exit: PendingData::new(),
            to_caller: PendingData::new(),
            unacknowledged: 0,
            peer_closed: false,
            deadline: None,
            gathering: None,
            encrypted: None,
        }
    }

    pub(crate) const fn caller(&self) -> StreamId {
        self.caller
    }

    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        cx.is_over(self.caller) && cx.is_over(self.exit)
    }

    pub(crate) fn clear_timers(&mut self, cx: &mut Context<'_>) {
        for timer in [&mut self.deadline, &mut self.gathering] {
            if let Some(timer) = timer.take() {
                cx.cancel(timer);
            }
        }
    }

    /// Nothing is left to tell the caller: the peer has [`CLOSE_TIMEOUT`] to close the connection.
    pub(crate) fn limit_closing(&mut self, cx: &mut Context<'_>) {
        if self.deadline.is_none() && cx.is_over(self.caller) {
            let reason = "the end of a closed connection";
            self.deadline = Some(cx.timer(CLOSE_TIMEOUT, self.token, DEADLINE, reason));
        }
    }

    /// Ends both streams at once.
    pub(crate) fn end_streams(&self, cx: &mut Context<'_>) {
        cx.terminate(self.caller, None, None);
        cx.terminate(self.exit, None, None);
    }

    pub(crate) fn on_caller_frame(&mut self, env: &mut Env<'_, '_>, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                self.plaintext.push(data.payload);
                self.gather(env);
            }
            Frame::End(_) => {
                self.caller_ended = true;
                self.pump(env);
            }
            Frame::Window(_) => self.deliver(env.cx),
            Frame::Abort(_) | Frame::Reset(_) => self.close(env.cx),
            Frame::Begin(_) | Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    pub(crate) fn on_exit_frame(&mut self, env: &mut Env<'_, '_>, frame: Frame) {
        match frame {
            Frame::Begin(begin) => {
                if let BeginEx::Bytes(begin) = begin.into_inner() {
                    self.remote = begin.remote.clone();
                    env.cx.send(self.caller, Frame::begin(begin));
                }
            }
            Frame::Flush(flush) => {
                if let FlushEx::Bytes(connected) = *flush
                    && self.phase == Phase::Connecting
                {
                    self.start(env, connected);
                }
            }
            Frame::Data(data) => self.receive(env, &data.payload),
            Frame::End(_) => self.exit_ended(env),
            Frame::Window(_) => self.pump(env),
            Frame::Reset(reset) => {
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Bytes(reset) => Some(reset),
                    _ => None,
                });
                self.exit_failed(env, reset.unwrap_or_default());
            }
            Frame::Abort(abort) => {
                let reset = abort.and_then(|abort| match *abort {
                    AbortEx::Bytes(reset) => Some(reset),
                    _ => None,
                });
                self.exit_failed(env, reset.unwrap_or_default());
            }
            Frame::Challenge(_) => {}
        }
    }

    /// Encrypts what is there at once, unless something was just encrypted. Then it waits for what other
    /// callers send before the event loop has come around, with which it shares a record. So a single packet
    /// is not delayed, and the packets of many callers do not cost a record each.
    fn gather(&mut self, env: &mut Env<'_, '_>) {
        if self.plaintext.len() < RECORD {
            let now = env.cx.now();
            let closely = self.encrypted.is_some_and(|it| now.since(it) < CLOSELY);
            if self.gathering.is_none() && closely {
                let (cx, token) = (&mut *env.cx, self.token);
                self.gathering = Some(cx.timer(Duration::ZERO, token, GATHERING, "a TLS record"));
            }
            if self.gathering.is_some() {
                return;
            }
        }
        self.encrypt(env);
    }

    fn encrypt(&mut self, env: &mut Env<'_, '_>) {
        self.pump(env);
        if self.phase >= Phase::Established {
            self.encrypted = Some(env.cx.now());
        }
    }

    /// The handshake, or the end of a closed connection, took too long; or a record is due.
    pub(crate) fn on_timer(&mut self, env: &mut Env<'_, '_>, kind: u32) {
        if kind == GATHERING {
            self.gathering = None;
            return self.encrypt(env);
        }
        self.deadline = None;
        if env.cx.is_over(self.caller) {
            return env.cx.terminate(self.exit, None, None);
        }
        let within = env.options.handshake_timeout.get();
        let why = format!(
            "no answer within {within} ms (handshakeTimeout); check that the port expects TLS"
        );
        self.fail(env, &why);
    }

    /// The connection is open: begins the handshake.
    fn start(&mut self, env: &mut Env<'_, '_>, connected: BytesConnected) {
        self.remote = connected.remote;
        self.host = connected.host;
        let name = match &env.options.sni {
            Some(name) if !self.asked.is_redirected => name.clone(),
            _ => self.host.trim_end_matches('.').to_owned(),
        };
        self.phase = Phase::Handshake;
        if name.is_empty() {
            let why = "a Unix socket has no host name to verify the certificate for; set 'sni' of tls · client";
            return self.fail(env, why);
        }
        let Ok(server_name) = ServerName::try_from(name.clone()) else {
            let why = format!(
                "'{name}' is no name that a certificate can be for; set 'sni' of tls · client"
            );
            return self.fail(env, &why);
        };
        let prepared = env.files.get();
        let Some(presentation) = prepared.presentation(&self.asked.certificate).cloned() else {
            let why = format!(
                "there is no client certificate '{}'; add it to 'certificates' of tls · client",
                shown(&self.asked.certificate)
            );
            return self.fail_with(env, &why, Blame::Certificate);
        };
        prepared.clock.set(env.cx.wall_clock());
        match ClientConnection::new(Arc::clone(&presentation.config), server_name) {
            Ok(connection) => {
                self.tls = Some(Tls {
                    connection: Box::new(connection),
                    presentation,
                    clock: Arc::clone(&prepared.clock),
                    name,
                });
                let within = Duration::from_millis(env.options.handshake_timeout.get());
                let timer = env
                    .cx
                    .timer(within, self.token, DEADLINE, "the TLS handshake");
                self.deadline = Some(timer);
                self.pump(env);
            }
            Err(error) => self.fail(env, &error.to_string()),
        }
    }

    /// Encrypts and sends as much as the credit of the exit allows. What waits behind that is at most a
    /// record and messages of TLS itself.
    fn pump(&mut self, env: &mut Env<'_, '_>) {
        let Some(tls) = &mut self.tls else {
            return;
        };
        loop {
            let ready = ciphertext(&mut tls.connection);
            if !ready.is_empty() {
                let data = Data::part(DataFlags::WHOLE, ready);
                self.to_exit.send(env.cx, self.exit, data);
            }
            if !self.to_exit.flush(env.cx, self.exit) || self.phase < Phase::Established {
                return;
            }
            if self.plaintext.len() == 0 {
                break;
            }
            match self.plaintext.encrypt(&mut tls.connection) {
                Ok(encrypted) if encrypted > 0 => env.cx.acknowledge(self.caller, encrypted),
                _ => return,
            }
        }
        if self.caller_ended && !self.close_notified {
            self.close_notified = true;
            tls.connection.send_close_notify();
            return self.pump(env);
        }
        if self.close_notified {
            env.cx.end(self.exit, Frame::end());
        }
    }

    /// Ciphertext arrived.
    fn receive(&mut self, env: &mut Env<'_, '_>, payload: &[u8]) {
        let Some(tls) = &mut self.tls else {
            return env.cx.acknowledge(self.exit, payload.len());
        };
        self.unacknowledged += payload.len();
        tls.clock.set(env.cx.wall_clock());
        let decrypted = decrypt(&mut tls.connection, payload);
        if self.phase == Phase::Handshake && !tls.connection.is_handshaking() {
            self.established(env);
        }
        if !decrypted.plaintext.is_empty() {
            self.phase = self.phase.max(Phase::Proven);
            self.to_caller
                .push(Data::part(DataFlags::WHOLE, decrypted.plaintext));
        }
        self.peer_closed |= decrypted.closed;
        self.pump(env);
        self.deliver(env.cx);
        if let Some(error) = decrypted.error {
            let why = self.explain(env.options, &error);
            let is_named = !self.asked.certificate.is_empty();
            let blame = if is_named && is_about_certificate(&error) {
                Blame::Certificate
            } else {
                Blame::Connection
            };
            self.fail_with(env, &why, blame);
        }
    }

    /// Delivers plaintext within the credit of the caller, and acknowledges its ciphertext once all of
    /// it is delivered.
    fn deliver(&mut self, cx: &mut Context<'_>) {
        if !self.to_caller.flush(cx, self.caller) {
            return;
        }
        cx.acknowledge(self.exit, std::mem::take(&mut self.unacknowledged));
        if self.peer_closed {
            cx.end(self.caller, Frame::end());
        }
    }

    fn established(&mut self, env: &mut Env<'_, '_>) {
        self.phase = Phase::Established;
        self.clear_timers(env.cx);
        let connected = BytesConnected {
            remote: self.remote.clone(),
            host: self.host.clone(),
            secure: true,
        };
        env.cx.send(self.caller, Frame::flush(connected));
        let Some(tls) = &self.tls else {
            return;
        };
        let resumed = tls.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed {
            env.counts.resumed += 1;
        } else {
            env.counts.completed += 1;
        }
        env.cx
            .event_with(|_| completed(&self.remote, &tls.connection, resumed));
    }

    /// The exit will send nothing more.
    fn exit_ended(&mut self, env: &mut Env<'_, '_>) {
        if self.peer_closed {
            return self.deliver(env.cx);
        }
        let lacks = self
            .tls
            .as_ref()
            .is_some_and(|it| it.presentation.presented.is_missing());
        let why = match self.phase {
            Phase::Connecting | Phase::Handshake => {
                "it closed the connection during the handshake; check that the port expects TLS"
            }
            Phase::Established if lacks => MAY_LACK_CERTIFICATE,
            Phase::Established => {
                let why = "the connection was closed after the TLS handshake";
                return self.fail_with(env, why, Blame::Protocol);
            }
            Phase::Proven => {
                "the connection ended without close_notify, so something may be missing"
            }
        };
        self.fail(env, why);
    }

    /// The connection of the exit failed or was lost.
    fn exit_failed(&mut self, env: &mut Env<'_, '_>, reset: BytesReset) {
        if !reset.remote.is_empty() {
            self.remote = reset.remote.clone();
        }
        let lacks = self
            .tls
            .as_ref()
            .is_some_and(|it| it.presentation.presented.is_missing());
        match self.phase {
            Phase::Handshake => {
                let why = format!("{}; check that the port expects TLS", reset.reason);
                self.fail(env, &why);
            }
            Phase::Established if lacks => self.fail(env, MAY_LACK_CERTIFICATE),
            Phase::Connecting | Phase::Established | Phase::Proven => {
                self.reset_caller(env.cx, reset);
            }
        }
        env.cx.terminate(self.exit, None, None);
    }

    fn explain(&self, options: &Options, error: &rustls::Error) -> String {
        let Some(tls) = &self.tls else {
            return error.to_string();
        };
        explain(
            error,
            Facts {
                name: &tls.name,
                trusts_files: !options.trust.is_empty(),
                has_certificate: tls.presentation.presented.is_there(),
                lacks_certificate: tls.presentation.presented.is_missing(),
            },
        )
    }

    fn fail(&mut self, env: &mut Env<'_, '_>, why: &str) {
        self.fail_with(env, why, Blame::Connection);
    }

    /// TLS failed. Until the broker has sent data, the connection counts as one that was never open,
    /// unless TLS itself gives no reason: then the protocol above may be the reason.
    fn fail_with(&mut self, env: &mut Env<'_, '_>, why: &str, blame: Blame) {
        let proven = self.phase == Phase::Proven || blame == Blame::Protocol;
        let reason: ByteString = if blame == Blame::Protocol {
            why.into()
        } else if proven {
            format!("TLS failed: {why}").into()
        } else {
            format!("no TLS connection: {why}").into()
        };
        if !proven {
            env.counts.failed += 1;
            env.cx.event_with(|_| HandshakeFailed {
                remote: self.remote.clone(),
                reason: why.into(),
            });
        }
        let reset = BytesReset {
            remote: self.remote.clone(),
            reason,
            connected: proven,
            certificate: blame == Blame::Certificate,
        };
        self.reset_caller(env.cx, reset);
        // The end makes the exit write what is queued, such as an alert that tells the broker why.
        self.to_exit.flush(env.cx, self.exit);
        env.cx.end(self.exit, Frame::end());
        env.cx.terminate(self.exit, None, None);
    }

    fn reset_caller(&self, cx: &mut Context<'_>, reset: BytesReset) {
        let (abort, reset) = (AbortEx::Bytes(reset.clone()), ResetEx::Bytes(reset));
        cx.terminate(self.caller, Some(reset), Some(abort));
    }

    /// The caller closed the connection at once. What it sent before its END is still written.
    fn close(&self, cx: &mut Context<'_>) {
        if self.close_notified && self.to_exit.is_empty() {
            cx.end(self.exit, Frame::end());
        }
        self.end_streams(cx);
    }
}

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// TLS, or the network.
    Connection,
    /// The client certificate that the caller named.
    Certificate,
    /// Possibly the protocol above: the handshake is complete, and the peer ended the connection without
    /// an alert.
    Protocol,
}

fn completed(
    remote: &ByteString,
    connection: &ClientConnection,
    resumed: bool,
) -> HandshakeCompleted {
    let version = connection.protocol_version();
    let cipher = connection.negotiated_cipher_suite();
    let alpn = connection.alpn_protocol().unwrap_or_default();
    HandshakeCompleted {
        remote: remote.clone(),
        version: version
            .map(|it| format!("{it:?}"))
            .unwrap_or_default()
            .into(),
        cipher: cipher
            .map(|it| format!("{:?}", it.suite()))
            .unwrap_or_default()
            .into(),
        alpn: String::from_utf8_lossy(alpn).into_owned().into(),
        resumed,
    }
}
