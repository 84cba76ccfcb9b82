//! Workers start, work, survive a handler's panic, and shut down.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tidegate_driver::testing::{Probe, ProbeEdge, probe};
use tidegate_driver::{Engine, StartError};
use tidegate_engine::streams::Frame;
use tidegate_engine::streams::line::{LineBegin, LineOversized};
use tidegate_engine::{Limits, StreamId};

use crate::bindings::{Alarm, Answerer, InSteps};

const TIMEOUT: Duration = Duration::from_secs(20);

/// One worker on which a probe calls an [`Answerer`].
fn answered(limits: Limits) -> (Engine, Probe) {
    let (probe, edge) = probe();
    let engine = Engine::start(1, limits, move |assembly| {
        let answerer = assembly.attach(Answerer::default());
        edge.attach(assembly, 1 << 20, Some(answerer));
        Ok(())
    });
    (engine.expect("the engine starts"), probe)
}

/// Opens a stream and waits until it is accepted.
async fn opened(probe: &mut Probe) -> StreamId {
    let stream = probe.open(LineBegin {}).await;
    let (at, frame) = probe.next().await;
    assert!(matches!(frame, Frame::Begin(_)) && at.stream == stream);
    stream
}

#[tokio::test]
async fn workers_start_and_stop() {
    let kept = Arc::new(());
    let held: Weak<()> = Arc::downgrade(&kept);
    let engine = Engine::start(3, Limits::default(), move |assembly| {
        assert!(assembly.worker() < assembly.workers());
        let kept = Arc::clone(&kept);
        assembly.spawn(async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    assert_eq!(engine.counters().await.len(), 3);
    assert_eq!(engine.shutdown(TIMEOUT).await.streams_cut, 0);
    assert_eq!(
        held.strong_count(),
        0,
        "the threads have dropped everything"
    );
}

#[tokio::test]
async fn an_engine_has_at_least_one_worker() {
    let engine = Engine::start(0, Limits::default(), |_| Ok(())).expect("the engine starts");
    assert_eq!(engine.counters().await.len(), 1);
    engine.shutdown(TIMEOUT).await;
}

#[tokio::test]
async fn a_failed_start_stops_all_workers() {
    let kept = Arc::new(());
    let held = Arc::downgrade(&kept);
    let failed = Engine::start(3, Limits::default(), move |assembly| {
        let kept = Arc::clone(&kept);
        assembly.spawn(async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        match assembly.worker() {
            1 => Err(StartError::Edge("the port is taken".to_owned())),
            _ => Ok(()),
        }
    });
    let error = failed.err().expect("the second worker cannot start");
    assert_eq!(error.to_string(), "the port is taken");
    assert_eq!(held.strong_count(), 0, "the first worker has ended");
}

#[tokio::test]
async fn a_panic_during_startup_is_reported() {
    let failed = Engine::start(1, Limits::default(), |_| panic!("on purpose"));
    assert!(matches!(failed.err(), Some(StartError::Ended)));
}

#[tokio::test]
async fn an_engine_that_is_dropped_stops() {
    let kept = Arc::new(());
    let held = Arc::downgrade(&kept);
    let engine = Engine::start(2, Limits::default(), move |assembly| {
        let kept = Arc::clone(&kept);
        assembly.spawn(async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        Ok(())
    });
    drop(engine.expect("the engine starts"));
    assert_eq!(held.strong_count(), 0);
}

#[tokio::test]
async fn an_edge_can_request_a_stop_before_it_is_awaited() {
    let engine = Engine::start(1, Limits::default(), |assembly| {
        assembly.stop().request();
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    engine.stop_requested().await;
    engine.shutdown(TIMEOUT).await;
}

#[tokio::test]
async fn work_in_steps_continues_and_lets_other_tasks_run() {
    let (mut probe, edge) = probe();
    let engine = Engine::start(1, Limits::default(), move |assembly| {
        let binding = assembly.attach(InSteps::default());
        edge.attach(assembly, 1 << 20, Some(binding));
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    let stream = opened(&mut probe).await;
    // The probe's own task runs between the steps.
    let flush = Frame::flush(LineOversized::default());
    probe.send(stream, flush).await;
    assert_eq!(probe.next().await.1, Frame::end());
    probe.send(stream, Frame::end()).await;
    engine.shutdown(TIMEOUT).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_open_streams() {
    // The answerer ends its streams when the engine is stopping.
    let (engine, mut probe) = answered(Limits::default());
    let stream = opened(&mut probe).await;
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT));
    let (_, frame) = probe.next().await;
    assert_eq!(frame, Frame::end());
    assert!(!stopping.is_finished(), "the stream is not over");
    probe.send(stream, Frame::end()).await;
    let report = stopping.await.expect("the stop ends");
    assert_eq!(report.streams_cut, 0);
}

#[tokio::test]
async fn a_shutdown_reports_aborted_streams() {
    let (engine, mut probe) = answered(Limits::default());
    for _ in 0..3 {
        opened(&mut probe).await;
    }
    let report = engine.shutdown(Duration::from_millis(5)).await;
    assert_eq!(report.streams_cut, 3, "nobody has ended the initial halves");
}

#[tokio::test]
async fn a_shutdown_waits_for_holds() {
    let (probe, edge) = probe();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let released = std::sync::Mutex::new(Some(released));
    let engine = Engine::start(1, Limits::default(), move |assembly| {
        edge.attach(assembly, 0, None);
        let hold = assembly.handle().hold();
        let released = released.lock().expect("no panic").take();
        assembly.spawn(async move {
            if let Some(released) = released {
                let _ = released.await;
            }
            drop(hold);
        });
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    let stopping = tokio::spawn(engine.shutdown(TIMEOUT));
    // The worker is shutting down, and still runs turns.
    while !probe.turn(|cx| cx.stopping()).await {}
    assert!(!stopping.is_finished());
    release.send(()).expect("the edge is still there");
    let report = stopping.await.expect("the stop ends");
    assert_eq!(report.streams_cut, 0);
}

#[tokio::test]
async fn holds_left_at_the_timeout_count_as_aborted() {
    let engine = Engine::start(1, Limits::default(), |assembly| {
        let hold = assembly.handle().hold();
        assembly.spawn(async move {
            std::future::pending::<()>().await;
            drop(hold);
        });
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    let report = engine.shutdown(Duration::from_millis(5)).await;
    assert_eq!(report.streams_cut, 1);
}

#[tokio::test]
async fn a_handler_panic_ends_only_its_exchange() {
    let (engine, mut probe) = answered(Limits::default());
    let (doomed, other) = (opened(&mut probe).await, opened(&mut probe).await);
    // This makes the answerer panic.
    let order = Frame::flush(LineOversized::default());
    probe.send(doomed, order).await;
    let (first, second) = (probe.next().await, probe.next().await);
    assert_eq!((first.0.stream, second.0.stream), (doomed, doomed));
    assert!(matches!(first.1, Frame::Reset(_)), "{first:?}");
    assert!(matches!(second.1, Frame::Abort(_)), "{second:?}");

    let payload = bytes::Bytes::from_static(b"still here");
    probe.send(other, Frame::data(payload.clone())).await;
    let (at, frame) = probe.next().await;
    assert_eq!((at.stream, frame), (other, Frame::data(payload)));
    let counters = engine.counters().await;
    assert_eq!((counters[0].faults, counters[0].streams), (1, 1));
    probe.turn(move |cx| cx.terminate(other, None, None)).await;
    assert_eq!(engine.shutdown(TIMEOUT).await.streams_cut, 0);
}

#[tokio::test]
async fn frames_and_streams_are_counted() {
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let (engine, mut probe) = answered(limits);
    let before = engine.counters().await;
    assert_eq!(before[0], tidegate_engine::Counters::default());
    let first = opened(&mut probe).await;
    opened(&mut probe).await;
    let refused = probe
        .turn(move |cx| {
            let this = cx.binding();
            cx.open(this, LineBegin {}, tidegate_engine::Token::default())
        })
        .await;
    assert!(refused.is_err(), "a third stream is above the limit");
    probe.turn(move |cx| cx.terminate(first, None, None)).await;
    probe.send(first, Frame::end()).await;
    let counters = engine.counters().await[0];
    assert_eq!((counters.opened, counters.streams), (2, 1));
    assert_eq!((counters.refused, counters.violations), (1, 0));
    assert_eq!(counters.dropped, 1, "a frame for a stream that is over");
    assert!(counters.frames >= 4);
    engine.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn timers_fire_without_any_traffic() {
    let (mut probe, edge) = probe();
    let engine = Engine::start(1, Limits::default(), move |assembly| {
        let alarm = assembly.attach(Alarm::default());
        edge.attach(assembly, 0, Some(alarm));
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    probe.open(LineBegin {}).await;
    let frames = [
        probe.next().await.1,
        probe.next().await.1,
        probe.next().await.1,
    ];
    assert!(matches!(frames[0], Frame::Begin(_)));
    assert!(matches!(frames[1], Frame::Flush(_)), "the timer of 1 ms");
    assert_eq!(frames[2], Frame::end(), "the timer that it set");
    engine.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn frames_beyond_the_turn_limit_are_delivered_in_the_next_turn() {
    let limits = Limits {
        frames_per_turn: 3,
        ..Limits::default()
    };
    let (engine, mut probe) = answered(limits);
    let stream = opened(&mut probe).await;
    let sent: Vec<_> = (0..100u8).collect();
    let parts = sent.clone();
    probe
        .turn(move |cx| {
            for byte in parts {
                cx.send_whole(stream, bytes::Bytes::from(vec![byte]));
            }
        })
        .await;
    for byte in sent {
        let (_, frame) = probe.next_but_window().await;
        assert_eq!(frame, Frame::data(bytes::Bytes::from(vec![byte])));
    }
    engine.shutdown(Duration::ZERO).await;
}

#[test]
fn a_probe_edge_is_send_and_sync() {
    fn shared<T: Send + Sync>() {}
    shared::<ProbeEdge>();
}
