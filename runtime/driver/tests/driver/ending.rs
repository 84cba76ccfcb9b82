//! Workers that no longer serve are noticed, and no stop waits for a thread that does not come back.

use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use tidegate_driver::testing::{Probe, probe};
use tidegate_driver::{Assembly, Edge, EndReason, Engine, Panicked, WorkerEnded, caught};
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::line::LineBegin;
use tidegate_engine::{At, BindingId, Limits, Token};
use tokio::sync::oneshot;

use crate::bindings::{Answerer, Opener};

const PATIENCE: Duration = Duration::from_secs(20);

/// An engine of two workers, the second one of which gets what `ruin` attaches. On the first one, a
/// probe calls an [`Answerer`].
fn ruined(ruin: impl Fn(&mut Assembly) + Send + Sync + 'static) -> (Engine, Probe) {
    let (probe, edge) = probe();
    let engine = Engine::start(2, Limits::default(), move |assembly| {
        if assembly.worker() == 0 {
            let answerer = assembly.attach(Answerer::default());
            edge.attach(assembly, 1 << 20, Some(answerer));
        } else {
            ruin(assembly);
        }
        Ok(())
    });
    (engine.expect("the engine starts"), probe)
}

/// The second worker has ended, for this reason; the first one serves on, and stops in order.
async fn is_noticed(engine: Engine, mut probe: Probe, reason: EndReason) {
    let ended = tokio::time::timeout(PATIENCE, engine.worker_ended()).await;
    let expected = WorkerEnded { worker: 1, reason };
    assert_eq!(ended.expect("it is noticed"), expected);
    let stream = probe.open(LineBegin {}).await;
    assert!(matches!(probe.next().await.1, Frame::Begin(_)));
    let stopping = tokio::spawn(engine.shutdown(PATIENCE));
    assert_eq!(probe.next().await.1, Frame::end());
    assert!(!stopping.is_finished(), "the stream is not over");
    probe.send(stream, Frame::end()).await;
    let report = stopping.await.expect("the stop ends");
    assert_eq!((report.streams_cut, report.workers_hung), (0, 0));
    assert_eq!(report.worker_ended, Some(expected));
}

/// Panics over its first frame.
struct Fragile;

impl Edge for Fragile {
    fn on_output(&self, _at: At, _frame: Frame) {
        panic!("on purpose");
    }
}

fn attach_fragile(assembly: &mut Assembly) -> BindingId {
    assembly.attach_edge(1_000, |_, _| Rc::new(Fragile)).0
}

#[tokio::test]
async fn a_task_that_panics_is_noticed() {
    let (engine, probe) = ruined(|assembly| assembly.spawn(async { panic!("on purpose") }));
    is_noticed(engine, probe, EndReason::TaskPanicked).await;
}

#[tokio::test]
async fn a_task_that_is_done_is_no_end() {
    let (engine, _probe) = ruined(|assembly| assembly.spawn(async {}));
    assert_eq!(engine.counters().await.len(), 2);
    let report = engine.shutdown(PATIENCE).await;
    assert_eq!((report.streams_cut, report.workers_hung), (0, 0));
    assert_eq!(report.worker_ended, None);
    assert!(report.measures.iter().any(|it| it.name == "engine.frames"));
}

#[tokio::test]
async fn an_event_loop_that_panics_is_noticed() {
    // The panic of the edge is that of the event loop, which starts the bindings.
    let (engine, probe) = ruined(|assembly| {
        let exit = attach_fragile(assembly);
        assembly.attach(Opener { exit });
    });
    is_noticed(engine, probe, EndReason::EdgePanicked).await;
}

#[tokio::test]
async fn an_edge_that_panics_is_noticed_and_its_worker_stops_in_order() {
    let (engine, _probe) = ruined(|assembly| {
        let exit = attach_fragile(assembly);
        let (caller, _) = assembly.attach_edge(1_000, |_, _| Rc::new(Fragile));
        let (handle, hold) = (assembly.handle(), assembly.handle().hold());
        tokio::task::spawn_local(async move {
            let broken = caught(async {
                handle.turn(caller, |cx| cx.open(exit, LineBegin {}, Token::default()))
            });
            assert!(broken.await.is_err());
            // What comes out of a later turn is handed out as ever.
            handle.turn(caller, |_| ());
            drop(hold);
        });
    });
    let ended = tokio::time::timeout(PATIENCE, engine.worker_ended()).await;
    let (worker, reason) = (1, EndReason::EdgePanicked);
    assert_eq!(
        ended.expect("it is noticed"),
        WorkerEnded { worker, reason }
    );
    assert_eq!(engine.counters().await.len(), 2);
    // Nobody ends the stream towards the edge.
    let report = engine.shutdown(Duration::from_millis(5)).await;
    assert_eq!((report.streams_cut, report.workers_hung), (1, 0));
}

#[tokio::test]
async fn a_stop_that_is_cut_short_ends_at_once() {
    let (probe, edge) = probe();
    let (tell, mut told) = oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    let engine = Engine::start(2, Limits::default(), move |assembly| {
        let hold = assembly.handle().hold();
        let tell = match assembly.worker() {
            0 => tell.lock().expect("no panic").take(),
            _ => None,
        };
        assembly.spawn(async move {
            std::future::pending::<()>().await;
            drop((hold, tell));
        });
        if assembly.worker() == 0 {
            edge.attach(assembly, 0, None);
        }
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    let cut = engine.cut();
    let stopping = tokio::spawn(engine.shutdown(Duration::MAX));
    while !probe.turn(|cx| cx.stopping()).await {}
    assert!(told.try_recv().is_err() && !stopping.is_finished());
    cut.now();
    let report = tokio::time::timeout(PATIENCE, stopping).await;
    let report = report.expect("it ends in time").expect("no panic");
    assert_eq!((report.streams_cut, report.workers_hung), (2, 0));
    assert!(told.await.is_err(), "the thread has let go of all");
}

/// An engine of two workers, the second one of which hangs until the sender is dropped.
async fn hung() -> (Engine, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(Some(released));
    let (tell, hangs) = oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    let engine = Engine::start(2, Limits::default(), move |assembly| {
        if assembly.worker() == 1 {
            let released = released.lock().expect("no panic").take();
            let tell = tell.lock().expect("no panic").take();
            assembly.spawn(async move {
                drop(tell);
                let _ = released.expect("one worker hangs").recv();
            });
        }
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    assert!(hangs.await.is_err(), "the worker is in a call that blocks");
    (engine, release)
}

#[tokio::test]
async fn a_worker_that_hangs_is_left_behind_by_a_stop() {
    let (engine, _release) = hung().await;
    let report = engine.shutdown(Duration::from_millis(5)).await;
    assert_eq!((report.streams_cut, report.workers_hung), (0, 1));
}

#[tokio::test]
async fn a_worker_that_hangs_does_not_hold_up_a_cut() {
    let (engine, _release) = hung().await;
    let cut = engine.cut();
    let stopping = tokio::spawn(engine.shutdown(Duration::MAX));
    cut.now();
    let report = tokio::time::timeout(PATIENCE, stopping).await;
    let report = report.expect("it ends in time").expect("no panic");
    assert_eq!(report.workers_hung, 1);
}

#[tokio::test]
async fn a_worker_that_hangs_does_not_hold_up_a_drop() {
    let (engine, release) = hung().await;
    drop(engine);
    drop(release);
}

#[tokio::test]
async fn a_panic_ends_a_future_that_is_caught() {
    assert_eq!(caught(async { 7 }).await.ok(), Some(7));
    let panics = async {
        tokio::task::yield_now().await;
        panic!("on purpose")
    };
    let ended: Result<(), Panicked> = caught(panics).await;
    assert!(ended.is_err());
}
