//! A gateway with many sessions, between a played `http · server` and a played broker.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use http::Method;
use tidegate_binding_mcp::server::{self, McpServer};
use tidegate_binding_mcp_mqtt::McpMqtt;
use tidegate_binding_mqtt::client::MqttClient;
use tidegate_binding_mqtt::codec::{
    Connack, Decoder, Packet, REMAINING_LENGTH_MAX, ReasonCode, Suback, Unsuback, Version, encode,
};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, Output, StreamId};
use tidegate_streams::Frame;
use tidegate_streams::bytes_stream::BytesBegin;
use tidegate_streams::http_stream::HttpRequest;

use crate::{fields, legacy_headers, session_id};

/// The gateway. Each session has a connection of its own to the broker.
pub struct Crowd {
    rig: Rig,
    entry: BindingId,
    server: BindingId,
    network: BindingId,
    connections: BTreeMap<StreamId, Decoder>,
}

impl Default for Crowd {
    fn default() -> Self {
        let mut rig = Rig::new();
        let network = rig.edge(1 << 30);
        let client = serde_json::from_str("{}").expect("defaults");
        let client = rig.attach(MqttClient::new(client, network));
        let options = serde_json::from_str("{}").expect("defaults");
        let toolkit = rig.attach(McpMqtt::new(&options, client));
        let server = rig.attach(McpServer::new(server::Options::default(), toolkit));
        let entry = rig.edge(1 << 30);
        rig.worker.start();
        Self {
            rig,
            entry,
            server,
            network,
            connections: BTreeMap::new(),
        }
    }
}

impl Crowd {
    /// Begins a session.
    pub fn session(&mut self) -> String {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
        let response = self.post(None, body);
        session_id(response)
    }

    /// Subscribes in a session.
    pub fn subscribe(&mut self, session: &str, uri: &str) {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{{"uri":"{uri}"}}}}"#
        );
        let response = self.post(Some(session), &body);
        let is_whole = |frame: &Frame| matches!(frame, Frame::End(_));
        assert!(response.iter().any(is_whole), "{uri} is subscribed to");
    }

    /// Sends a request and returns its response. The request is in a buffer of the size used by hyper.
    fn post(&mut self, session: Option<&str>, body: &str) -> Vec<Frame> {
        let headers = match session {
            Some(session) => legacy_headers(session),
            None => fields(&[("content-type", "application/json")]),
        };
        let request = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers,
            content_length: -1,
            peer: None,
        };
        let (entry, server) = (self.entry, self.server);
        let stream = self.rig.open(entry, server, request);
        let mut buffer = BytesMut::with_capacity(8 * 1024);
        buffer.extend_from_slice(body.as_bytes());
        let mut body = buffer.split().freeze();
        while !body.is_empty() {
            let credit = self.rig.turn(entry, |cx| cx.credit(stream));
            let part = body.split_to(body.len().min(credit));
            self.rig.send(entry, stream, Frame::data(part));
        }
        self.rig.send(entry, stream, Frame::end());
        self.serve();
        self.rig.frames(entry, stream)
    }

    /// Lets the broker respond to the packets it received.
    fn serve(&mut self) {
        loop {
            let outputs = self.rig.outputs(self.network);
            if outputs.is_empty() {
                return;
            }
            for Output { at, frame, .. } in outputs {
                let stream = at.stream;
                match frame {
                    Frame::Begin(_) => {
                        let decoder = Decoder::new(Version::V5, REMAINING_LENGTH_MAX);
                        self.connections.insert(stream, decoder);
                        let begin = Frame::begin(BytesBegin {
                            remote: "broker:1883".into(),
                            ..BytesBegin::default()
                        });
                        self.rig.send(self.network, stream, begin);
                    }
                    Frame::Data(data) => self.take(stream, data.payload),
                    _ => {}
                }
            }
        }
    }

    fn take(&mut self, stream: StreamId, bytes: Bytes) {
        let length = bytes.len();
        let decoder = self.connections.get_mut(&stream).expect("a connection");
        decoder.push(bytes);
        let mut answers = Vec::new();
        while let Some(packet) = decoder.next().expect("legal packets") {
            answers.extend(answer(packet));
        }
        let network = self.network;
        self.rig.turn(network, |cx| cx.acknowledge(stream, length));
        for packet in answers {
            let mut out = BytesMut::with_capacity(64);
            encode(&packet, Version::V5, REMAINING_LENGTH_MAX, &mut out).expect("a legal packet");
            let out = Bytes::copy_from_slice(&out);
            self.rig.send(network, stream, Frame::data(out));
        }
    }
}

fn answer(packet: Packet) -> Option<Packet> {
    match packet {
        Packet::Connect(_) => Some(Packet::Connack(Box::<Connack>::default())),
        Packet::Subscribe(subscribe) => Some(Packet::Suback(Suback {
            packet_id: subscribe.packet_id,
            reasons: vec![ReasonCode::GRANTED_QOS_1; subscribe.filters.len()],
            ..Suback::default()
        })),
        Packet::Unsubscribe(unsubscribe) => Some(Packet::Unsuback(Unsuback {
            packet_id: unsubscribe.packet_id,
            reasons: vec![ReasonCode::SUCCESS; unsubscribe.filters.len()],
            ..Unsuback::default()
        })),
        _ => None,
    }
}
