//! MCP over MQTT 5 from the side of a client (specs/mcp-over-mqtt5.md): topics, properties, correlations, and what is
//! known of the server.
//!
//! One subscription receives what the server says of itself and the replies to all requests. Each request, and each
//! repetition of one, is a publication of its own.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use slab::Slab;
use tidegate_engine::{Context, Duration, PendingData, StreamId, Time, TimerId};
use tidegate_streams::mqtt::{
    MqttMessages, MqttPayloadFormat, MqttPublish, MqttPublishData, MqttSubscribe,
    MqttSubscribeFlags, MqttTopicFilter, MqttUserProperty,
};
use tidegate_streams::{Data, DataFlags, Frame};

use super::binding::wire_timer;
use super::handshake::Server;
use super::key::Key;
use super::options::MqttOptions;
use crate::jsonrpc::MODERN;

/// Time for which a `subscriptions/listen` lasts without being renewed.
pub(super) const LISTEN_EXPIRY: Duration = Duration::from_secs(300);
/// Time after which it is renewed.
pub(super) const RENEW_AFTER: Duration = Duration::from_secs(100);

/// Number of random bytes in the response topic.
const INSTANCE: usize = 8;
/// The random part of a correlation.
pub(super) type Nonce = [u8; 8];
/// How long the retained message about the server is waited for, once the broker has confirmed the subscription.
const RETAINED_WITHIN: Duration = Duration::from_secs(1);
const JSON: &str = "application/json";

/// Whether the server is there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Presence {
    /// Nothing was heard of it yet.
    Unknown,
    Present(Server),
    Absent,
}

/// What is shared by all requests to the server.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) discover: ByteString,
    pub(super) request: ByteString,
    /// Empty until the subscription is opened.
    response: ByteString,
    base: ByteString,
    client: ByteString,
    instance: [u8; INSTANCE],
    pub(super) subscription: Option<StreamId>,
    pub(super) messages: MqttMessages,
    pub(super) presence: Presence,
    /// The last message that says that the server is there.
    pub(super) announcement: Bytes,
    /// When a message about the server has come last.
    pub(super) told: Time,
    pub(super) publications: Slab<Outgoing>,
    /// The next attempt to subscribe, or the end of the wait for the retained message.
    pub(super) timer: Option<TimerId>,
    /// The server has said that it is away; another instance may still be there.
    pub(super) absence: Option<TimerId>,
    pub(super) renewal: Option<TimerId>,
    /// Why the last subscription failed.
    pub(super) failure: Option<String>,
    /// Why the last message about the server cannot be used.
    pub(super) unusable: Option<String>,
}

/// A request, as it is sent again.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// The first half of its correlation, which nobody else can know.
    pub(super) nonce: Nonce,
    pub(super) message: Bytes,
    pub(super) method: &'static str,
    pub(super) name: Option<ByteString>,
    /// When it expires. That of a listen moves on with each renewal.
    pub(super) until: Time,
    pub(super) renews: bool,
}

/// A publication.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) stream: StreamId,
    /// The request that it carries for the first time; absent for a repetition, and for a notification.
    pub(super) request: Option<u64>,
    message: Bytes,
    data: Option<Box<MqttPublishData>>,
    pending: PendingData,
    pub(super) sent: bool,
}

impl Wire {
    pub(super) fn new(options: &MqttOptions, max: usize) -> Self {
        let (base, client) = (options.base(), options.client());
        Self {
            discover: format!("{base}/discover").into(),
            request: format!("{base}/request/{client}").into(),
            response: ByteString::new(),
            base: base.into(),
            client: client.into(),
            instance: [0; INSTANCE],
            subscription: None,
            messages: MqttMessages::of_at_most(max),
            presence: Presence::Unknown,
            announcement: Bytes::new(),
            told: Time::START,
            publications: Slab::new(),
            timer: None,
            absence: None,
            renewal: None,
            failure: None,
            unusable: None,
        }
    }

    /// The BEGIN of the subscription.
    pub(super) fn subscribe(&mut self, cx: &mut Context<'_>) -> MqttSubscribe {
        if self.response.is_empty() {
            cx.random(&mut self.instance);
            let mut topic = format!("{}/response/{}/", self.base, self.client);
            for byte in self.instance {
                let _ = write!(topic, "{byte:02x}");
            }
            self.response = topic.into();
        }
        let filter = |subscription_id, pattern: &ByteString, flags| MqttTopicFilter {
            subscription_id,
            qos: 1,
            flags,
            pattern: pattern.clone(),
            ..MqttTopicFilter::default()
        };
        MqttSubscribe {
            filters: vec![
                filter(1, &self.discover, MqttSubscribeFlags::SEND_RETAINED),
                filter(2, &self.response, MqttSubscribeFlags::NO_RETAINED),
            ],
            ..MqttSubscribe::default()
        }
    }

    /// Whether a message is a reply.
    pub(super) fn is_reply(&self, topic: &str) -> bool {
        self.response == topic
    }

    /// The properties of a request, if it is published now.
    pub(super) fn request_data(&self, id: u64, sent: &Sent, now: Time) -> MqttPublishData {
        let property = |key: &'static str, value: ByteString| MqttUserProperty {
            key: ByteString::from_static(key),
            value,
        };
        let mut properties = vec![
            property("mcp-protocol-version", ByteString::from_static(MODERN)),
            property("mcp-method", ByteString::from_static(sent.method)),
        ];
        properties.extend(sent.name.clone().map(|name| property("mcp-name", name)));
        MqttPublishData {
            response_topic: Some(self.response.clone()),
            properties,
            ..Self::data(id, sent, now)
        }
    }

    /// The properties of a notification about a request, which is of no use after it.
    pub(super) fn data(id: u64, sent: &Sent, now: Time) -> MqttPublishData {
        MqttPublishData {
            qos: 1,
            expiry_interval: seconds_up(sent.until.since(now)),
            content_type: Some(ByteString::from_static(JSON)),
            format: MqttPayloadFormat::Text,
            correlation: Some(correlation(id, sent.nonce)),
            ..MqttPublishData::default()
        }
    }

    /// The BEGIN of a publication.
    pub(super) fn publish(&self) -> MqttPublish {
        MqttPublish {
            topic: self.request.clone(),
            qos: 1,
            ..MqttPublish::default()
        }
    }

    /// Waits for the retained message about the server, which the broker sends after a subscription.
    pub(super) fn await_retained(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        let (token, kind) = (Key::Wire.token(), wire_timer::RETAINED);
        let reason = "mcp_client.retained";
        self.timer = Some(cx.timer(RETAINED_WITHIN, token, kind, reason));
    }

    /// Ends the subscription and its timers.
    pub(super) fn close(&mut self, cx: &mut Context<'_>) {
        let timers = [&mut self.timer, &mut self.absence, &mut self.renewal];
        for timer in timers {
            if let Some(timer) = timer.take() {
                cx.cancel(timer);
            }
        }
        if let Some(stream) = self.subscription.take() {
            cx.end(stream, Frame::end());
            cx.terminate(stream, None, None);
        }
        self.messages.clear();
    }
}

impl Outgoing {
    pub(super) fn new(
        stream: StreamId,
        request: Option<u64>,
        message: Bytes,
        data: MqttPublishData,
    ) -> Self {
        Self {
            stream,
            request,
            message,
            data: Some(Box::new(data)),
            pending: PendingData::new(),
            sent: false,
        }
    }

    /// Sends what the credit allows of the message, and its end.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if self.sent {
            return;
        }
        if let Some(mut data) = self.data.take() {
            let credit = cx.credit(self.stream);
            if credit == 0 {
                self.data = Some(data);
                return;
            }
            let rest = self.message.split_off(credit.min(self.message.len()));
            data.deferred = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let head = std::mem::replace(&mut self.message, Bytes::new());
            let flags = DataFlags::of(true, rest.is_empty());
            cx.send(self.stream, Frame::data_with(flags, head, *data));
            if !rest.is_empty() {
                self.pending.push(Data::part(DataFlags::FIN, rest));
            }
        }
        if self.pending.flush(cx, self.stream) {
            self.sent = true;
            cx.end(self.stream, Frame::end());
        }
    }
}

/// The Correlation Data of a request.
fn correlation(id: u64, nonce: Nonce) -> Bytes {
    let mut correlation = BytesMut::with_capacity(size_of::<Nonce>() + size_of::<u64>());
    correlation.extend_from_slice(&nonce);
    correlation.extend_from_slice(&id.to_be_bytes());
    correlation.freeze()
}

/// The request that a reply names with its Correlation Data.
pub(super) fn request_of(correlation: Option<&Bytes>) -> Option<(u64, Nonce)> {
    let (nonce, number) = correlation?.split_first_chunk()?;
    Some((u64::from_be_bytes(number.try_into().ok()?), *nonce))
}

/// Whole seconds, so that a message with any time left does not expire at once.
fn seconds_up(left: Duration) -> i64 {
    i64::try_from(left.as_millis().div_ceil(1_000).max(1)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> Wire {
        let options = r#"{"base":"mcp/boiler","client":"gateway"}"#;
        let options: MqttOptions = serde_json::from_str(options).expect("valid");
        let mut wire = Wire::new(&options, 1_024);
        wire.instance = [7; INSTANCE];
        wire.response = "mcp/boiler/response/gateway/0707070707070707".into();
        wire
    }

    fn sent(until: Time) -> Sent {
        Sent {
            nonce: [9; 8],
            message: Bytes::new(),
            method: "tools/call",
            name: Some("open".into()),
            until,
            renews: false,
        }
    }

    #[test]
    fn a_reply_names_its_request_by_its_correlation() {
        let wire = wire();
        let data = Wire::data(258, &sent(Time::START), Time::START);
        let correlation = data.correlation.expect("a correlation");
        assert_eq!(correlation.len(), 16);
        assert_eq!(request_of(Some(&correlation)), Some((258, [9; 8])));
        for other in [&b""[..], &[7; 8], &[7; 15], &[7; 17]] {
            let other = Bytes::copy_from_slice(other);
            assert_eq!(request_of(Some(&other)), None, "{other:?}");
        }
        assert_eq!(request_of(None), None);
        assert!(wire.is_reply("mcp/boiler/response/gateway/0707070707070707"));
        assert!(!wire.is_reply("mcp/boiler/response/gateway/x"));
    }

    #[test]
    fn a_request_says_how_long_it_is_waited_for() {
        let wire = wire();
        let now = Time::START + Duration::from_secs(10);
        let sent = |left| sent(now + Duration::from_millis(left));
        let of = |left| wire.request_data(1, &sent(left), now).expiry_interval;
        assert_eq!((of(2_000), of(2_001), of(0)), (2, 3, 1));
        let data = wire.request_data(1, &sent(1), now);
        let names: Vec<&str> = data.properties.iter().map(|it| &*it.key).collect();
        assert_eq!(names, ["mcp-protocol-version", "mcp-method", "mcp-name"]);
    }
}
