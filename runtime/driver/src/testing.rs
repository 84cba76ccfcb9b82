//! A probe: an edge controlled by a test. It shows every frame delivered to it, and runs the test's
//! closures on the worker's thread. It takes the place of callers, of exits, or of the rest of the
//! engine, on top of the real driver.
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

/// Timeout for an event that a test expects.
const TIMEOUT: Duration = Duration::from_secs(20);

type Act = Box<dyn FnOnce(&mut Context<'_>, Option<BindingId>) + Send>;

/// The test's side of the edge.
pub struct Probe {
    seen: UnboundedReceiver<(At, Frame)>,
    acts: UnboundedSender<Act>,
}

/// The probe's edge before it is attached to a worker.
pub struct ProbeEdge {
    seen: UnboundedSender<(At, Frame)>,
    acts: Mutex<Option<UnboundedReceiver<Act>>>,
}

/// Creates a probe and its edge, which must be attached to one worker.
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
        // A test that has finished may have dropped the receiver.
        let _ = self.0.send((at, frame));
    }
}

impl Probe {
    /// Runs one turn of the worker for this edge.
    pub async fn turn<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Context<'_>) -> R + Send + 'static,
    ) -> R {
        self.act(|cx, _| act(cx)).await
    }

    /// Opens a stream to the exit.
    pub async fn open(&self, begin: impl Into<BeginEx>) -> StreamId {
        let begin = begin.into();
        self.act(move |cx, exit| {
            let exit = exit.expect("the probe has an exit");
            cx.open(exit, begin, Token::default())
                .expect("the worker is below the stream limit")
        })
        .await
    }

    /// Sends a frame.
    pub async fn send(&self, stream: StreamId, frame: Frame) {
        self.turn(move |cx| cx.send(stream, frame)).await;
    }

    /// Waits for the next frame.
    pub async fn next(&mut self) -> (At, Frame) {
        let next = timeout(TIMEOUT, self.seen.recv()).await;
        next.expect("a frame arrives in time")
            .expect("the worker is running")
    }

    /// Waits for the next frame other than WINDOW.
    pub async fn next_but_window(&mut self) -> (At, Frame) {
        loop {
            let (at, frame) = self.next().await;
            if !matches!(frame, Frame::Window(_)) {
                return (at, frame);
            }
        }
    }

    /// Takes the frames that have arrived.
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
        // If the worker has stopped, the answer fails.
        let _ = self.acts.send(act);
        let answer = timeout(TIMEOUT, answer).await;
        answer
            .expect("the worker answers in time")
            .expect("the worker is running")
    }
}
