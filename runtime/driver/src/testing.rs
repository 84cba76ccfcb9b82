//! An edge that a test plays from outside: it shows every frame that reaches it, and does on the
//! worker's thread what the test asks for. It stands for callers, for exits, or for the whole rest
//! of the engine, with nothing in between but the real driver.
//!
//! ```
//! use tidegate_driver::{Engine, testing};
//! let (_probe, edge) = testing::probe();
//! let engine = Engine::start(1, Default::default(), move |assembly| {
//!     edge.attach(assembly, 1024, None);
//!     Ok(())
//! });
//! assert!(engine.is_ok());
//! ```

use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use tidegate_engine::{At, BindingId, Context, StreamId, Token};
use tidegate_streams::{BeginEx, Frame};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::assembly::Assembly;
use crate::handle::Edge;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

type Act = Box<dyn FnOnce(&mut Context<'_>, Option<BindingId>) + Send>;

/// The test's side of the edge.
pub struct Probe {
    seen: UnboundedReceiver<(At, Frame)>,
    acts: UnboundedSender<Act>,
}

/// The edge before it has its place on a worker.
pub struct ProbeEdge {
    seen: UnboundedSender<(At, Frame)>,
    acts: Mutex<Option<UnboundedReceiver<Act>>>,
}

/// A probe and its place, which is to be attached to one worker.
pub fn probe() -> (Probe, ProbeEdge) {
    let (show, seen) = unbounded_channel();
    let (acts, ask) = unbounded_channel();
    let edge = ProbeEdge {
        seen: show,
        acts: Mutex::new(Some(ask)),
    };
    (Probe { seen, acts }, edge)
}

impl ProbeEdge {
    /// Attaches the edge; [`Probe::open`] opens streams towards `exit`.
    pub fn attach(
        &self,
        assembly: &mut Assembly,
        window: u32,
        exit: Option<BindingId>,
    ) -> BindingId {
        let seen = self.seen.clone();
        let (id, _) = assembly.attach_edge(window, |_, _| Rc::new(Shown(seen)));
        let mut acts = self.acts.lock().expect("no test panics with the lock");
        let mut acts = acts.take().expect("a probe is attached once");
        let handle = assembly.handle();
        assembly.spawn(async move {
            while let Some(act) = acts.recv().await {
                handle.turn(id, |cx| act(cx, exit));
            }
        });
        id
    }
}

struct Shown(UnboundedSender<(At, Frame)>);

impl Edge for Shown {
    fn on_output(&self, at: At, frame: Frame) {
        // A test that has seen enough does not listen any more.
        let _ = self.0.send((at, frame));
    }
}

impl Probe {
    /// One turn of the worker in the name of this edge.
    pub async fn turn<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Context<'_>) -> R + Send + 'static,
    ) -> R {
        self.act(|cx, _| act(cx)).await
    }

    /// Opens a stream towards the exit.
    pub async fn open(&self, begin: impl Into<BeginEx>) -> StreamId {
        let begin = begin.into();
        self.act(move |cx, exit| {
            let exit = exit.expect("the probe has an exit");
            cx.open(exit, begin, Token::default())
                .expect("the worker takes one more stream")
        })
        .await
    }

    /// Sends a frame.
    pub async fn send(&self, stream: StreamId, frame: Frame) {
        self.turn(move |cx| cx.send(stream, frame)).await;
    }

    /// The next frame that reaches the edge.
    pub async fn next(&mut self) -> (At, Frame) {
        let next = timeout(PATIENCE, self.seen.recv()).await;
        next.expect("a frame arrives in time")
            .expect("the worker is running")
    }

    /// The next frame that reaches the edge and is no WINDOW.
    pub async fn next_but_window(&mut self) -> (At, Frame) {
        loop {
            let (at, frame) = self.next().await;
            if !matches!(frame, Frame::Window(_)) {
                return (at, frame);
            }
        }
    }

    /// What has reached the edge and was not looked at yet.
    pub fn seen(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.seen.try_recv().ok())
            .map(|(_, frame)| frame)
            .collect()
    }

    async fn act<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Context<'_>, Option<BindingId>) -> R + Send + 'static,
    ) -> R {
        let (reply, answer) = oneshot::channel();
        let act: Act = Box::new(move |cx, exit| {
            let _ = reply.send(act(cx, exit));
        });
        // Where the worker is gone, the answer says so.
        let _ = self.acts.send(act);
        let answer = timeout(PATIENCE, answer).await;
        answer
            .expect("the worker answers in time")
            .expect("the worker is running")
    }
}
