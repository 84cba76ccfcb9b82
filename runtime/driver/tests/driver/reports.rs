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
