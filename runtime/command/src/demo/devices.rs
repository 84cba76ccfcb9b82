//! Simulated devices for the demo: sensors in two rooms that report temperature and humidity, a lamp
//! that accepts commands and reports its state, and the devices of a [`Home`].
//!
//! The devices are a binding: they open mqtt streams to an `mqtt · client` and use the engine's clock.
//! Readings are retained, so a reader gets the latest value immediately.

use bytes::Bytes;
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{At, Binding, BindingId, Context, Duration, StreamId, Token};
use tidegate_streams::mqtt::{
    MqttDataEx, MqttPayloadFormat, MqttPublish, MqttPublishData, MqttPublishFlags, MqttSubscribe,
    MqttTopicFilter,
};
use tidegate_streams::{BeginEx, Data, DataEx, DataFlags, Frame, FrameKind};

use super::home::{self, Home};

/// How often the rooms report.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often time passes in the home.
const HOME_INTERVAL: Duration = Duration::from_millis(500);
/// How long the devices wait before they subscribe to commands again.
const RETRY: Duration = Duration::from_secs(1);

const REPORT: u32 = 1;
const LISTEN: u32 = 2;
const HOME: u32 = 3;

/// Topic of the commands of the lamp.
const LAMP: &str = "commands/lamp/set";
/// Longest command, in bytes. A longer one is ignored.
const COMMAND_MAX: usize = 1_024;

/// Token of timers, which belong to no exchange.
const NONE: Token = Token(u32::MAX);

struct Room {
    name: &'static str,
    /// Tenths of a degree Celsius.
    temperature: i64,
    /// Tenths of a percent of relative humidity.
    humidity: i64,
}

enum Exchange {
    Publication,
    /// The subscription to commands, and the command that is being received.
    Commands {
        stream: StreamId,
        topic: ByteString,
        message: Vec<u8>,
    },
}

/// The simulated devices.
pub(crate) struct Devices {
    exit: BindingId,
    rooms: [Room; 2],
    home: Home,
    exchanges: Slab<Exchange>,
}

impl Devices {
    /// Creates devices that reach the broker through `exit`, an `mqtt · client`.
    pub(crate) fn new(exit: BindingId) -> Self {
        let rooms = [
            Room {
                name: "kitchen",
                temperature: 214,
                humidity: 432,
            },
            Room {
                name: "workshop",
                temperature: 178,
                humidity: 551,
            },
        ];
        Self {
            exit,
            rooms,
            home: Home::new(),
            exchanges: Slab::new(),
        }
    }

    fn report(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.rooms.len() {
            let Some(room) = self.rooms.get_mut(index) else {
                continue;
            };
            room.temperature = (room.temperature + step(cx)).clamp(150, 280);
            room.humidity = (room.humidity + step(cx)).clamp(300, 700);
            let (name, temperature, humidity) = (room.name, room.temperature, room.humidity);
            self.publish(
                cx,
                format!("sensors/temperature/{name}"),
                tenths(temperature),
            );
            self.publish(cx, format!("sensors/humidity/{name}"), tenths(humidity));
        }
        cx.timer(INTERVAL, NONE, REPORT, "demo.report");
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let messages = self.home.tick();
        self.publish_all(cx, messages);
        cx.timer(HOME_INTERVAL, NONE, HOME, "demo.home");
    }

    fn listen(&mut self, cx: &mut Context<'_>) {
        let filters = std::iter::once(LAMP).chain(home::COMMANDS);
        let filters = filters.map(|pattern| MqttTopicFilter {
            pattern: pattern.into(),
            qos: 1,
            ..MqttTopicFilter::default()
        });
        let begin = MqttSubscribe {
            qos: 1,
            filters: filters.collect(),
            ..MqttSubscribe::default()
        };
        let entry = self.exchanges.vacant_entry();
        match cx.open(self.exit, begin, Token::from_index(entry.key())) {
            Ok(stream) => {
                entry.insert(Exchange::Commands {
                    stream,
                    topic: ByteString::new(),
                    message: Vec::new(),
                });
            }
            Err(_) => {
                cx.timer(RETRY, NONE, LISTEN, "demo.listen");
            }
        }
    }

    fn execute(&mut self, cx: &mut Context<'_>, topic: &str, command: &[u8]) {
        if topic != LAMP {
            let messages = self.home.command(topic, command);
            return self.publish_all(cx, messages);
        }
        let state = match command {
            b"on" | b"off" => String::from_utf8_lossy(command).into_owned(),
            _ => {
                tracing::info!("lamp: unknown command ignored; valid: on, off");
                return;
            }
        };
        self.publish(cx, "devices/lamp/state".to_owned(), state);
    }

    fn publish_all(&mut self, cx: &mut Context<'_>, messages: Vec<home::Message>) {
        for (topic, payload) in messages {
            self.publish(cx, topic.to_owned(), payload);
        }
    }

    fn publish(&mut self, cx: &mut Context<'_>, topic: String, payload: String) {
        let flags = MqttPublishFlags::RETAIN;
        let topic = ByteString::from(topic);
        let begin = MqttPublish {
            topic,
            flags,
            qos: 1,
            ..MqttPublish::default()
        };
        let key = self.exchanges.insert(Exchange::Publication);
        let Ok(stream) = cx.open(self.exit, begin, Token::from_index(key)) else {
            self.exchanges.remove(key);
            return;
        };
        let message = MqttPublishData {
            qos: 1,
            flags,
            format: MqttPayloadFormat::Text,
            ..MqttPublishData::default()
        };
        // A reading is a few bytes: the initial credit of any binding is enough.
        cx.send(
            stream,
            Frame::data_with(DataFlags::WHOLE, Bytes::from(payload), message),
        );
        cx.send(stream, Frame::end());
    }

    /// Collects a command, and executes it when it is complete.
    fn receive(&mut self, cx: &mut Context<'_>, at: At, data: &Data) {
        let Some(Exchange::Commands { topic, message, .. }) =
            self.exchanges.get_mut(at.token.index())
        else {
            return;
        };
        if let Some(DataEx::Mqtt(MqttDataEx::Subscribe(begun))) = data.extension.as_deref() {
            topic.clone_from(&begun.topic);
            message.clear();
        }
        if message.len() + data.payload.len() <= COMMAND_MAX {
            message.extend_from_slice(&data.payload);
        } else {
            *topic = ByteString::new();
        }
        if data.flags.is_fin() {
            let (topic, message) = (std::mem::take(topic), std::mem::take(message));
            self.execute(cx, &topic, &message);
        }
    }

    /// A stream ended. The subscription to commands is opened again after [`RETRY`].
    fn ended(&mut self, cx: &mut Context<'_>, at: At) {
        cx.terminate(at.stream, None, None);
        if let Some(Exchange::Commands { .. }) = self.exchanges.try_remove(at.token.index())
            && !cx.stopping()
        {
            cx.timer(RETRY, NONE, LISTEN, "demo.listen");
        }
    }
}

/// One step of a reading: -2 to 2 tenths.
fn step(cx: &mut Context<'_>) -> i64 {
    i64::try_from(cx.random_below(5)).unwrap_or(2) - 2
}

/// A number of tenths as a decimal.
pub(super) fn tenths(value: i64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

impl Binding for Devices {
    fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.publish(cx, "devices/lamp/state".to_owned(), "off".to_owned());
        let states = self.home.start();
        self.publish_all(cx, states);
        self.report(cx);
        self.listen(cx);
        cx.timer(HOME_INTERVAL, NONE, HOME, "demo.home");
    }

    fn on_begin(&mut self, _cx: &mut Context<'_>, _stream: StreamId, _begin: BeginEx) {
        // No binding opens streams to the devices.
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(at.stream, data.payload.len());
                self.receive(cx, at, &data);
            }
            frame => match frame.kind() {
                FrameKind::End | FrameKind::Abort | FrameKind::Reset => self.ended(cx, at),
                _ => {}
            },
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _token: Token, kind: u32) {
        if cx.stopping() {
            return;
        }
        match kind {
            REPORT => self.report(cx),
            HOME => self.tick(cx),
            _ => self.listen(cx),
        }
    }

    fn on_fault(&mut self, _cx: &mut Context<'_>, token: Token) {
        self.exchanges.try_remove(token.index());
    }

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        for (_, exchange) in &self.exchanges {
            if let Exchange::Commands { stream, .. } = exchange {
                cx.end(*stream, Frame::end());
            }
        }
    }
}
