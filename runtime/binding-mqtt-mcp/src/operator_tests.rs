//! What operators are told, with a broker that takes answers and acknowledges none.

use serde_json::{Value as Json, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, Measures, StreamId};
use tidegate_options::ActionRoute;
use tidegate_streams::mqtt::{MqttBeginEx, MqttPublish, MqttSubscribe, MqttSubscribeData};
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
        Self::started(options, when, with).0
    }

    /// The same, with the events of the start.
    fn started(options: Json, when: Json, with: Json) -> (Self, Vec<(String, String)>) {
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
        let mut harness = Self {
            rig,
            mqtt,
            subscription,
        };
        let events = harness.all_events();
        (harness, events)
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
        self.publications().len()
    }

    /// The streams of the answers that were published since the last time.
    fn publications(&mut self) -> Vec<StreamId> {
        let outputs = self.rig.outputs(self.mqtt).into_iter();
        let begins = outputs.filter(|it| match &it.frame {
            Frame::Begin(begin) => {
                matches!(**begin, BeginEx::Mqtt(MqttBeginEx::Publish(_)))
            }
            _ => false,
        });
        begins.map(|it| it.at.stream).collect()
    }

    /// The broker acknowledges an answer.
    fn acknowledge(&mut self, stream: StreamId) {
        let begin = Frame::begin(MqttPublish::default());
        self.rig.send(self.mqtt, stream, begin);
        self.rig.send(self.mqtt, stream, Frame::end());
    }

    /// The number of answers that were not published for want of room.
    fn dropped(&self) -> u64 {
        let mut measures = Measures::default();
        self.rig.worker.report(&mut measures);
        measures.labelled("binding", "mqtt_mcp.answers", "dropped")
    }

    /// The events of this name since the last time.
    fn events(&mut self, name: &str) -> Vec<String> {
        let events = self.all_events().into_iter();
        let of_name = events.filter(|(id, _)| id == name);
        of_name.map(|(_, message)| message).collect()
    }

    /// The names and messages of the events since the last time.
    fn all_events(&mut self) -> Vec<(String, String)> {
        let worker = &mut self.rig.worker;
        let events = std::iter::from_fn(|| worker.poll_event());
        events.map(|it| (it.id.to_string(), it.message)).collect()
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

#[test]
fn a_crowd_of_refusals_is_told_once_until_half_of_them_are_gone() {
    let mut harness = Harness::new(
        json!({}),
        json!([{ "topic": "devices/{device}/call" }]),
        json!({ "tool": "brew", "answer": { "topic": "devices/{device}/answer" } }),
    );
    let flood = |harness: &mut Harness, number: usize| {
        for _ in 0..number {
            harness.ask("devices/d1/call", "no JSON");
        }
        harness.events("binding.mqtt_mcp.answer.lost").len()
    };
    assert_eq!(flood(&mut harness, 1_010), 1);
    let publications = harness.publications();
    let (first, rest) = publications.split_at(499);
    assert_eq!((first.len() + rest.len(), harness.dropped()), (1_000, 10));
    for stream in first {
        harness.acknowledge(*stream);
    }
    assert_eq!(flood(&mut harness, 509), 0, "most of them are still there");
    assert_eq!((harness.published(), harness.dropped()), (499, 20));
    for stream in rest.iter().take(500) {
        harness.acknowledge(*stream);
    }
    assert_eq!(flood(&mut harness, 510), 1);
    assert_eq!((harness.published(), harness.dropped()), (500, 30));
}

/// The names of the events at the start.
fn warnings(options: Json, when: Json, with: Json) -> Vec<String> {
    let (_, events) = Harness::started(options, when, with);
    events.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn requests_that_cannot_be_answered_are_warned_of_at_the_start() {
    let unanswerable = ["binding.mqtt_mcp.requests.unanswerable"];
    let when = || json!([{ "topic": "devices/{device}/call" }]);
    let tool = || json!({ "tool": "brew" });
    assert_eq!(warnings(json!({}), when(), tool()), unanswerable);
    let aio = json!({ "protocol": "aio", "tool": "brew" });
    assert_eq!(warnings(json!({}), when(), aio), unanswerable);
    let raw = json!({ "raw": "json-rpc", "allow": ["*"] });
    assert_eq!(warnings(json!({}), when(), raw), unanswerable);
    let none: [&str; 0] = [];
    let named = json!({ "replyTopics": ["devices/{device}/answers/#"] });
    assert_eq!(warnings(named, when(), tool()), none);
    let answered = json!({ "tool": "brew", "answer": { "topic": "devices/{device}/answer" } });
    assert_eq!(warnings(json!({}), when(), answered), none);
    let telemetry = json!({ "tool": "brew", "if": "{{ payload.level < 10 }}" });
    assert_eq!(warnings(json!({}), when(), telemetry), none);
    let told = json!([{ "topic": "devices/{device}/call", "qos": 0 }]);
    assert_eq!(warnings(json!({}), told, tool()), none);
}

#[test]
fn a_condition_that_several_gateways_do_not_share_is_warned_of_at_the_start() {
    let start = |options, more: Json| {
        let mut with = json!({
            "if": "{{ payload.level < 10 }}", "answer": { "topic": "alerts/{m}", "payload": { "low": true } },
        });
        let more = more.as_object().expect("an object").clone();
        with.as_object_mut().expect("an object").extend(more);
        warnings(options, json!([{ "topic": "levels/{m}" }]), with)
    };
    let not_shared = ["binding.mqtt_mcp.condition.not_shared"];
    let none: [&str; 0] = [];
    let group = || json!({ "group": "planners" });
    assert_eq!(start(group(), json!({ "edge": "rising" })), not_shared);
    assert_eq!(start(group(), json!({ "minInterval": 1000 })), not_shared);
    assert_eq!(start(group(), json!({})), none);
    assert_eq!(start(json!({}), json!({ "edge": "rising" })), none);
}

#[test]
fn an_optional_step_that_cannot_start_is_told() {
    let mut harness = Harness::new(
        json!({}),
        json!([{ "topic": "orders/{robot}" }]),
        json!({
            "plan": {
                "one": { "tool": "{{ payload.tool }}", "optional": true },
                "two": { "tool": "get_two", "arguments": { "n": "{{ payload.n }}" }, "optional": true },
                "three": { "tool": "get_three", "optional": true, "when": "{{ payload.tool == 'x' }}" },
            },
            "allow": ["get_*"],
            "answer": { "topic": "plans/{robot}", "payload": { "one": "{{ one is defined }}" } },
        }),
    );
    harness.ask("orders/r1", r#"{"tool":"delete"}"#);
    assert_eq!(harness.published(), 1);
    let events = harness.events("binding.mqtt_mcp.step.completed");
    let refused = "'delete' for 'r1': notAllowed in 0 ms";
    let invalid = "'get_two' for 'r1': invalidRequest in 0 ms";
    assert_eq!(events, [refused, invalid]);
}

#[test]
fn a_topic_of_discover_that_is_one_of_requests_is_warned_of_at_the_start() {
    let start = |topic: &str| {
        let options =
            json!({ "discover": { "topic": topic }, "replyTopics": ["mcp/a/response/#"] });
        let with = json!({ "raw": "json-rpc", "allow": ["*"] });
        warnings(options, json!([{ "topic": "mcp/a/{client}" }]), with)
    };
    let none: [&str; 0] = [];
    assert_eq!(
        start("mcp/a/discover"),
        ["binding.mqtt_mcp.discover.is_request"]
    );
    assert_eq!(start("mcp/b/discover"), none);
}
