//! A server over MQTT, with any behaviour of the broker and of the server: each caller gets an answer, a reply counts
//! for its own request only, and nothing is left.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, CallContext, Duration, StreamId, Token};
use tidegate_streams::mcp::{McpLifecycle, McpResourcesSubscribe, McpToolsCall};
use tidegate_streams::mqtt::{
    MqttBeginEx, MqttDataEx, MqttDelivery, MqttEnd, MqttGap, MqttPublish, MqttReset, MqttSubscribe,
    MqttSubscribeData,
};
use tidegate_streams::{BeginEx, DataEx, DataFlags, EndEx, Frame, FrameKind, Pooled};

use crate::client::{Exit, McpClient, Options};

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Call,
    Session,
    Subscribe,
    /// A caller ends what it has begun.
    Leave(usize),
    /// The server answers a request: the one of this number, with this text.
    Reply(usize, Text),
    /// What the server says of itself.
    Announce(&'static str),
    /// Any message on any topic.
    Noise(Vec<u8>),
    /// The connection to the broker was lost for a while.
    Gap,
    /// The subscription ends.
    Lose,
    Pause(u64),
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Result,
    Error,
    Acknowledgement,
    Progress,
    Other,
}

/// What the broker does with a publication.
#[derive(Debug, Clone, Copy)]
enum Broker {
    Takes,
    HasNobody,
    Refuses,
    MayHaveIt,
    IsSilent,
}

const HERE: &str = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}}}"#;

fn step() -> impl Strategy<Value = Step> {
    let texts = prop::sample::select(vec![
        Text::Result,
        Text::Result,
        Text::Error,
        Text::Acknowledgement,
        Text::Progress,
        Text::Other,
    ]);
    prop_oneof![
        3 => Just(Step::Call),
        1 => Just(Step::Session),
        2 => Just(Step::Subscribe),
        2 => (0..8_usize).prop_map(Step::Leave),
        6 => (0..8_usize, texts).prop_map(|(request, text)| Step::Reply(request, text)),
        2 => prop::sample::select(vec![HERE, HERE, "", "{}", "{"]).prop_map(Step::Announce),
        1 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Step::Noise),
        1 => Just(Step::Gap),
        1 => Just(Step::Lose),
        2 => (0..150_000_u64).prop_map(Step::Pause),
    ]
}

fn broker() -> impl Strategy<Value = Broker> {
    prop::sample::select(vec![
        Broker::Takes,
        Broker::Takes,
        Broker::Takes,
        Broker::HasNobody,
        Broker::Refuses,
        Broker::MayHaveIt,
        Broker::IsSilent,
    ])
}

/// A request that the server has received.
struct Request {
    topic: ByteString,
    correlation: Bytes,
    id: Value,
}

struct Plant {
    rig: Rig,
    client: BindingId,
    caller: BindingId,
    exit: BindingId,
    subscription: Option<StreamId>,
    calls: Vec<StreamId>,
    /// Publications whose message is not complete.
    open: BTreeMap<StreamId, Vec<u8>>,
    data: BTreeMap<StreamId, (Option<ByteString>, Bytes)>,
    requests: Vec<Request>,
}

impl Plant {
    fn new() -> Self {
        let options =
            json!({ "mqtt": { "base": "mcp/boiler", "client": "gateway" }, "timeout": 5_000 });
        let options: Options = serde_json::from_value(options).expect("valid");
        let mut rig = Rig::new();
        let exit = rig.edge(1 << 20);
        let client = rig.attach(McpClient::new(options, Exit::Mqtt(exit)));
        let caller = rig.edge(1 << 20);
        rig.worker.start();
        rig.turn(exit, |_| {});
        let mut plant = Self {
            rig,
            client,
            caller,
            exit,
            subscription: None,
            calls: Vec::new(),
            open: BTreeMap::new(),
            data: BTreeMap::new(),
            requests: Vec::new(),
        };
        plant.play(Broker::Takes);
        plant
    }

    fn call(&mut self, begin: impl Into<BeginEx>, params: &'static str) {
        let (caller, client) = (self.caller, self.client);
        let begin = begin.into();
        let context = CallContext {
            deadline: Some(self.rig.now() + Duration::from_secs(10)),
            ..CallContext::default()
        };
        let stream = self.rig.turn(caller, |cx| {
            let opened = cx.open_for(context, client, begin, Token::default());
            let stream = opened.expect("room");
            if !params.is_empty() {
                cx.send_whole(stream, Bytes::from_static(params.as_bytes()));
            }
            stream
        });
        self.calls.push(stream);
    }

    fn send(&mut self, data: MqttSubscribeData, payload: Vec<u8>) {
        if let Some(stream) = self.subscription {
            let frame = Frame::data_with(DataFlags::WHOLE, payload.into(), data);
            self.rig.send(self.exit, stream, frame);
        }
    }

    fn reply(&mut self, request: usize, text: Text) {
        let Some(request) = self.requests.get(request) else {
            return;
        };
        let id = &request.id;
        let subscription = json!({ "io.modelcontextprotocol/subscriptionId": id });
        let message = match text {
            Text::Result => {
                json!({ "jsonrpc": "2.0", "id": id, "result": { "resultType": "complete", "content": [] } })
            }
            Text::Error => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32000, "message": "no" } })
            }
            Text::Acknowledgement => json!({
                "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": { "_meta": subscription, "notifications": { "resourceSubscriptions": ["a:b"] } },
            }),
            Text::Progress => json!({
                "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": id, "progress": 1 },
            }),
            // The id of another request.
            Text::Other => json!({ "jsonrpc": "2.0", "id": 1_000, "result": {} }),
        };
        let data = MqttSubscribeData {
            topic: request.topic.clone(),
            correlation: Some(request.correlation.clone()),
            ..MqttSubscribeData::default()
        };
        self.send(data, message.to_string().into_bytes());
    }

    fn on(&mut self, topic: &'static str, payload: Vec<u8>) {
        let data = MqttSubscribeData {
            topic: topic.into(),
            ..MqttSubscribeData::default()
        };
        self.send(data, payload);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Call => {
                let begin = McpToolsCall {
                    name: "t".into(),
                    ..McpToolsCall::default()
                };
                let params = r#"{"name":"t","arguments":{},"_meta":{"progressToken":1}}"#;
                self.call(begin, params);
            }
            Step::Session => self.call(McpLifecycle::default(), ""),
            Step::Subscribe => {
                let begin = McpResourcesSubscribe {
                    uri: "a:b".into(),
                    ..McpResourcesSubscribe::default()
                };
                self.call(begin, r#"{"uri":"a:b"}"#);
            }
            Step::Leave(call) => {
                if let Some(stream) = self.calls.get(*call).copied() {
                    self.rig.turn(self.caller, |cx| {
                        cx.end(stream, Frame::end());
                        cx.terminate(stream, None, None);
                    });
                }
            }
            Step::Reply(request, text) => self.reply(*request, *text),
            Step::Announce(text) => self.on("mcp/boiler/discover", text.as_bytes().to_vec()),
            Step::Noise(payload) => self.on("mcp/boiler/response/gateway/x", payload.clone()),
            Step::Gap => {
                if let Some(stream) = self.subscription {
                    let gap = MqttGap { milliseconds: 10 };
                    self.rig.send(self.exit, stream, Frame::flush(gap));
                }
            }
            Step::Lose => {
                if let Some(stream) = self.subscription.take() {
                    self.rig
                        .turn(self.exit, |cx| cx.terminate(stream, None, None));
                }
            }
            Step::Pause(millis) => self.rig.advance(Duration::from_millis(*millis)),
        }
    }

    /// Plays the broker until the binding sends nothing more.
    fn play(&mut self, broker: Broker) {
        loop {
            let outputs = self.rig.outputs(self.exit);
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.on_exit(output.at.stream, output.frame, broker);
            }
        }
        self.rig.outputs(self.caller);
    }

    fn on_exit(&mut self, stream: StreamId, frame: Frame, broker: Broker) {
        match frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mqtt(MqttBeginEx::Subscribe(_)) => {
                    self.subscription = Some(stream);
                    let begin = Frame::begin(MqttSubscribe::default());
                    self.rig.send(self.exit, stream, begin);
                }
                BeginEx::Mqtt(MqttBeginEx::Publish(publish)) => {
                    assert_eq!(publish.topic, "mcp/boiler/request/gateway");
                    self.open.insert(stream, Vec::new());
                }
                other => panic!("{other:?}"),
            },
            Frame::Data(data) => {
                if let Some(DataEx::Mqtt(MqttDataEx::Publish(it))) =
                    data.extension.map(Pooled::into_inner)
                {
                    assert!(it.expiry_interval > 0, "it expires");
                    let correlation = it.correlation.expect("a correlation");
                    self.data.insert(stream, (it.response_topic, correlation));
                }
                let message = self.open.get_mut(&stream).expect("it has begun");
                message.extend_from_slice(&data.payload);
            }
            Frame::End(_) if self.subscription == Some(stream) => {
                self.subscription = None;
                self.rig.send(self.exit, stream, Frame::end());
            }
            Frame::End(_) => self.on_message(stream, broker),
            Frame::Abort(_) | Frame::Reset(_) => {
                self.rig
                    .turn(self.exit, |cx| cx.terminate(stream, None, None));
            }
            Frame::Window(_) | Frame::Flush(_) | Frame::Challenge(_) => {}
        }
    }

    fn on_message(&mut self, stream: StreamId, broker: Broker) {
        let Some(message) = self.open.remove(&stream) else {
            return;
        };
        let message: Value = serde_json::from_slice(&message).expect("JSON");
        let (topic, correlation) = self.data.remove(&stream).expect("its properties");
        match message["method"].as_str() {
            Some("notifications/cancelled") => assert_eq!(topic, None),
            _ => self.requests.push(Request {
                topic: topic.expect("a response topic"),
                correlation,
                id: message["id"].clone(),
            }),
        }
        let end = match broker {
            Broker::Takes => MqttEnd::default(),
            Broker::HasNobody => MqttEnd {
                reason_code: 0x10,
                ..MqttEnd::default()
            },
            Broker::Refuses | Broker::MayHaveIt => {
                let refused = matches!(broker, Broker::Refuses);
                let reset = MqttReset {
                    refused,
                    delivery: if refused {
                        MqttDelivery::None
                    } else {
                        MqttDelivery::Possible
                    },
                    ..MqttReset::default()
                };
                self.rig.turn(self.exit, |cx| {
                    cx.terminate(stream, Some(reset.into()), None);
                });
                return;
            }
            // `mqtt · client` answers at the deadline.
            Broker::IsSilent => {
                self.rig.advance(Duration::from_secs(1));
                let reset = MqttReset::default();
                self.rig.turn(self.exit, |cx| {
                    cx.terminate(stream, Some(reset.into()), None);
                });
                return;
            }
        };
        self.rig
            .send(self.exit, stream, Frame::begin(MqttPublish::default()));
        self.rig
            .send(self.exit, stream, Frame::end_with(EndEx::Mqtt(end)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_comes_each_call_ends_and_nothing_is_left(
        steps in prop::collection::vec((step(), broker()), 0..40),
    ) {
        let mut plant = Plant::new();
        plant.on("mcp/boiler/discover", HERE.into());
        plant.play(Broker::Takes);
        for (step, broker) in &steps {
            plant.step(step);
            plant.play(*broker);
        }
        // Calls have a deadline; what stays open is ended by its caller.
        plant.rig.advance(Duration::from_secs(20));
        plant.play(Broker::Takes);
        for stream in std::mem::take(&mut plant.calls) {
            plant.rig.turn(plant.caller, |cx| {
                cx.end(stream, Frame::end());
                cx.terminate(stream, None, None);
            });
        }
        plant.play(Broker::Takes);
        let now = plant.rig.now();
        plant.rig.worker.shutdown_within(now, Duration::from_secs(10));
        plant.rig.turn(plant.exit, |_| {});
        plant.play(Broker::Takes);
        plant.rig.assert_idle();
    }
}

/// The result of a call, by its text.
fn results(frames: Vec<Frame>) -> Vec<Bytes> {
    let data = frames.into_iter().filter_map(|frame| match frame {
        Frame::Data(data) => Some(data.payload),
        _ => None,
    });
    data.collect()
}

#[test]
fn a_reply_counts_for_its_own_request_only() {
    let mut plant = Plant::new();
    plant.on("mcp/boiler/discover", HERE.into());
    for _ in 0..2 {
        plant.step(&Step::Call);
        plant.rig.outputs(plant.caller);
        let outputs = plant.rig.outputs(plant.exit);
        for output in outputs {
            plant.on_exit(output.at.stream, output.frame, Broker::Takes);
        }
    }
    let [first, second] = plant.calls[..] else {
        panic!("two calls")
    };
    let [one, two] = &plant.requests[..] else {
        panic!("two requests")
    };
    assert_ne!(one.correlation, two.correlation);
    // The id of the second request, with the correlation of the first.
    let message = json!({ "jsonrpc": "2.0", "id": two.id, "result": { "content": [] } });
    let data = MqttSubscribeData {
        topic: one.topic.clone(),
        correlation: Some(one.correlation.clone()),
        ..MqttSubscribeData::default()
    };
    plant.send(data, message.to_string().into_bytes());
    for stream in [first, second] {
        let frames = plant.rig.frames(plant.caller, stream);
        assert!(frames.iter().all(|frame| frame.kind() == FrameKind::Window));
    }
    plant.reply(1, Text::Result);
    let frames = plant.rig.frames(plant.caller, second);
    assert_eq!(results(frames).concat(), b"{\"content\":[]}");
    plant.reply(0, Text::Result);
    let frames = plant.rig.frames(plant.caller, first);
    assert_eq!(results(frames).concat(), b"{\"content\":[]}");
}
