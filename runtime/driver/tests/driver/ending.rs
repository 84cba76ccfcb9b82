//! Failed workers are detected, and no shutdown waits for a thread that hangs.

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

const TIMEOUT: Duration = Duration::from_secs(20);

/// An engine of two workers; `ruin` attaches edges to the second one. On the first one, a probe
/// calls an [`Answerer`].
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

/// Asserts that the second worker has failed for this reason, and that the first one continues to
/// serve and shuts down in order.
async fn assert_detected(engine: Engine, mut probe: Probe, reason: EndReason) {
    let ended = tokio::time::timeout(TIMEOUT, engine.worker_ended()).await;
    let expected = WorkerEnded { worker: 1, reason };
    assert_eq!(ended.expect("the failure is detected"), expected);
    let stream = probe.open(LineBegin {}).await;
    assert!(matches!(probe.next().await.1, Frame::Begin(_)));
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT));
    assert_eq!(probe.next().await.1, Frame::end());
    assert!(!stopping.is_finished(), "the stream is not over");
    probe.send(stream, Frame::end()).await;
    let report = stopping.await.expect("the shutdown ends");
    assert_eq!((report.streams_cut, report.workers_hung), (0, 0));
    assert_eq!(report.worker_ended, Some(expected));
}

/// Panics when handling its first frame.
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
async fn a_task_panic_is_detected() {
    let (engine, probe) = ruined(|assembly| assembly.spawn(async { panic!("on purpose") }));
    assert_detected(engine, probe, EndReason::TaskPanicked).await;
}

#[tokio::test]
async fn a_task_may_return() {
    let (engine, _probe) = ruined(|assembly| assembly.spawn(async {}));
    assert_eq!(engine.counters().await.len(), 2);
    let report = engine.shutdown(TIMEOUT).await;
    assert_eq!((report.streams_cut, report.workers_hung), (0, 0));
    assert_eq!(report.worker_ended, None);
    assert!(report.measures.iter().any(|it| it.name == "engine.frames"));
}

#[tokio::test]
async fn an_event_loop_panic_is_detected() {
    // The edge panics within the event loop, which starts the bindings.
    let (engine, probe) = ruined(|assembly| {
        let exit = attach_fragile(assembly);
        assembly.attach(Opener { exit });
    });
    assert_detected(engine, probe, EndReason::EdgePanicked).await;
}

#[tokio::test]
async fn an_edge_panic_is_detected_and_its_worker_shuts_down_in_order() {
    let (engine, _probe) = ruined(|assembly| {
        let exit = attach_fragile(assembly);
        let (caller, _) = assembly.attach_edge(1_000, |_, _| Rc::new(Fragile));
        let (handle, hold) = (assembly.handle(), assembly.handle().hold());
        tokio::task::spawn_local(async move {
            let broken = caught(async {
                handle.turn(caller, |cx| cx.open(exit, LineBegin {}, Token::default()))
            });
            assert!(broken.await.is_err());
            // The output of a later turn is delivered as usual.
            handle.turn(caller, |_| ());
            drop(hold);
        });
    });
    let ended = tokio::time::timeout(TIMEOUT, engine.worker_ended()).await;
    let (worker, reason) = (1, EndReason::EdgePanicked);
    assert_eq!(
        ended.expect("the failure is detected"),
        WorkerEnded { worker, reason }
    );
    assert_eq!(engine.counters().await.len(), 2);
    // The stream towards the edge is never ended.
    let report = engine.shutdown(Duration::from_millis(5)).await;
    assert_eq!((report.streams_cut, report.workers_hung), (1, 0));
}

#[tokio::test]
async fn a_cut_ends_a_shutdown_at_once() {
    let (probe, edge) = probe();
    let (alive, mut ended) = oneshot::channel::<()>();
    let alive = std::sync::Mutex::new(Some(alive));
    let engine = Engine::start(2, Limits::default(), move |assembly| {
        let hold = assembly.handle().hold();
        let alive = match assembly.worker() {
            0 => alive.lock().expect("no panic").take(),
            _ => None,
        };
        assembly.spawn(async move {
            std::future::pending::<()>().await;
            drop((hold, alive));
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
    assert!(ended.try_recv().is_err() && !stopping.is_finished());
    cut.now();
    let report = tokio::time::timeout(TIMEOUT, stopping).await;
    let report = report.expect("it ends in time").expect("no panic");
    assert_eq!((report.streams_cut, report.workers_hung), (2, 0));
    assert!(ended.await.is_err(), "the thread has dropped everything");
}

/// An engine of two workers, the second of which hangs until the sender is dropped.
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
async fn a_hung_worker_is_abandoned_by_a_shutdown() {
    let (engine, _release) = hung().await;
    let report = engine.shutdown(Duration::from_millis(5)).await;
    assert_eq!((report.streams_cut, report.workers_hung), (0, 1));
}

#[tokio::test]
async fn a_hung_worker_does_not_block_a_cut() {
    let (engine, _release) = hung().await;
    let cut = engine.cut();
    let stopping = tokio::spawn(engine.shutdown(Duration::MAX));
    cut.now();
    let report = tokio::time::timeout(TIMEOUT, stopping).await;
    let report = report.expect("it ends in time").expect("no panic");
    assert_eq!(report.workers_hung, 1);
}

#[tokio::test]
async fn a_hung_worker_does_not_block_a_drop() {
    let (engine, release) = hung().await;
    drop(engine);
    drop(release);
}

#[tokio::test]
async fn a_panic_in_a_caught_future_is_an_error() {
    assert_eq!(caught(async { 7 }).await.ok(), Some(7));
    let panics = async {
        tokio::task::yield_now().await;
        panic!("on purpose")
    };
    let ended: Result<(), Panicked> = caught(panics).await;
    assert!(ended.is_err());
}
