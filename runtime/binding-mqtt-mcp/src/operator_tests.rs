//! What operators are told, with a broker that takes answers and acknowledges none.

use serde_json::{Value as Json, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, StreamId};
use tidegate_options::ActionRoute;
use tidegate_streams::mqtt::{MqttBeginEx, MqttSubscribe, MqttSubscribeData};
use tidegate_streams::{BeginEx, DataFlags, Frame, Severity};

use crate::MqttMcp;

const WINDOW: u32 = 1 << 20;

struct Harness {
    rig: Rig,
    mqtt: BindingId,
    subscription: StreamId,
}

impl Harness {
    fn new(options: Json, when: Json, with: Json) -> Self {
        let options = serde_json::from_value(options).expect("options");
        let route = ActionRoute {
            when: serde_json::from_value(when).expect("conditions"),
            with: serde_json::from_value(with).expect("an action"),
        };
        let mut rig = Rig::new();
        let (mqtt, mcp) = (rig.edge(WINDOW), rig.edge(WINDOW));
        rig.attach(MqttMcp::new(&options, vec![route], mqtt, mcp, None));
        rig.worker.listen_from(Severity::Debug);
        rig.worker.start();
        rig.turn(mqtt, |_| {});
        let mut outputs = rig.outputs(mqtt).into_iter();
        let begin = outputs.next().expect("it subscribes");
        let subscription = begin.at.stream;
        let begin = Frame::begin(MqttSubscribe::default());
        rig.send(mqtt, subscription, begin);
        Self {
            rig,
            mqtt,
            subscription,
        }
    }

    fn ask(&mut self, topic: &str, payload: &str) {
        let data = MqttSubscribeData {
            topic: topic.into(),
            ..MqttSubscribeData::default()
        };
        let frame = Frame::data_with(DataFlags::WHOLE, payload.to_owned().into(), data);
        self.rig.send(self.mqtt, self.subscription, frame);
    }

    /// The number of answers that were published since the last time.
    fn published(&mut self) -> usize {
        let outputs = self.rig.outputs(self.mqtt).into_iter();
        let begins = outputs.filter(|it| match &it.frame {
            Frame::Begin(begin) => {
                matches!(**begin, BeginEx::Mqtt(MqttBeginEx::Publish(_)))
            }
            _ => false,
        });
        begins.count()
    }

    /// The events of this name since the last time.
    fn events(&mut self, name: &str) -> Vec<String> {
        let worker = &mut self.rig.worker;
        let events = std::iter::from_fn(|| worker.poll_event());
        let of_name = events.filter(|it| it.id == name);
        of_name.map(|it| it.message).collect()
    }
}

#[test]
fn refusals_beyond_the_limit_are_told_and_do_not_take_the_place_of_failures() {
    let mut harness = Harness::new(
        json!({ "concurrency": 1, "perDevice": 1, "maxWaiting": 2, "maxWaitingPerDevice": 2, "timeout": 1000 }),
        json!([{ "topic": "devices/{device}/call" }]),
        json!({ "tool": "brew", "answer": { "topic": "devices/{device}/answer" } }),
    );
    for _ in 0..3 {
        harness.ask("devices/d1/call", "{}");
    }
    for _ in 0..1_000 {
        harness.ask("devices/d1/call", "no JSON");
    }
    assert_eq!(harness.published(), 1_000);
    assert_eq!(harness.events("binding.mqtt_mcp.answer.lost").len(), 0);
    harness.ask("devices/d1/call", "no JSON");
    assert_eq!(harness.published(), 0);
    let lost = harness.events("binding.mqtt_mcp.answer.lost");
    let [lost] = &lost[..] else {
        panic!("{lost:?}")
    };
    assert!(
        lost.contains("'devices/d1/answer'") && lost.contains("1000"),
        "{lost}"
    );
    harness.rig.advance(Duration::from_millis(1_000));
    assert_eq!(harness.published(), 2, "those that waited have failed");
    assert_eq!(harness.events("binding.mqtt_mcp.answer.lost").len(), 0);
}
