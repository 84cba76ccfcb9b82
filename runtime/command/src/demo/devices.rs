//! Simulated devices for the demo: sensors in two rooms that report temperature and humidity, and a lamp
//! that accepts commands and reports its state.
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
use tidegate_streams::{BeginEx, DataEx, DataFlags, Frame, FrameKind};

/// How often the rooms report.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the lamp waits before it subscribes again.
const RETRY: Duration = Duration::from_secs(1);

const REPORT: u32 = 1;
const LISTEN: u32 = 2;

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
    Commands { stream: StreamId, message: Vec<u8> },
}

/// The simulated devices.
pub(crate) struct Devices {
    exit: BindingId,
    rooms: [Room; 2],
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

    fn listen(&mut self, cx: &mut Context<'_>) {
        let filter = MqttTopicFilter {
            pattern: "commands/lamp/set".into(),
            qos: 1,
            ..MqttTopicFilter::default()
        };
        let begin = MqttSubscribe {
            qos: 1,
            filters: vec![filter],
            ..MqttSubscribe::default()
        };
        let entry = self.exchanges.vacant_entry();
        match cx.open(self.exit, begin, Token::from_index(entry.key())) {
            Ok(stream) => {
                entry.insert(Exchange::Commands {
                    stream,
                    message: Vec::new(),
                });
            }
            Err(_) => {
                cx.timer(RETRY, NONE, LISTEN, "demo.listen");
            }
        }
    }

    fn execute(&mut self, cx: &mut Context<'_>, command: &[u8]) {
        let state = match command {
            b"on" | b"off" => String::from_utf8_lossy(command).into_owned(),
            _ => {
                tracing::info!("lamp: unknown command ignored; valid: on, off");
                return;
            }
        };
        self.publish(cx, "devices/lamp/state".to_owned(), state);
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

    /// A stream ended. The subscription of the lamp is opened again after [`RETRY`].
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

fn tenths(value: i64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

impl Binding for Devices {
    fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.publish(cx, "devices/lamp/state".to_owned(), "off".to_owned());
        self.report(cx);
        self.listen(cx);
    }

    fn on_begin(&mut self, _cx: &mut Context<'_>, _stream: StreamId, _begin: BeginEx) {
        // No binding opens streams to the devices.
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                cx.acknowledge(at.stream, data.payload.len());
                let fin = data.flags.is_fin();
                let whole = match self.exchanges.get_mut(at.token.index()) {
                    Some(Exchange::Commands { message, .. }) if message.len() < 1_024 => {
                        if let Some(DataEx::Mqtt(MqttDataEx::Subscribe(_))) =
                            data.extension.as_deref()
                        {
                            message.clear();
                        }
                        message.extend_from_slice(&data.payload);
                        fin.then(|| std::mem::take(message))
                    }
                    Some(Exchange::Commands { message, .. }) if fin => {
                        message.clear();
                        None
                    }
                    _ => None,
                };
                if let Some(command) = whole {
                    self.execute(cx, &command);
                }
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
