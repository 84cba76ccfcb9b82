//! What an operator is told of the clock when the queue is read.

use serde_json::{Value as Json, json};
use tidegate_engine::WallTime;
use tidegate_engine::testing::Rig;
use tidegate_options::ActionRoute;
use tidegate_streams::store::{StoreBegin, StoreRecord, StoreStored};
use tidegate_streams::{DataFlags, Frame};

use crate::MqttMcp;
use crate::answering::REMEMBER_MAX;

/// The wall clock when the queue is read, in milliseconds.
const NOW: u64 = 1_767_225_600_000;

/// The sentences of the events about the clock, if the file has these records.
fn told(records: &[Json]) -> Vec<String> {
    let with = json!({ "tool": "brew", "answer": { "topic": "answers/{device}" } });
    let route = ActionRoute {
        when: serde_json::from_value(json!([{ "topic": "ask/{device}" }])).expect("valid"),
        with: serde_json::from_value(with).expect("valid"),
    };
    let options = serde_json::from_value(json!({})).expect("valid");
    let mut rig = Rig::new();
    let now = rig.now();
    rig.worker
        .set_wall_clock(now, WallTime::from_unix_millis(NOW));
    let (mqtt, mcp, file) = (rig.edge(1 << 20), rig.edge(1 << 20), rig.edge(1 << 20));
    rig.attach(MqttMcp::new(&options, vec![route], mqtt, mcp, Some(file)));
    rig.worker.start();
    rig.turn(file, |_| {});
    let stream = rig.outputs(file).first().expect("it is read").at.stream;
    rig.send(file, stream, Frame::begin(StoreBegin { max_size: 100_000 }));
    for (record, index) in records.iter().zip(0..) {
        let place = StoreRecord {
            key: index << 2 | u64::from(record.get("answer").is_some()) << 1,
            ..StoreRecord::default()
        };
        let frame = Frame::data_with(DataFlags::WHOLE, record.to_string().into(), place);
        rig.send(file, stream, frame);
    }
    rig.send(file, stream, Frame::flush(StoreStored { number: 0 }));
    let events = std::iter::from_fn(|| rig.worker.poll_event());
    let events = events.filter(|it| it.id == "binding.mqtt_mcp.queue.clock");
    events.map(|it| it.message).collect()
}

fn request(received: u64) -> Json {
    json!({ "request": { "received": received, "topic": "ask/d1", "payload": "{}" } })
}

/// An answer that is remembered until then.
fn answer(until: u64) -> Json {
    let known = json!({
        "topic": "ask/d1", "correlation": "1", "until": until,
        "content": { "base64": "Z0V+Fq6N399fjSiNWcrQUvlUQM8JqjFGhTatFqs2aTw=" },
    });
    json!({ "answer": { "device": "d1", "executed": "yes", "known": known } })
}

#[test]
fn a_clock_that_was_set_back_is_an_event() {
    let day = REMEMBER_MAX.as_millis();
    let expected = "the clock was set back by 60 s or more since the queue was written: what is in it expires later";
    let ahead = [request(NOW - 5_000), request(NOW + 60_999), request(NOW)];
    assert_eq!(told(&ahead), [expected]);
    assert_eq!(told(&[answer(NOW + day + 60_000)]), [expected]);
    let long_ago = told(&[request(NOW + 1_000 * day)]);
    assert!(long_ago[0].contains("86400000 s"), "{long_ago:?}");
}

#[test]
fn a_clock_that_goes_on_is_none() {
    let day = REMEMBER_MAX.as_millis();
    let records = [
        request(NOW - 1_000 * day),
        request(NOW),
        answer(NOW + day),
        request(NOW + 999),
    ];
    assert_eq!(told(&records), Vec::<String>::new());
    assert_eq!(told(&[]), Vec::<String>::new());
}
