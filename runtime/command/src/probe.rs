//! Probes the brokers at the start: opens an MQTT session with each and ends it after CONNACK.
//!
//! A reachable TCP port is not enough: the broker may reject the password, or require TLS. The probe
//! opens an mqtt stream as any request does, so it reports the same errors.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Config;
use tidegate_driver::{Assembly, Edge, Handle};
use tidegate_engine::streams::mqtt::MqttSession;
use tidegate_engine::streams::{Frame, ResetEx};
use tidegate_engine::{At, BindingId, StreamId, Token};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long to wait for a broker: longer than the default `connectTimeout`, so that its error is
/// reported.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

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
pub(crate) struct Probes(Arc<[Probe]>);

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
        Self(clients.map(probe).collect())
    }

    /// Attaches the probes to a worker, after all bindings. Only worker 0 runs them.
    pub(crate) fn attach(&self, assembly: &mut Assembly) {
        let ids: Vec<Option<BindingId>> = self
            .0
            .iter()
            .map(|probe| assembly.named(&probe.binding))
            .collect();
        let probes = self.clone();
        let (id, edge) = assembly.of("probe").attach_edge(0, |id, _| {
            Rc::new(ProbeEdge {
                id,
                probes,
                done: RefCell::default(),
            })
        });
        if assembly.worker() == 0 {
            let handle = assembly.handle();
            assembly.spawn(async move { edge.open(&handle, id, &ids) });
        }
    }

    /// The result for an `mqtt · client`; `None` if there is none in time.
    pub(crate) async fn answer(&self, binding: &str) -> Option<Answer> {
        let probe = self.0.iter().find(|probe| probe.binding == binding)?;
        let mut answer = probe.answer.subscribe();
        let known = timeout(PROBE_TIMEOUT, answer.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }
}

/// The edge that opens the sessions.
struct ProbeEdge {
    id: BindingId,
    probes: Probes,
    /// Streams with a result, to be ended.
    done: RefCell<Vec<StreamId>>,
}

impl ProbeEdge {
    fn open(&self, handle: &Handle, edge: BindingId, ids: &[Option<BindingId>]) {
        for (index, id) in ids.iter().enumerate() {
            let Some(id) = *id else { continue };
            let opened = handle.turn(edge, |cx| {
                cx.open(id, MqttSession::default(), Token::from_index(index))
            });
            if let Err(error) = opened {
                self.set(Token::from_index(index), Answer::Refused(error.to_string()));
            }
        }
    }

    fn set(&self, token: Token, answer: Answer) {
        if let Some(probe) = self.probes.0.get(token.index()) {
            probe.answer.send_replace(Some(answer));
        }
    }
}

impl Edge for ProbeEdge {
    fn on_output(&self, at: At, frame: Frame) {
        let answer = match frame {
            Frame::Begin(_) => Answer::Accepted,
            Frame::Reset(reset) => Answer::Refused(match reset.map(|reset| *reset) {
                Some(ResetEx::Mqtt(reset)) => reset.reason.to_string(),
                _ => "the session was reset without a reason".to_owned(),
            }),
            _ => return,
        };
        self.set(at.token, answer);
        self.done.borrow_mut().push(at.stream);
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
