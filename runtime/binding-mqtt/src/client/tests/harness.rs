//! A binding under test between a caller and a broker, both played by the test.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use tidegate_engine::streams::bytes_stream::{BytesBegin, BytesReset};
use tidegate_engine::streams::mqtt::{
    MqttBeginEx, MqttFlushEx, MqttPublish, MqttPublishData, MqttReset, MqttSession, MqttSubscribe,
    MqttSubscribeData, MqttTopicFilter,
};
use tidegate_engine::streams::{
    AbortEx, BeginEx, DataEx, DataFlags, FlushEx, Frame, FrameKind, ResetEx, mqtt,
};
use tidegate_engine::testing::Rig;
use tidegate_engine::{Binding, BindingId, Duration, Limits, StreamId, Worker};

use super::super::{MqttClient, Options, Versions};
use crate::codec::{
    Ack, Connack, ConnackProperties, Connect, Decoder, Packet, Publish, PublishProperties,
    ReasonCode, Suback, Subscribe, Unsuback, Version, encode,
};

pub(super) const REMOTE: &str = "broker.example:1883";

pub(super) struct Harness {
    pub(super) rig: Rig,
    pub(super) caller: BindingId,
    /// A caller whose streams start with ten bytes of credit.
    pub(super) slow: BindingId,
    pub(super) exit: BindingId,
    pub(super) client: BindingId,
    decoders: BTreeMap<StreamId, Decoder>,
    /// The version that the broker speaks.
    pub(super) version: Version,
    /// Whether the broker reads, i.e. grants credit for what it received.
    pub(super) reads: bool,
    unread: usize,
}

/// What a caller received on its stream.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) begin: Option<BeginEx>,
    /// Messages with their extensions, reassembled from their parts.
    pub(super) messages: Vec<(MqttSubscribeData, Bytes)>,
    pub(super) windows: Vec<u64>,
    /// Times without a connection, in milliseconds.
    pub(super) gaps: Vec<u64>,
    pub(super) ended: bool,
    pub(super) aborted: bool,
    pub(super) reset: Option<MqttReset>,
}

impl Seen {
    pub(super) fn payloads(&self) -> Vec<&str> {
        self.messages
            .iter()
            .map(|(_, payload)| std::str::from_utf8(payload).expect("text"))
            .collect()
    }

    pub(super) fn reset(&self) -> &MqttReset {
        self.reset.as_ref().expect("the stream was reset")
    }

    /// Whether a publish stream succeeded.
    pub(super) fn is_done(&self) -> bool {
        self.begin.is_some() && self.ended && self.reset.is_none()
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.begin.is_none()
            && self.messages.is_empty()
            && self.windows.is_empty()
            && !self.ended
            && !self.aborted
            && self.reset.is_none()
    }

    /// The reason codes of a subscription that was accepted.
    pub(super) fn granted(&self) -> Vec<u8> {
        match &self.begin {
            Some(BeginEx::Mqtt(MqttBeginEx::Subscribe(subscribe))) => {
                subscribe.filters.iter().map(|it| it.reason_code).collect()
            }
            other => panic!("the subscription was not accepted: {other:?}"),
        }
    }
}

pub(super) fn options(json: &str) -> Options {
    let mut options: Options = serde_json::from_str(json).expect("legal options");
    if options.version == Versions::Auto {
        // An attempt that fails is not repeated with another version.
        options.version = Versions::Only(Version::V5);
    }
    options
}

impl Harness {
    pub(super) fn new(json: &str) -> Self {
        Self::with_window(json, 1 << 20)
    }

    /// `window`: the credit of the broker.
    pub(super) fn with_window(json: &str, window: u32) -> Self {
        Self::in_rig(Rig::new(), json, window)
    }

    /// Creates the binding on a worker other than the first.
    pub(super) fn on_worker(worker: u16) -> Self {
        let mut rig = Rig::new();
        rig.worker = Worker::new(worker, [7; 32], Limits::default());
        Self::in_rig(rig, r#"{"clientId":"gate"}"#, 1 << 20)
    }

    /// `wrap` puts another binding around the one under test.
    pub(super) fn with_binding<B: Binding + 'static>(
        json: &str,
        wrap: impl FnOnce(MqttClient) -> B,
    ) -> Self {
        Self::built(Rig::new(), json, 1 << 20, wrap)
    }

    fn in_rig(rig: Rig, json: &str, window: u32) -> Self {
        Self::built(rig, json, window, |client| client)
    }

    fn built<B: Binding + 'static>(
        mut rig: Rig,
        json: &str,
        window: u32,
        wrap: impl FnOnce(MqttClient) -> B,
    ) -> Self {
        let exit = rig.edge(window);
        let client = rig.attach(wrap(MqttClient::new(options(json), exit)));
        let caller = rig.edge(1 << 20);
        let slow = rig.edge(10);
        rig.worker.start();
        Self {
            rig,
            caller,
            slow,
            exit,
            client,
            decoders: BTreeMap::new(),
            version: Version::V5,
            reads: true,
            unread: 0,
        }
    }

    pub(super) fn open(&mut self, begin: impl Into<BeginEx>) -> StreamId {
        self.rig.open(self.caller, self.client, begin)
    }

    pub(super) fn session(&mut self, client_id: &str) -> StreamId {
        self.open(MqttSession {
            client_id: client_id.into(),
            ..MqttSession::default()
        })
    }

    /// Opens a publish stream of the binding's own client, publishes one message and ends it.
    pub(super) fn publish(&mut self, topic: &str, qos: u8, payload: &str) -> StreamId {
        let stream = self.open(publication(topic, qos));
        self.message(stream, payload);
        self.end(stream);
        stream
    }

    /// The same for another client.
    pub(super) fn publish_as(
        &mut self,
        client: &str,
        topic: &str,
        qos: u8,
        payload: &str,
    ) -> StreamId {
        let stream = self.open(MqttPublish {
            client_id: Some(client.into()),
            ..publication(topic, qos)
        });
        self.message(stream, payload);
        self.end(stream);
        stream
    }

    pub(super) fn message(&mut self, stream: StreamId, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let frame = Frame::data_with(DataFlags::WHOLE, payload, MqttPublishData::default());
        self.rig.send(self.caller, stream, frame);
    }

    pub(super) fn subscribe(&mut self, filters: &[(&str, u8)]) -> StreamId {
        self.open(subscription(filters))
    }

    pub(super) fn subscribe_as(&mut self, client: &str, filter: &str) -> StreamId {
        self.open(MqttSubscribe {
            client_id: Some(client.into()),
            ..subscription(&[(filter, 0)])
        })
    }

    pub(super) fn end(&mut self, stream: StreamId) {
        self.rig.send(self.caller, stream, Frame::end());
    }

    /// The caller cancels its stream.
    pub(super) fn cancel(&mut self, stream: StreamId) {
        self.rig
            .turn(self.caller, |cx| cx.terminate(stream, None, None));
    }

    pub(super) fn seen(&mut self, stream: StreamId) -> Seen {
        let caller = self.caller;
        self.seen_by(caller, stream)
    }

    pub(super) fn seen_by(&mut self, edge: BindingId, stream: StreamId) -> Seen {
        let mut seen = Seen::default();
        let mut parts: Option<(MqttSubscribeData, BytesMut, usize)> = None;
        for frame in self.rig.frames(edge, stream) {
            match frame {
                Frame::Begin(begin) => seen.begin = Some(begin.into_inner()),
                Frame::Data(data) => {
                    if data.flags.is_init() {
                        let extension = data.extension.as_deref();
                        let Some(DataEx::Mqtt(mqtt::MqttDataEx::Subscribe(extension))) = extension
                        else {
                            panic!("a first part without its extension");
                        };
                        let total = data.payload.len() + extension.deferred as usize;
                        parts = Some((extension.clone(), BytesMut::new(), total));
                    }
                    let (_, payload, _) = parts.as_mut().expect("INIT comes first");
                    payload.extend_from_slice(&data.payload);
                    if data.flags.is_fin() {
                        let (extension, payload, total) = parts.take().expect("just seen");
                        assert_eq!(payload.len(), total, "'deferred' tells the rest");
                        seen.messages.push((extension, payload.freeze()));
                    }
                }
                Frame::Flush(flush) => match *flush {
                    FlushEx::Mqtt(MqttFlushEx::Gap(gap)) => seen.gaps.push(gap.milliseconds),
                    other => panic!("a foreign flush: {other:?}"),
                },
                Frame::Window(window) => seen.windows.push(window.acknowledge),
                Frame::End(_) => seen.ended = true,
                Frame::Abort(_) => seen.aborted = true,
                Frame::Reset(reset) => match reset.map(|reset| *reset) {
                    Some(ResetEx::Mqtt(reset)) => seen.reset = Some(reset),
                    None => {}
                    other => panic!("a foreign reset: {other:?}"),
                },
                other @ Frame::Challenge(_) => panic!("unexpected {other:?}"),
            }
        }
        seen
    }

    /// Accepts the next connection that the binding opens.
    pub(super) fn accept(&mut self) -> StreamId {
        let bytes = self.opened();
        let begin = BytesBegin {
            remote: REMOTE.into(),
            ..BytesBegin::default()
        };
        self.rig.send(self.exit, bytes, Frame::begin(begin));
        bytes
    }

    /// The next connection that the binding opens, not accepted yet.
    pub(super) fn opened(&mut self) -> StreamId {
        let bytes = self.opened_if_any().expect("a connection is opened");
        self.decoders
            .insert(bytes, Decoder::new(self.version, 1 << 28));
        bytes
    }

    fn opened_if_any(&mut self) -> Option<StreamId> {
        let known = self.decoders.keys().copied().collect::<Vec<_>>();
        let streams: Vec<StreamId> = self
            .rig
            .worker
            .streams()
            .filter(|(_, _, caller, callee)| *caller == self.client && *callee == self.exit)
            .map(|(stream, ..)| stream)
            .collect();
        streams.into_iter().find(|stream| !known.contains(stream))
    }

    pub(super) fn is_opened(&mut self) -> bool {
        self.opened_if_any().is_some()
    }

    /// The accepted connections that are still open.
    pub(super) fn connections(&self) -> Vec<StreamId> {
        let streams = self.rig.worker.streams();
        streams
            .map(|(stream, ..)| stream)
            .filter(|stream| self.decoders.contains_key(stream))
            .collect()
    }

    /// The broker sends what its credit allows, if its side is open.
    pub(super) fn raw_if_open(&mut self, bytes: StreamId, mut payload: Bytes) {
        self.rig.turn(self.exit, |cx| {
            payload.truncate(cx.credit(bytes));
            if cx.is_sending(bytes) {
                cx.send(bytes, Frame::data(payload));
            }
        });
    }

    pub(super) fn no_connection(&mut self) {
        assert_eq!(self.opened_if_any(), None);
    }

    /// Accepts the next connection and answers CONNECT.
    pub(super) fn connect(&mut self) -> (StreamId, Connect) {
        self.connect_with(ConnackProperties::default())
    }

    pub(super) fn connect_with(&mut self, properties: ConnackProperties) -> (StreamId, Connect) {
        let bytes = self.accept();
        let packets = self.packets(bytes);
        let [Packet::Connect(connect)] = packets.as_slice() else {
            panic!("one CONNECT, not {packets:?}");
        };
        let connack = Connack {
            properties,
            ..Connack::default()
        };
        self.broker(bytes, &Packet::Connack(Box::new(connack)));
        (bytes, (**connect).clone())
    }

    /// The broker sends CONNACK, whatever it received.
    pub(super) fn connack(&mut self, bytes: StreamId) {
        let begin = BytesBegin {
            remote: REMOTE.into(),
            ..BytesBegin::default()
        };
        self.rig.send(self.exit, bytes, Frame::begin(begin));
        self.packets(bytes);
        self.broker(bytes, &Packet::Connack(Box::default()));
        self.packets(bytes);
    }

    /// The packets that the broker received; it grants new credit if it reads.
    pub(super) fn packets(&mut self, bytes: StreamId) -> Vec<Packet> {
        let mut packets = Vec::new();
        let mut other = Vec::new();
        loop {
            let frames = self.rig.frames(self.exit, bytes);
            let decoder = self.decoders.get_mut(&bytes).expect("taken");
            let mut length = 0;
            for frame in frames {
                match frame {
                    Frame::Data(data) => {
                        length += data.payload.len();
                        decoder.push(data.payload);
                    }
                    frame => other.push(frame),
                }
            }
            while let Some(packet) = decoder.next().expect("what we send is legal") {
                packets.push(packet);
            }
            self.unread += length;
            if self.unread == 0 || !self.reads {
                break;
            }
            let unread = std::mem::take(&mut self.unread);
            self.rig.turn(self.exit, |cx| cx.acknowledge(bytes, unread));
        }
        self.rest(bytes, &other);
        packets
    }

    /// The peer closes its direction too, as a broker does after DISCONNECT.
    fn rest(&mut self, bytes: StreamId, frames: &[Frame]) {
        let ends = |frame: &Frame| {
            matches!(
                frame.kind(),
                FrameKind::End | FrameKind::Reset | FrameKind::Abort
            )
        };
        if frames.iter().any(ends) {
            self.rig
                .turn(self.exit, |cx| cx.terminate(bytes, None, None));
        }
    }

    pub(super) fn one(&mut self, bytes: StreamId) -> Packet {
        let mut packets = self.packets(bytes);
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    }

    pub(super) fn quiet(&mut self, bytes: StreamId) {
        let packets = self.packets(bytes);
        assert!(packets.is_empty(), "{packets:?}");
    }

    /// The broker sends a packet.
    pub(super) fn broker(&mut self, bytes: StreamId, packet: &Packet) {
        let mut out = BytesMut::new();
        encode(packet, self.version, usize::MAX, &mut out).expect("legal");
        self.raw(bytes, out.freeze());
    }

    /// The broker sends bytes.
    pub(super) fn raw(&mut self, bytes: StreamId, payload: impl Into<Bytes>) {
        let payload = payload.into();
        self.rig.turn(self.exit, |cx| {
            assert!(cx.credit(bytes) >= payload.len(), "within the credit");
            cx.send(bytes, Frame::data(payload));
        });
    }

    pub(super) fn suback(&mut self, bytes: StreamId, subscribe: &Subscribe, code: u8) {
        let suback = Suback {
            packet_id: subscribe.packet_id,
            reasons: vec![ReasonCode(code)],
            ..Suback::default()
        };
        self.broker(bytes, &Packet::Suback(suback));
    }

    pub(super) fn unsuback(&mut self, bytes: StreamId, packet_id: u16) {
        let unsuback = Unsuback {
            packet_id,
            reasons: vec![ReasonCode::SUCCESS],
            ..Unsuback::default()
        };
        self.broker(bytes, &Packet::Unsuback(unsuback));
    }

    /// The next packet is a SUBSCRIBE.
    pub(super) fn subscribed(&mut self, bytes: StreamId) -> Subscribe {
        match self.one(bytes) {
            Packet::Subscribe(subscribe) => subscribe,
            other => panic!("a SUBSCRIBE, not {other:?}"),
        }
    }

    /// The next packet is an UNSUBSCRIBE, which is acknowledged.
    pub(super) fn unsubscribed(&mut self, bytes: StreamId) -> String {
        match self.one(bytes) {
            Packet::Unsubscribe(packet) => {
                self.unsuback(bytes, packet.packet_id);
                packet.filters[0].to_string()
            }
            other => panic!("an UNSUBSCRIBE, not {other:?}"),
        }
    }

    /// The next packet is a PUBLISH.
    pub(super) fn published(&mut self, bytes: StreamId) -> Publish {
        match self.one(bytes) {
            Packet::Publish(publish) => publish,
            other => panic!("a PUBLISH, not {other:?}"),
        }
    }

    /// The connection is lost.
    pub(super) fn break_off(&mut self, bytes: StreamId, reason: &str) {
        let reset = BytesReset {
            remote: REMOTE.into(),
            reason: reason.into(),
            ..BytesReset::default()
        };
        let abort = AbortEx::Bytes(reset.clone());
        self.rig.turn(self.exit, |cx| {
            cx.terminate(bytes, Some(reset.into()), Some(abort));
        });
        self.rig.frames(self.exit, bytes);
    }

    /// The events since the last call: identifiers and sentences.
    pub(super) fn events(&mut self) -> Vec<(&'static str, String)> {
        let worker = &mut self.rig.worker;
        std::iter::from_fn(|| worker.poll_event())
            .map(|event| (event.id, event.message))
            .collect()
    }

    pub(super) fn advance(&mut self, milliseconds: u64) {
        self.rig.advance(Duration::from_millis(milliseconds));
    }

    /// Lets time pass while the broker answers each PINGREQ. Returns the other packets.
    pub(super) fn pass(&mut self, bytes: StreamId, seconds: u64) -> Vec<Packet> {
        let mut other = Vec::new();
        for _ in 0..seconds {
            self.advance(1_000);
            for packet in self.packets(bytes) {
                match packet {
                    Packet::Pingreq => self.broker(bytes, &Packet::Pingresp),
                    packet => other.push(packet),
                }
            }
        }
        other
    }

    /// Lets the idle connection `bytes` close, and checks that nothing remains.
    pub(super) fn finish(mut self, bytes: StreamId) {
        let packets = self.pass(bytes, 61);
        assert!(
            matches!(packets.as_slice(), [Packet::Disconnect(it)] if it.reason == ReasonCode::SUCCESS),
            "{packets:?}"
        );
        self.rig.outputs(self.exit);
        self.rig.assert_idle();
    }

    /// Checks that nothing remains, whatever the broker received.
    pub(super) fn assert_idle(&mut self) {
        self.rig.outputs(self.exit);
        self.rig.assert_idle();
    }
}

pub(super) fn publication(topic: &str, qos: u8) -> MqttPublish {
    MqttPublish {
        topic: topic.into(),
        qos,
        ..MqttPublish::default()
    }
}

pub(super) fn subscription(filters: &[(&str, u8)]) -> MqttSubscribe {
    let filters = filters.iter().map(|(pattern, qos)| MqttTopicFilter {
        pattern: (*pattern).into(),
        qos: *qos,
        ..MqttTopicFilter::default()
    });
    MqttSubscribe {
        filters: filters.collect(),
        ..MqttSubscribe::default()
    }
}

/// A message from the broker for the subscriptions with these identifiers.
pub(super) fn incoming(topic: &str, payload: &str, ids: &[u32]) -> Publish {
    Publish {
        topic: topic.into(),
        payload: vec![Bytes::copy_from_slice(payload.as_bytes())].into(),
        properties: PublishProperties {
            subscription_ids: ids.to_vec(),
            ..PublishProperties::default()
        },
        ..Publish::default()
    }
}

pub(super) fn retained(topic: &str, payload: &str, ids: &[u32]) -> Publish {
    Publish {
        retain: true,
        ..incoming(topic, payload, ids)
    }
}

pub(super) fn ack(packet_id: u16, reason: ReasonCode) -> Ack {
    Ack {
        packet_id,
        reason,
        ..Ack::default()
    }
}

pub(super) fn id_of(subscribe: &Subscribe) -> u32 {
    subscribe.properties.subscription_id.expect("an identifier")
}
