//! The binding between two edges: every mapping, refusal, limit and end of a stream.

mod lists;
mod operators;
mod publish;
mod read;
mod receive;
mod refusals;
mod sessions;
mod subscribe;

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Duration, StreamId};
use tidegate_streams::mcp::{McpEnd, McpOutcome, McpReset, McpToolsCall};
use tidegate_streams::mqtt::{
    MqttBeginEx, MqttDataEx, MqttDelivery, MqttPublish, MqttPublishData, MqttReset, MqttSubscribe,
    MqttSubscribeData, MqttSubscribeFlags, MqttTopicFilter,
};
use tidegate_streams::{BeginEx, DataEx, DataFlags, EndEx, Frame, ResetEx};

use crate::{McpMqtt, Options};

const MIB: u32 = 1 << 20;

/// The binding between a caller of mcp streams and a callee of mqtt streams.
struct Harness {
    rig: Rig,
    caller: BindingId,
    exit: BindingId,
    proxy: BindingId,
}

fn harness(options: &str) -> Harness {
    harness_with_windows(options, MIB, MIB)
}

fn harness_with_windows(options: &str, caller_window: u32, exit_window: u32) -> Harness {
    let options: Options = serde_json::from_str(options).expect("legal options");
    let mut rig = Rig::new();
    let exit = rig.edge(exit_window);
    let proxy = rig.attach(McpMqtt::new(&options, exit));
    let caller = rig.edge(caller_window);
    Harness {
        rig,
        caller,
        exit,
        proxy,
    }
}

/// A complete answer.
#[derive(Debug, PartialEq)]
struct Answered {
    json: serde_json::Value,
    end: McpEnd,
}

impl Answered {
    /// The sentence of a tool error.
    fn sentence(&self) -> String {
        assert_eq!(self.end.outcome, McpOutcome::Error, "{}", self.json);
        assert_eq!(self.json["isError"], true);
        self.json["content"][0]["text"]
            .as_str()
            .expect("a text")
            .to_owned()
    }
}

impl Harness {
    fn open(&mut self, begin: impl Into<BeginEx>) -> StreamId {
        let within = Duration::from_secs(60);
        self.rig.open_within(self.caller, self.proxy, begin, within)
    }

    /// Calls a tool with arguments as JSON.
    fn call(&mut self, name: &str, arguments: &str) -> StreamId {
        self.call_with(
            McpToolsCall {
                name: name.into(),
                session_id: Some("s-1".into()),
                ..McpToolsCall::default()
            },
            arguments,
        )
    }

    fn call_with(&mut self, begin: McpToolsCall, arguments: &str) -> StreamId {
        let stream = self.open(begin);
        let params = format!(r#"{{"name":"other","arguments":{arguments}}}"#);
        self.send_within_credit(stream, DataFlags::WHOLE, params.into());
        stream
    }

    /// Sends a part of a message in as many DATA as the credit asks for.
    fn send_within_credit(&mut self, stream: StreamId, flags: DataFlags, mut bytes: Bytes) {
        let mut first = flags.is_init();
        while !bytes.is_empty() {
            let credit = self.rig.turn(self.caller, |cx| cx.credit(stream));
            assert!(credit > 0, "the binding acknowledges what it has read");
            let part = bytes.split_to(credit.min(bytes.len()));
            let last = flags.is_fin() && bytes.is_empty();
            self.send(stream, Frame::part(DataFlags::of(first, last), part));
            first = false;
        }
    }

    /// The frames that the caller received, without WINDOW.
    fn received(&mut self, stream: StreamId) -> Vec<Frame> {
        let frames = self.rig.frames(self.caller, stream).into_iter();
        frames
            .filter(|frame| !matches!(frame, Frame::Window(_)))
            .collect()
    }

    /// Sends a frame from the caller.
    fn send(&mut self, stream: StreamId, frame: Frame) {
        self.rig.send(self.caller, stream, frame);
    }

    /// Sends a frame from the mqtt side.
    fn reply(&mut self, stream: StreamId, frame: Frame) {
        self.rig.send(self.exit, stream, frame);
    }

    /// The mqtt side refuses a stream.
    fn refuse(&mut self, stream: StreamId, reset: impl Into<Option<MqttReset>>) {
        let reset = reset.into().map(Into::into);
        self.rig
            .turn(self.exit, |cx| cx.terminate(stream, reset, None));
    }

    /// The only mqtt stream that was opened, of which only the BEGIN was sent.
    fn opened(&mut self) -> (StreamId, MqttBeginEx) {
        let mut frames = self.rig.outputs(self.exit);
        let first = frames.remove(0);
        let Frame::Begin(begin) = first.frame else {
            panic!("not a BEGIN: {first:?}");
        };
        let BeginEx::Mqtt(begin) = begin.into_inner() else {
            panic!("not an mqtt stream");
        };
        assert!(frames.is_empty(), "more than a BEGIN: {frames:?}");
        (first.at.stream, begin)
    }

    fn opened_publish(&mut self) -> (StreamId, MqttPublish, Vec<Frame>) {
        let mut outputs = self.rig.outputs(self.exit);
        let first = outputs.remove(0);
        let frames = outputs
            .into_iter()
            .map(|output| {
                assert_eq!(output.at.stream, first.at.stream);
                output.frame
            })
            .collect();
        match first.frame {
            Frame::Begin(begin) => match begin.into_inner() {
                BeginEx::Mqtt(MqttBeginEx::Publish(publish)) => (first.at.stream, publish, frames),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// The subscribe stream that was opened, and its only pattern.
    fn opened_subscribe(&mut self) -> (StreamId, ByteString) {
        let (stream, begin) = self.opened();
        let MqttBeginEx::Subscribe(subscribe) = begin else {
            panic!("{begin:?}");
        };
        let pattern = subscribe.filters[0].pattern.clone();
        (stream, pattern)
    }

    /// Opens a receive or a read and confirms its subscription.
    fn confirmed(&mut self) -> StreamId {
        let (mqtt, pattern) = self.opened_subscribe();
        self.reply(mqtt, Frame::begin(subscription("s-1", &pattern)));
        mqtt
    }

    /// The complete answer that the caller received. Ends the caller's half.
    fn answer(&mut self, stream: StreamId) -> Answered {
        let frames = self.received(stream);
        let answered = answer_in(&frames);
        self.send(stream, Frame::end());
        answered
    }

    /// The reset that the caller received.
    fn refusal(&mut self, stream: StreamId) -> McpReset {
        let mut frames = self.received(stream).into_iter();
        let reset = match frames.next() {
            Some(Frame::Reset(Some(reset))) => match *reset {
                ResetEx::Mcp(reset) => reset,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(frames.collect::<Vec<_>>(), [Frame::abort()]);
        reset
    }

    /// The mqtt side receives only an END, and answers it.
    fn ended(&mut self, mqtt: StreamId) {
        assert_eq!(self.rig.frames(self.exit, mqtt), [Frame::end()]);
        self.reply(mqtt, Frame::end());
    }

    /// The mqtt stream has the deadline `within`. Refuses it at that time, and checks that the caller
    /// received nothing before.
    fn expire(&mut self, mqtt: StreamId, within: u64, delivery: MqttDelivery) {
        let within = Duration::from_millis(within);
        assert_eq!(self.rig.left(mqtt), Some(within));
        self.rig.advance(within);
        assert!(self.rig.outputs(self.caller).is_empty());
        self.refuse(
            mqtt,
            MqttReset {
                reason: "broker.example:1883 took too long.".into(),
                delivery,
                ..MqttReset::default()
            },
        );
    }

    /// The mqtt side sees that the stream was terminated, after an END of the initial half or not.
    fn given_up(&mut self, mqtt: StreamId) {
        let frames = self.rig.frames(self.exit, mqtt);
        assert!(frames.contains(&Frame::reset()), "{frames:?}");
    }
}

fn answer_in(frames: &[Frame]) -> Answered {
    let mut frames = frames.iter();
    assert!(matches!(frames.next(), Some(Frame::Begin(_))), "no BEGIN");
    let mut payload = Vec::new();
    let mut first = true;
    loop {
        match frames.next() {
            Some(Frame::Data(data)) => {
                assert_eq!(data.flags.is_init(), first);
                first = false;
                payload.extend_from_slice(&data.payload);
                if data.flags.is_fin() {
                    break;
                }
            }
            other => panic!("not the DATA of an answer: {other:?}"),
        }
    }
    let end = match frames.next() {
        Some(Frame::End(Some(end))) => match &**end {
            EndEx::Mcp(end) => end.clone(),
            EndEx::Mqtt(end) => panic!("not of mcp: {end:?}"),
        },
        other => panic!("not the END of an answer: {other:?}"),
    };
    assert_eq!(frames.next(), None);
    let json = serde_json::from_slice(&payload).expect("a result is JSON");
    Answered { json, end }
}

fn subscription(client_id: &str, pattern: &str) -> MqttSubscribe {
    MqttSubscribe {
        client_id: Some(client_id.into()),
        qos: 1,
        limit: 0,
        filters: vec![MqttTopicFilter {
            subscription_id: 0,
            qos: 1,
            flags: MqttSubscribeFlags::NONE,
            pattern: pattern.into(),
            reason_code: 0,
        }],
        ..MqttSubscribe::default()
    }
}

fn message(topic: &str, payload: impl Into<Bytes>) -> Frame {
    part(DataFlags::WHOLE, topic, payload)
}

fn part(flags: DataFlags, topic: &str, payload: impl Into<Bytes>) -> Frame {
    let extension = MqttSubscribeData {
        topic: topic.into(),
        qos: 1,
        ..MqttSubscribeData::default()
    };
    Frame::data_with(flags, payload.into(), extension)
}

fn lost(delivery: MqttDelivery) -> MqttReset {
    MqttReset {
        reason_code: 0x87,
        reason: "broker.example:1883 said: not authorized.".into(),
        delivery,
        ..MqttReset::default()
    }
}

/// The extension of a publish stream's INIT frame.
fn publish_data(frame: &Frame) -> MqttPublishData {
    let Frame::Data(data) = frame else {
        panic!("{frame:?}");
    };
    match data.extension.as_deref() {
        Some(DataEx::Mqtt(MqttDataEx::Publish(extension))) => extension.clone(),
        other => panic!("{other:?}"),
    }
}
