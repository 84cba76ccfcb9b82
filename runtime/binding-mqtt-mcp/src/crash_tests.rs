//! The binding with a played broker, tool server and file, while the process ends at any moment: what holds with a queue.
//!
//! A crash leaves the writes that were durable, and perhaps some of those on their way. The broker sends again
//! what was not acknowledged, and perhaps what was acknowledged last.

mod figures;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, Output, StreamId, WallTime};
use tidegate_options::ActionRoute;
use tidegate_streams::mcp::{McpBeginEx, McpToolsCall, McpToolsList};
use tidegate_streams::mqtt::{
    MqttBeginEx, MqttDataEx, MqttFlushEx, MqttPublish, MqttSubscribe, MqttSubscribeData,
};
use tidegate_streams::store::{StoreBegin, StoreRecord, StoreStored};
use tidegate_streams::{BeginEx, Data, DataEx, DataFlags, FlushEx, Frame, Pooled};

use crate::MqttMcp;

const WINDOW: u32 = 1 << 20;
/// Devices.
const DEVICES: usize = 3;

/// What happens next. Indexes select one of what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A device asks.
    Ask(usize),
    /// A device asks again what it asked before.
    Repeat(usize),
    /// The writes that wait become durable.
    Store,
    /// A tool answers.
    Answer(usize),
    /// The broker acknowledges an answer.
    Acknowledge(usize),
    Wait(u64),
    /// The gateway is stopped, and started again. So many calls are answered meanwhile.
    Stop(usize),
    /// The process ends. So many writes on their way become durable, and so many acknowledgements are lost.
    Crash {
        written: usize,
        lost: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..DEVICES).prop_map(Step::Ask),
        2 => (0..8_usize).prop_map(Step::Repeat),
        6 => Just(Step::Store),
        5 => (0..8_usize).prop_map(Step::Answer),
        5 => (0..8_usize).prop_map(Step::Acknowledge),
        1 => (0..300_u64).prop_map(Step::Wait),
        1 => (0..4_usize).prop_map(Step::Stop),
        2 => (0..12_usize, 0..3_usize).prop_map(|(written, lost)| Step::Crash { written, lost }),
    ]
}

/// A request: its device and its number.
type Asked = (usize, usize);

/// What outlives the process.
#[derive(Debug, Default)]
struct Outside {
    durable: BTreeMap<u64, Bytes>,
    /// Requests that the broker keeps.
    unacknowledged: VecDeque<Asked>,
    /// Those that were acknowledged last.
    acknowledged: Vec<Asked>,
    asked: Vec<Asked>,
    executed: BTreeMap<Asked, usize>,
    /// The answers that the broker has received, in order.
    answers: Vec<(Asked, Json)>,
}

/// One life of the process.
struct Life {
    rig: Rig,
    mqtt: BindingId,
    mcp: BindingId,
    file: BindingId,
    subscription: Option<StreamId>,
    store: Option<StreamId>,
    /// What the broker has delivered, by number.
    delivered: Vec<Asked>,
    writes: Vec<(StoreRecord, Bytes)>,
    calls: Vec<StreamId>,
    /// Lists of tools.
    lists: Vec<StreamId>,
    publications: Vec<StreamId>,
}

impl Life {
    fn begin(outside: &mut Outside, millis: u64) -> Self {
        let options = json!({
            "concurrency": 3, "perDevice": 1, "timeout": 3_600_000, "remember": 3_600_000,
        });
        let with = json!({
            "tool": "brew", "arguments": { "cup": "{{ topic.device }}-{{ payload.id }}" },
            "answer": { "topic": "answers/{device}" },
        });
        let route = ActionRoute {
            when: serde_json::from_value(json!([{ "topic": "ask/{device}" }])).expect("valid"),
            with: serde_json::from_value(with).expect("valid"),
        };
        let options = serde_json::from_value(options).expect("valid");
        let mut rig = Rig::new();
        let now = rig.now();
        let wall = WallTime::from_unix_millis(1_767_225_600_000 + millis);
        rig.worker.set_wall_clock(now, wall);
        let (mqtt, mcp, file) = (rig.edge(WINDOW), rig.edge(WINDOW), rig.edge(WINDOW));
        rig.attach(MqttMcp::new(&options, vec![route], mqtt, mcp, Some(file)));
        rig.worker.start();
        let mut life = Self {
            rig,
            mqtt,
            mcp,
            file,
            subscription: None,
            store: None,
            delivered: Vec::new(),
            writes: Vec::new(),
            calls: Vec::new(),
            lists: Vec::new(),
            publications: Vec::new(),
        };
        life.rig.turn(mqtt, |_| {});
        life.play(outside);
        // The broker sends what it keeps again.
        for asked in outside.unacknowledged.clone() {
            life.deliver(asked);
            life.play(outside);
        }
        life
    }

    fn deliver(&mut self, asked: Asked) {
        let stream = self.subscription.expect("it has subscribed");
        self.delivered.push(asked);
        let (device, number) = asked;
        let data = MqttSubscribeData {
            topic: format!("ask/d{device}").into(),
            qos: 1,
            number: self.delivered.len() as u64,
            ..MqttSubscribeData::default()
        };
        let payload = json!({ "id": number }).to_string();
        let frame = Frame::data_with(DataFlags::WHOLE, payload.into(), data);
        self.rig.send(self.mqtt, stream, frame);
    }

    /// Takes what the binding has sent, until it sends nothing more.
    fn play(&mut self, outside: &mut Outside) {
        loop {
            let of_mqtt = self.rig.outputs(self.mqtt);
            let of_mcp = self.rig.outputs(self.mcp);
            let of_file = self.rig.outputs(self.file);
            if of_mqtt.is_empty() && of_mcp.is_empty() && of_file.is_empty() {
                return;
            }
            for output in of_mqtt {
                self.on_mqtt(output, outside);
            }
            for output in of_mcp {
                self.on_mcp(output, outside);
            }
            for output in of_file {
                self.on_store(output, outside);
            }
        }
    }

    fn on_mqtt(&mut self, output: Output, outside: &mut Outside) {
        let stream = output.at.stream;
        match output.frame {
            Frame::Begin(begin) => {
                if let BeginEx::Mqtt(MqttBeginEx::Subscribe(_)) = begin.into_inner() {
                    self.subscription = Some(stream);
                    let begin = Frame::begin(MqttSubscribe {
                        session_expiry: 60,
                        ..MqttSubscribe::default()
                    });
                    self.rig.send(self.mqtt, stream, begin);
                }
            }
            Frame::Flush(flush) => {
                let FlushEx::Mqtt(MqttFlushEx::Acknowledge(it)) = *flush else {
                    panic!("{flush:?}")
                };
                let asked = self.delivered[usize::try_from(it.number).expect("small") - 1];
                outside.unacknowledged.retain(|it| *it != asked);
                outside.acknowledged.push(asked);
            }
            Frame::Data(data) => {
                let payload: Json = serde_json::from_slice(&data.payload).expect("JSON");
                let Some(DataEx::Mqtt(MqttDataEx::Publish(_))) =
                    data.extension.map(Pooled::into_inner)
                else {
                    panic!("an answer")
                };
                let number = usize::try_from(payload["id"].as_u64().expect("an id"));
                let number = number.expect("small");
                let asked = outside.asked.iter().copied().find(|it| it.1 == number);
                outside
                    .answers
                    .push((asked.expect("it was asked"), payload));
            }
            Frame::End(_) => self.publications.push(stream),
            _ => {}
        }
    }

    fn on_mcp(&mut self, output: Output, outside: &mut Outside) {
        let stream = output.at.stream;
        if let Frame::Begin(begin) = &output.frame
            && let BeginEx::Mcp(McpBeginEx::ToolsList(_)) = &**begin
        {
            self.lists.push(stream);
            let tools = Bytes::from_static(br#"{"tools":[{"name":"brew"}]}"#);
            let begin = Frame::begin(McpToolsList::default());
            self.rig.send(self.mcp, stream, begin);
            self.rig.send(self.mcp, stream, Frame::data(tools));
            self.rig.send(self.mcp, stream, Frame::end());
        }
        if self.lists.contains(&stream) {
            return;
        }
        if let Frame::Data(data) = output.frame {
            let params: Json = serde_json::from_slice(&data.payload).expect("JSON");
            let cup = params["arguments"]["cup"].as_str().expect("a text");
            let (_, number) = cup.split_once('-').expect("device and number");
            let number: usize = number.parse().expect("a number");
            let asked = outside.asked.iter().copied().find(|it| it.1 == number);
            *outside
                .executed
                .entry(asked.expect("it was asked"))
                .or_default() += 1;
            self.calls.push(stream);
        }
    }

    fn on_store(&mut self, output: Output, outside: &mut Outside) {
        let stream = output.at.stream;
        match output.frame {
            Frame::Begin(_) => {
                self.store = Some(stream);
                let max_size = 1 << 20;
                let records = outside.durable.clone();
                self.rig.turn(self.file, |cx| {
                    cx.send(stream, Frame::begin(StoreBegin { max_size }));
                    for (key, payload) in records {
                        let record = StoreRecord {
                            key,
                            ..StoreRecord::default()
                        };
                        let extension = Some(Pooled::new(record.into()));
                        let flags = DataFlags::WHOLE;
                        cx.send(
                            stream,
                            Frame::Data(Data {
                                flags,
                                payload,
                                extension,
                            }),
                        );
                    }
                    cx.send(stream, Frame::flush(StoreStored { number: 0 }));
                });
            }
            Frame::Data(data) => {
                let length = data.payload.len();
                self.rig
                    .turn(self.file, |cx| cx.acknowledge(stream, length));
                if let Some(DataEx::Store(record)) = data.extension.map(Pooled::into_inner) {
                    self.writes.push((record, data.payload));
                }
            }
            Frame::End(_) => {
                self.write(outside, usize::MAX);
                self.rig.send(self.file, stream, Frame::end());
            }
            _ => {}
        }
    }

    /// Makes the first writes durable, and returns the number of the last one.
    fn write(&mut self, outside: &mut Outside, count: usize) -> Option<u64> {
        let count = count.min(self.writes.len());
        let mut last = None;
        for (record, content) in self.writes.drain(..count) {
            last = Some(record.number);
            if record.removed {
                outside.durable.remove(&record.key);
            } else {
                outside.durable.insert(record.key, content);
            }
        }
        last
    }

    fn store(&mut self, outside: &mut Outside) {
        if let (Some(number), Some(stream)) = (self.write(outside, usize::MAX), self.store) {
            let stored = Frame::flush(StoreStored { number });
            self.rig.send(self.file, stream, stored);
        }
    }

    fn answer(&mut self, place: usize) {
        if self.calls.is_empty() {
            return;
        }
        let stream = self.calls.remove(place % self.calls.len());
        let result = Bytes::from_static(br#"{"content":[]}"#);
        self.rig
            .send(self.mcp, stream, Frame::begin(McpToolsCall::default()));
        self.rig.send(self.mcp, stream, Frame::data(result));
        self.rig.send(self.mcp, stream, Frame::end());
    }

    /// An orderly end, in which so many calls are answered. What is still on its way then is cut off.
    fn stop(&mut self, outside: &mut Outside, answers: usize) {
        let now = self.rig.now();
        self.rig
            .worker
            .shutdown_within(now, Duration::from_secs(10));
        self.rig.turn(self.mqtt, |_| {});
        self.play(outside);
        for _ in 0..answers {
            self.answer(0);
            self.play(outside);
        }
        for _ in 0..20 {
            self.rig.advance(Duration::from_secs(1));
            self.play(outside);
            self.store(outside);
            self.play(outside);
            self.acknowledge(0);
            self.play(outside);
        }
        self.write(outside, usize::MAX);
    }

    fn acknowledge(&mut self, place: usize) {
        if self.publications.is_empty() {
            return;
        }
        let stream = self.publications.remove(place % self.publications.len());
        self.rig
            .send(self.mqtt, stream, Frame::begin(MqttPublish::default()));
        self.rig.send(self.mqtt, stream, Frame::end());
    }
}

fn play(steps: &[Step]) -> Outside {
    let mut outside = Outside::default();
    let mut millis = 0;
    let mut life = Life::begin(&mut outside, millis);
    for step in steps {
        millis += 1;
        match *step {
            Step::Ask(device) => {
                let asked = (device, outside.asked.len() + 1);
                outside.asked.push(asked);
                outside.unacknowledged.push_back(asked);
                life.deliver(asked);
            }
            Step::Repeat(place) => {
                if let Some(asked) = outside.asked.iter().rev().nth(place).copied() {
                    outside.unacknowledged.push_back(asked);
                    life.deliver(asked);
                }
            }
            Step::Store => life.store(&mut outside),
            Step::Answer(place) => life.answer(place),
            Step::Acknowledge(place) => life.acknowledge(place),
            Step::Wait(time) => {
                millis += time;
                life.rig.advance(Duration::from_millis(time));
            }
            Step::Stop(answers) => {
                life.stop(&mut outside, answers);
                outside.acknowledged.clear();
                life = Life::begin(&mut outside, millis);
            }
            Step::Crash { written, lost } => {
                life.write(&mut outside, written);
                let kept = outside.acknowledged.len().saturating_sub(lost);
                // The broker sends what was not acknowledged in its order.
                let again = outside.acknowledged.split_off(kept);
                outside.unacknowledged.extend(again);
                outside
                    .unacknowledged
                    .make_contiguous()
                    .sort_by_key(|it| it.1);
                life = Life::begin(&mut outside, millis);
            }
        }
        life.play(&mut outside);
    }
    // All that can happen without a crash happens.
    for _ in 0..outside.asked.len() * 8 + 8 {
        life.store(&mut outside);
        life.play(&mut outside);
        life.answer(0);
        life.play(&mut outside);
        life.acknowledge(0);
        life.play(&mut outside);
    }
    assert_eq!((life.calls.len(), life.publications.len()), (0, 0));
    life.stop(&mut outside, 0);
    outside
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_request_is_lost_or_executed_twice_whenever_the_process_ends(
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let outside = play(&steps);
        for (asked, count) in &outside.executed {
            prop_assert!(*count == 1, "{asked:?} was executed {count} times");
        }
        let mut last = [0; DEVICES];
        let mut told: BTreeMap<Asked, Vec<&Json>> = BTreeMap::new();
        for (asked, answer) in &outside.answers {
            let before = told.entry(*asked).or_default();
            if before.is_empty() {
                prop_assert!(last[asked.0] < asked.1, "{asked:?} is answered after {}", last[asked.0]);
                last[asked.0] = asked.1;
            }
            before.push(answer);
        }
        for asked in &outside.asked {
            let answers = told.get(asked);
            prop_assert!(answers.is_some(), "{asked:?} was not answered");
            for answer in answers.into_iter().flatten() {
                prop_assert_eq!(*answer, answers.expect("some")[0], "it gets the same answer again");
                let status = answer["status"].as_str();
                prop_assert!(status == Some("done") || status == Some("unknown"), "{answer}");
                prop_assert!(status == Some("unknown") || outside.executed.contains_key(asked));
            }
        }
        prop_assert!(outside.unacknowledged.is_empty());
    }
}

#[test]
fn a_crash_after_each_step_of_a_request() {
    use Step::{Acknowledge, Answer, Ask, Crash, Store};
    let steps = [Ask(0), Store, Answer(0), Store, Acknowledge(0), Store];
    let outcomes = [
        ("done", "nothing was stored: the broker sends it again"),
        ("unknown", "a tool was called"),
        ("unknown", "its answer was not stored"),
        ("done", "it was published, and is published again"),
        ("done", "that it was delivered was not stored"),
        ("done", "it is answered as before"),
    ];
    for (index, (status, why)) in outcomes.into_iter().enumerate() {
        let crash = Crash {
            written: 0,
            lost: 1,
        };
        let begun = [&steps[..=index], &[crash]].concat();
        let outside = play(&begun);
        let statuses: Vec<&Json> = outside
            .answers
            .iter()
            .map(|(_, it)| &it["status"])
            .collect();
        assert!(!statuses.is_empty(), "{why}");
        assert!(
            statuses.iter().all(|it| *it == status),
            "{why}: {statuses:?}"
        );
        assert_eq!(outside.executed.get(&(0, 1)), Some(&1), "{why}");
    }
}

#[test]
fn a_device_that_asks_again_before_a_crash_is_told_the_same() {
    use Step::{Answer, Ask, Crash, Repeat, Store};
    let crash = Crash {
        written: 0,
        lost: 0,
    };
    let outside = play(&[Ask(0), Store, Answer(0), Repeat(0), crash]);
    let statuses: Vec<&Json> = outside
        .answers
        .iter()
        .map(|(_, it)| &it["status"])
        .collect();
    assert!(!statuses.is_empty());
    assert!(statuses.iter().all(|it| *it == "unknown"), "{statuses:?}");
}
