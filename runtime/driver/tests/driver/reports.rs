//! Metrics of all workers, read by an edge of one of them.

use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use tidegate_driver::{Edge, Engine};
use tidegate_engine::streams::Frame;
use tidegate_engine::{At, Limits, Measures, Meter};
use tokio::sync::oneshot;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Reports one metric.
struct Counting;

impl Edge for Counting {
    fn on_output(&self, _: At, _: Frame) {}

    fn report(&self, meter: &mut dyn Meter) {
        meter.counter("test.workers", 1);
    }
}

/// Keeps its worker busy until the sender of the lock is dropped.
struct Hanging(Mutex<std::sync::mpsc::Receiver<()>>);

impl Edge for Hanging {
    fn on_output(&self, _: At, _: Frame) {}

    fn report(&self, _: &mut dyn Meter) {
        let _ = self.0.lock().expect("no panic").recv();
    }
}

#[tokio::test]
async fn a_worker_that_hangs_is_named_and_not_waited_for() {
    let (tell, received) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let (release, hangs) = std::sync::mpsc::channel();
    let hangs = Mutex::new(Some(hangs));
    let engine = Engine::start(3, Limits::default(), move |assembly| {
        if assembly.worker() == 1 {
            let hangs = hangs.lock().expect("no panic").take().expect("one worker");
            assembly.attach_edge(0, |_, _| Rc::new(Hanging(Mutex::new(hangs))));
        } else {
            assembly
                .of("edge0")
                .attach_edge(0, |_, _| Rc::new(Counting));
        }
        if assembly.worker() == 0 {
            let _ = tell
                .lock()
                .expect("no panic")
                .take()
                .map(|tell| tell.send(assembly.reports()));
        }
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    let reports = received.await.expect("the first worker tells");
    let seen = reports.within(Duration::from_millis(200)).await;
    assert_eq!((seen.count, seen.silent), (3, vec![1]));
    assert_eq!(seen.measures.value("edge0", "test.workers"), 2);
    drop(release);
    let seen = reports.within(TIMEOUT).await;
    assert_eq!((seen.count, seen.silent), (3, vec![]));
    engine.shutdown(TIMEOUT).await;
}

#[tokio::test]
async fn an_edge_reads_the_metrics_of_all_workers() {
    let (tell, received) = oneshot::channel::<Measures>();
    let tell = Mutex::new(Some(tell));
    let engine = Engine::start(3, Limits::default(), move |assembly| {
        assembly
            .of("edge0")
            .attach_edge(0, |_, _| Rc::new(Counting));
        let first = (assembly.worker() == 0).then(|| tell.lock().expect("no panic").take());
        if let Some(tell) = first.flatten() {
            let reports = assembly.reports();
            assembly.spawn(async move {
                let _ = tell.send(reports.all().await);
            });
        }
        Ok(())
    });
    let engine = engine.expect("the engine starts");
    let seen = received.await.expect("the edge tells");
    assert_eq!(seen.value("edge0", "test.workers"), 3);
    assert_eq!(engine.report().await.value("edge0", "test.workers"), 3);
    let report = engine.shutdown(TIMEOUT).await;
    assert_eq!(report.measures.value("edge0", "test.workers"), 3);
}
