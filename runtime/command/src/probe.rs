//! Probes the brokers at the start: opens an MQTT session with each and ends it after CONNACK.
//!
//! A reachable TCP port is not enough: the broker may reject the password, or require TLS. The probe
//! opens an mqtt stream as any request does, so it reports the same errors.
//!
//! Where a status page shows the brokers, the sessions are kept instead, and opened again after an
//! error: without calls, no other connection would notice that a broker has failed, or is back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Config;
use tidegate_driver::{Assembly, Edge, Handle};
use tidegate_engine::streams::mqtt::MqttSession;
use tidegate_engine::streams::{Frame, ResetEx};
use tidegate_engine::{At, BindingId, StreamId, Token};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// How long to wait for a broker: longer than the default `connectTimeout`, so that its error is
/// reported.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before a session that is kept is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(2);

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
}

/// The brokers of a config.
#[derive(Clone)]
pub(crate) struct Probes {
    all: Arc<[Probe]>,
    /// Whether the sessions are kept.
    kept: bool,
}

impl Probes {
    pub(crate) fn new(config: &Config) -> Self {
        let clients = config
            .bindings
            .iter()
            .filter(|binding| binding.r#type == "mqtt" && binding.kind == "client");
        let probe = |binding: &tidegate_config::Binding| Probe {
            binding: binding.name.clone(),
            answer: watch::Sender::new(None),
        };
        Self {
            all: clients.map(probe).collect(),
            kept: config.bindings.iter().any(shows_status),
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
                exits: ids,
                probes,
                done: RefCell::default(),
                ended: RefCell::default(),
                reopen: Notify::new(),
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
    binding.r#type == "http"
        && binding
            .options::<tidegate_binding_http::Options>()
            .is_ok_and(|options| options.status.is_some())
}

/// The edge that opens the sessions.
struct ProbeEdge {
    id: BindingId,
    /// The `mqtt · client` of each probe, if it is attached.
    exits: Vec<Option<BindingId>>,
    probes: Probes,
    /// Streams to be ended.
    done: RefCell<Vec<StreamId>>,
    /// Probes whose session has ended, to be opened again.
    ended: RefCell<Vec<Token>>,
    reopen: Notify,
    stopping: Cell<bool>,
}

impl ProbeEdge {
    /// Opens the sessions; keeps them if they are to be kept.
    async fn run(&self, handle: &Handle) {
        for index in 0..self.exits.len() {
            self.open(handle, Token::from_index(index));
        }
        if !self.probes.kept {
            return;
        }
        loop {
            self.reopen.notified().await;
            sleep(REOPEN_AFTER).await;
            for token in self.ended.take() {
                self.open(handle, token);
            }
        }
    }

    fn open(&self, handle: &Handle, token: Token) {
        let Some(Some(exit)) = self.exits.get(token.index()) else {
            return;
        };
        if self.stopping.get() {
            return;
        }
        let opened = handle.turn(self.id, |cx| cx.open(*exit, MqttSession::default(), token));
        if let Err(error) = opened {
            self.set(token, Answer::Refused(error.to_string()));
            self.open_again(token);
        }
    }

    fn open_again(&self, token: Token) {
        let mut ended = self.ended.borrow_mut();
        // A session that fails ends both halves of its stream.
        if !ended.contains(&token) {
            ended.push(token);
            self.reopen.notify_one();
        }
    }

    fn set(&self, token: Token, answer: Answer) {
        if let Some(probe) = self.probes.all.get(token.index()) {
            probe.answer.send_replace(Some(answer));
        }
    }
}

impl Edge for ProbeEdge {
    fn on_shutdown(&self) {
        self.stopping.set(true);
    }

    fn on_output(&self, at: At, frame: Frame) {
        let answer = match frame {
            Frame::Begin(_) => Answer::Accepted,
            Frame::Reset(reset) => Answer::Refused(match reset.map(|reset| *reset) {
                Some(ResetEx::Mqtt(reset)) => reset.reason.to_string(),
                _ => "the session was reset without a reason".to_owned(),
            }),
            Frame::End(_) | Frame::Abort(_) if self.probes.kept => {
                self.open_again(at.token);
                return self.done.borrow_mut().push(at.stream);
            }
            _ => return,
        };
        let accepted = answer == Answer::Accepted;
        self.set(at.token, answer);
        if !accepted && self.probes.kept {
            self.open_again(at.token);
        }
        if !(accepted && self.probes.kept) {
            self.done.borrow_mut().push(at.stream);
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
