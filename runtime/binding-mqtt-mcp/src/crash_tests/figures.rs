//! The figures of the queue.

use tidegate_engine::Measures;

use super::*;

#[test]
fn the_queue_reports_its_requests_and_their_size() {
    let mut outside = Outside::default();
    let mut life = Life::begin(&mut outside, 0);
    let figures = |life: &Life| {
        let mut measures = Measures::default();
        life.rig.worker.report(&mut measures);
        let value = |name| measures.value("binding", name);
        (
            value("mqtt_mcp.queue.requests"),
            value("mqtt_mcp.queue.bytes"),
        )
    };
    assert_eq!(figures(&life), (0, 0));
    for asked in [(0, 0), (1, 1)] {
        outside.asked.push(asked);
        life.deliver(asked);
        life.play(&mut outside);
        life.store(&mut outside);
        life.play(&mut outside);
    }
    life.store(&mut outside);
    let durable = outside.durable.values();
    let bytes: usize = durable.map(|it| it.len() + 64).sum();
    assert_eq!(figures(&life), (2, u64::try_from(bytes).expect("small")));
}
