//! Probes the brokers at the start: opens an MQTT session with each and ends it after CONNACK.
//!
//! A reachable TCP port is not enough: the broker may reject the password, or require TLS. The probe
//! opens an mqtt stream as any request does, so it reports the same errors.
//!
//! With a broker that is required, and with each one where a status page shows them, a session is kept
//! and renewed every few seconds: a session alone does not reopen a lost connection, and a new one
//! does. While the broker is connected, this sends nothing. Without calls, nothing else would notice
//! that a broker has failed, or is back, and the page and `/readyz` would keep their answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Config;
use tidegate_driver::{Assembly, Edge, Handle};
use tidegate_engine::streams::mqtt::MqttSession;
use tidegate_engine::streams::{Frame, ResetEx};
use tidegate_engine::{At, BindingId, StreamId, Token};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long to wait for a broker: longer than the default `connectTimeout`, so that its error is
/// reported.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a session that is kept is renewed.
const RENEWAL: Duration = Duration::from_secs(2);

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The broker accepted the session (CONNACK).
    Accepted,
    /// The session failed, with the reason.
    Refused(String),
}

/// The broker of one `mqtt · client`.
struct Probe {
    binding: String,
    answer: watch::Sender<Option<Answer>>,
    /// Whether its session is kept.
    kept: bool,
}

/// The brokers of a config.
#[derive(Clone)]
pub(crate) struct Probes {
    all: Arc<[Probe]>,
}

impl Probes {
    pub(crate) fn new(config: &Config) -> Self {
        let clients = config
            .bindings
            .iter()
            .filter(|binding| binding.r#type == "mqtt" && binding.kind == "client");
        let shown = config.bindings.iter().any(shows_status);
        let probe = |binding: &tidegate_config::Binding| Probe {
            binding: binding.name.clone(),
            answer: watch::Sender::new(None),
            kept: shown || is_required(binding),
        };
        Self {
            all: clients.map(probe).collect(),
        }
    }

    /// Attaches the probes to a worker, after all bindings. Only worker 0 runs them.
    pub(crate) fn attach(&self, assembly: &mut Assembly) {
        let ids: Vec<Option<BindingId>> = self
            .all
            .iter()
            .map(|probe| assembly.named(&probe.binding))
            .collect();
        let probes = self.clone();
        let (_, edge) = assembly.of("probe").attach_edge(0, |id, _| {
            Rc::new(ProbeEdge {
                id,
                sessions: RefCell::new(ids.into_iter().map(Session::of).collect()),
                probes,
                done: RefCell::default(),
                stopping: Cell::new(false),
            })
        });
        if assembly.worker() == 0 {
            let handle = assembly.handle();
            assembly.spawn(async move { edge.run(&handle).await });
        }
    }

    /// The result for an `mqtt · client`; `None` if there is none in time.
    pub(crate) async fn answer(&self, binding: &str) -> Option<Answer> {
        let probe = self.all.iter().find(|probe| probe.binding == binding)?;
        let mut answer = probe.answer.subscribe();
        let known = timeout(PROBE_TIMEOUT, answer.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }
}

/// Whether a binding has a page that shows the state of the brokers.
fn shows_status(binding: &tidegate_config::Binding) -> bool {
    (binding.r#type.as_str(), binding.kind.as_str()) == ("http", "server")
        && binding
            .options::<tidegate_binding_http::Options>()
            .is_ok_and(|options| options.status.is_some())
}

/// Whether the gateway is ready only while the broker of an `mqtt · client` is connected.
fn is_required(client: &tidegate_config::Binding) -> bool {
    client
        .options::<tidegate_binding_mqtt::client::Options>()
        .is_ok_and(|options| options.required)
}

/// The session with one broker.
struct Session {
    /// The `mqtt · client`, if it is attached.
    exit: Option<BindingId>,
    /// A session was opened, and the broker has not answered.
    pending: bool,
    /// The session that is kept.
    kept: Option<StreamId>,
}

impl Session {
    const fn of(exit: Option<BindingId>) -> Self {
        Self {
            exit,
            pending: false,
            kept: None,
        }
    }
}

/// The edge that opens the sessions.
struct ProbeEdge {
    id: BindingId,
    /// By the index of their probe, which is the token of their streams.
    sessions: RefCell<Vec<Session>>,
    probes: Probes,
    /// Streams to be ended.
    done: RefCell<Vec<StreamId>>,
    stopping: Cell<bool>,
}

impl ProbeEdge {
    /// Opens the sessions; renews them if they are kept.
    async fn run(&self, handle: &Handle) {
        for index in 0..self.probes.all.len() {
            self.open(handle, Token::from_index(index));
        }
        while !self.stopping.get() && self.probes.all.iter().any(|probe| probe.kept) {
            sleep(RENEWAL).await;
            for (index, probe) in self.probes.all.iter().enumerate() {
                if probe.kept {
                    self.open(handle, Token::from_index(index));
                }
            }
        }
    }

    fn open(&self, handle: &Handle, token: Token) {
        let exit = self
            .sessions
            .borrow_mut()
            .get_mut(token.index())
            .and_then(|session| {
                let exit = session.exit.filter(|_| !session.pending)?;
                session.pending = true;
                Some(exit)
            });
        let Some(exit) = exit.filter(|_| !self.stopping.get()) else {
            return;
        };
        let opened = handle.turn(self.id, |cx| cx.open(exit, MqttSession::default(), token));
        if let Err(error) = opened {
            self.answered(token, Answer::Refused(error.to_string()));
        }
    }

    fn answered(&self, token: Token, answer: Answer) {
        if let Some(session) = self.sessions.borrow_mut().get_mut(token.index()) {
            session.pending = false;
        }
        self.set(token, answer);
    }

    /// A session was accepted: it replaces the one that was kept, if it is to be kept.
    fn keep(&self, at: At) {
        let index = at.token.index();
        let is_kept = self.probes.all.get(index).is_some_and(|probe| probe.kept);
        let mut sessions = self.sessions.borrow_mut();
        let replaced = match sessions.get_mut(index) {
            Some(session) if is_kept => session.kept.replace(at.stream),
            _ => Some(at.stream),
        };
        self.done.borrow_mut().extend(replaced);
    }

    /// Whether a stream is the session that was kept, which is over.
    fn lost(&self, at: At) -> bool {
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions.get_mut(at.token.index());
        session.is_some_and(|session| session.kept.take_if(|kept| *kept == at.stream).is_some())
    }

    fn set(&self, token: Token, answer: Answer) {
        if let Some(probe) = self.probes.all.get(token.index()) {
            probe.answer.send_replace(Some(answer));
        }
    }
}

fn reason(reset: Option<ResetEx>) -> String {
    match reset {
        Some(ResetEx::Mqtt(reset)) => reset.reason.to_string(),
        _ => "the session was reset without a reason".to_owned(),
    }
}

impl Edge for ProbeEdge {
    fn on_shutdown(&self) {
        self.stopping.set(true);
    }

    fn on_output(&self, at: At, frame: Frame) {
        match frame {
            Frame::Begin(_) => {
                self.answered(at.token, Answer::Accepted);
                self.keep(at);
            }
            Frame::Reset(reset) => {
                if !self.lost(at) {
                    self.answered(at.token, Answer::Refused(reason(reset.map(|reset| *reset))));
                }
                self.done.borrow_mut().push(at.stream);
            }
            Frame::End(_) | Frame::Abort(_) if self.lost(at) => {
                self.done.borrow_mut().push(at.stream);
            }
            _ => {}
        }
    }

    fn flush(&self, handle: &Handle) {
        for stream in self.done.take() {
            handle.turn(self.id, |cx| {
                if cx.is_sending(stream) {
                    cx.send(stream, Frame::end());
                } else {
                    cx.terminate(stream, None, None);
                }
            });
        }
    }
}
