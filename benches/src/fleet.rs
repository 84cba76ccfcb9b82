//! A gateway with many devices, between a played `http · server` and a played `mqtt · client`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tidegate_binding_mcp::server::{self, McpServer};
use tidegate_binding_mcp_device::McpDevice;
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId};
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::mqtt::{MqttSubscribe, MqttSubscribeData};
use tidegate_streams::{BeginEx, DataFlags, Frame};

use crate::headers;

/// The gateway.
pub struct Fleet {
    rig: Rig,
    entry: BindingId,
    server: BindingId,
    broker: BindingId,
    /// The streams that feed values and announcements, in the order in which they were opened.
    feeds: Vec<StreamId>,
}

impl Fleet {
    /// With lamps that are seen on their topics: each has published a state, and that it is online.
    pub fn seen(devices: usize) -> Self {
        let mut fleet = Self::new(&json!({
            "address": "plant/{location}/{type}/{device}/{action}",
            "seen": ["plant/#"],
            "maxDevices": devices.max(1),
            "types": {
                "lamp": {
                    "status": { "action": "state", "staleAfter": 60_000 },
                    "online": { "action": "online" },
                    "commands": { "set": {
                        "arguments": { "properties": { "level": { "type": "integer" } } },
                        "confirm": {},
                    } },
                },
            },
        }));
        for number in 0..devices {
            fleet.publish_state(number);
            let topic = format!("{}/online", Self::topics(number));
            fleet.publish(0, &topic, "online");
        }
        fleet
    }

    /// With switches that announce themselves as those of zigbee2mqtt do, and have published their state.
    pub fn announced(devices: usize) -> Self {
        let mut fleet = Self::new(&json!({
            "maxDevices": devices.max(1),
            "declared": {
                "homeAssistant": "homeassistant",
                "subscribe": ["zigbee2mqtt/#"],
                "publish": ["zigbee2mqtt/+/set"],
            },
        }));
        for number in 0..devices {
            let name = format!("switch-{number:05}");
            let config = json!({
                "availability": [{ "topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}" }],
                "command_topic": format!("zigbee2mqtt/{name}/set"),
                "device": { "identifiers": [name], "manufacturer": "TuYa", "model": "Smart plug", "name": name },
                "name": null,
                "payload_off": "OFF",
                "payload_on": "ON",
                "state_topic": format!("zigbee2mqtt/{name}"),
                "unique_id": format!("{name}_switch_zigbee2mqtt"),
                "value_template": "{{ value_json.state }}",
            });
            let topic = format!("homeassistant/switch/{name}/switch/config");
            fleet.publish(0, &topic, &config.to_string());
            let topic = format!("zigbee2mqtt/{name}");
            fleet.publish(1, &topic, r#"{"linkquality":84,"power":0,"state":"OFF"}"#);
        }
        fleet.publish(1, "zigbee2mqtt/bridge/state", r#"{"state":"online"}"#);
        fleet
    }

    fn new(options: &Value) -> Self {
        let mut rig = Rig::new();
        let broker = rig.edge(1 << 30);
        let options = serde_json::from_value(options.clone()).expect("options");
        let devices = rig.attach(McpDevice::new(&options, broker));
        let server = rig.attach(McpServer::new(server::Options::default(), devices));
        let entry = rig.edge(1 << 30);
        rig.worker.start();
        // An empty turn gives the frames of the start.
        rig.turn(entry, |_| ());
        let opened = rig.outputs(broker).into_iter();
        let feeds = opened
            .filter(|output| matches!(output.frame, Frame::Begin(_)))
            .map(|output| output.at.stream);
        let feeds: Vec<StreamId> = feeds.collect();
        for feed in &feeds {
            rig.send(broker, *feed, Frame::begin(MqttSubscribe::default()));
        }
        Self {
            rig,
            entry,
            server,
            broker,
            feeds,
        }
    }

    /// The id of a lamp.
    pub fn id(number: usize) -> String {
        format!("lamp-{number:05}")
    }

    fn topics(number: usize) -> String {
        format!("plant/hall-{}/lamp/{}", number / 100, Self::id(number))
    }

    /// A lamp publishes its state.
    pub fn publish_state(&mut self, number: usize) {
        let topic = format!("{}/state", Self::topics(number));
        self.publish(0, &topic, r#"{"on":true,"level":40,"watts":7}"#);
    }

    /// A message is received on one of the streams that feed the cache.
    pub fn publish(&mut self, feed: usize, topic: &str, payload: &str) {
        let extension = MqttSubscribeData {
            topic: topic.into(),
            ..MqttSubscribeData::default()
        };
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let frame = Frame::data_with(DataFlags::WHOLE, payload, extension);
        let feed = *self.feeds.get(feed).expect("a feed");
        self.rig.send(self.broker, feed, frame);
        self.rig.outputs(self.broker);
    }

    /// Calls a tool; returns the body of the response.
    pub fn call(&mut self, tool: &str, body: &Bytes) -> Bytes {
        self.post(headers(tool), body)
    }

    /// Lists the tools; returns the body of the response.
    pub fn tools(&mut self, body: &Bytes) -> Bytes {
        let mut headers = headers("");
        headers.remove("mcp-name");
        headers.insert("mcp-method", HeaderValue::from_static("tools/list"));
        self.post(headers, body)
    }

    fn post(&mut self, headers: HeaderMap, body: &Bytes) -> Bytes {
        let request = HttpRequest {
            method: Method::POST,
            path: "/mcp".into(),
            headers,
            content_length: i64::try_from(body.len()).expect("a length"),
            peer: None,
        };
        let (entry, server) = (self.entry, self.server);
        let stream = self.rig.open(entry, server, BeginEx::from(request));
        self.rig.send(entry, stream, Frame::data(body.clone()));
        self.rig.send(entry, stream, Frame::end());
        let frames = self.rig.frames(entry, stream).into_iter();
        let parts = frames.filter_map(|frame| match frame {
            Frame::Data(data) => Some(data.payload),
            _ => None,
        });
        let parts: Vec<Bytes> = parts.collect();
        Bytes::from(parts.concat())
    }
}

/// The body of `tools/list`.
pub fn list_tools() -> Bytes {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/list",
        "params": { "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        } },
    });
    Bytes::from(body.to_string())
}
