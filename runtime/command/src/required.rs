//! Keeps a session with each broker that is marked `required`.
//!
//! Without calls, nothing else would notice that such a broker has failed, or is back, and `/readyz`
//! would keep its answer. The first worker keeps the sessions and renews them: a session alone does
//! not reopen a lost connection, and a new one does. While the broker is connected, it sends nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::Config;
use tidegate_driver::{Assembly, Edge, Handle};
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::mqtt::MqttSession;
use tidegate_engine::{At, BindingId, StreamId, Token};
use tokio::time::sleep;

/// How often a session is renewed.
const RENEWAL: Duration = Duration::from_secs(2);

/// Attaches the edge to a worker, after all bindings, if a broker is required.
pub(crate) fn attach(config: &Config, assembly: &mut Assembly) {
    let clients = config.bindings.iter().filter(|binding| {
        (binding.r#type.as_str(), binding.kind.as_str()) == ("mqtt", "client")
            && binding
                .options::<tidegate_binding_mqtt::client::Options>()
                .is_ok_and(|options| options.required)
    });
    let exits: Vec<BindingId> = clients
        .filter_map(|client| assembly.named(&client.name))
        .collect();
    if exits.is_empty() || assembly.worker() > 0 {
        return;
    }
    let (_, edge) = assembly.of("required").attach_edge(0, |id, _| {
        Rc::new(Sessions {
            id,
            all: RefCell::new(exits.iter().map(|_| Session::default()).collect()),
            over: RefCell::default(),
            stopping: Cell::new(false),
        })
    });
    let handle = assembly.handle();
    assembly.spawn(async move {
        while !edge.stopping.get() {
            edge.open(&handle, &exits);
            sleep(RENEWAL).await;
        }
    });
}

/// The session with one broker.
#[derive(Default)]
struct Session {
    /// It was opened, and the broker has not answered.
    pending: Option<StreamId>,
    /// The one that the broker accepted last.
    kept: Option<StreamId>,
}

/// The sessions, by the index of their exit, which is the token of their streams.
struct Sessions {
    id: BindingId,
    all: RefCell<Vec<Session>>,
    /// Streams to be ended.
    over: RefCell<Vec<StreamId>>,
    stopping: Cell<bool>,
}

impl Sessions {
    /// Opens a session with each broker that has answered the one before.
    fn open(&self, handle: &Handle, exits: &[BindingId]) {
        for (index, exit) in exits.iter().enumerate() {
            let waits = |session: &Session| session.pending.is_some();
            if self.all.borrow().get(index).is_none_or(waits) {
                continue;
            }
            handle.turn(self.id, |cx| {
                let opened = cx.open(*exit, MqttSession::default(), Token::from_index(index));
                // Within the turn: its answer may be delivered at the end of it.
                if let Some(session) = self.all.borrow_mut().get_mut(index) {
                    session.pending = opened.ok();
                }
            });
        }
    }
}

impl Edge for Sessions {
    fn on_output(&self, at: At, frame: Frame) {
        let mut all = self.all.borrow_mut();
        let Some(session) = all.get_mut(at.token.index()) else {
            return;
        };
        let is_it = |stream: &mut StreamId| *stream == at.stream;
        let over = match frame {
            Frame::Begin(_) if session.pending.take_if(is_it).is_some() => {
                session.kept.replace(at.stream)
            }
            Frame::Reset(_) | Frame::Abort(_) | Frame::End(_) => {
                let pending = session.pending.take_if(is_it);
                pending.or_else(|| session.kept.take_if(is_it))
            }
            _ => None,
        };
        self.over.borrow_mut().extend(over);
    }

    fn flush(&self, handle: &Handle) {
        let over = self.over.take();
        if !over.is_empty() {
            handle.turn(self.id, |cx| {
                for stream in over {
                    cx.terminate(stream, None, None);
                }
            });
        }
    }

    fn on_shutdown(&self) {
        // The exits end their sessions.
        self.stopping.set(true);
    }
}
