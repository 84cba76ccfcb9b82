//! The options of `mqtt · client`.
//!
//! Deserializing rejects invalid values, so a binding can be created from any [`Options`].

use std::borrow::Cow;

use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use tidegate_engine::streams::mqtt::text::{ForbiddenCharacter, check_characters};
use tidegate_options::{Bounded, GuardReference, OptionConflict};

use super::accounts::{AccountEntry, Connections, WithoutAccount, checked};
use super::authentication::Authentication;
use super::credentials::Password;
use super::limits::Limits;
use super::redirect::Redirects;
use super::version::Versions;
use super::will::WillMessage;

/// The options of `mqtt · client`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Client identifier of the connection that requests without a session share. Each replica needs
    /// its own: the broker closes the connection of another client with the same identifier. Workers
    /// beyond the first append their number. Absent: `tidegate-` and eight random letters or digits.
    pub client_id: Option<Name>,
    /// User name for the broker.
    #[schemars(example = &"gateway")]
    pub username: Option<Name>,
    /// Password for the broker: text; `{ base64: … }` for bytes that are not text; `{ file: … }` for a
    /// file that is read for each connection, such as one with a token that is replaced.
    #[schemars(example = &"${{env.MQTT_PASSWORD}}")]
    pub password: Option<Password>,
    /// Which streams share a connection to the broker: those of a `session`, with one more for those
    /// without a session; all, `one` connection; or those of an authenticated caller, `identity`, with its
    /// account.
    pub connections: Connections,
    /// The accounts of authenticated callers at the broker, for `connections: identity`. The first entry
    /// that applies to a caller counts. An entry does not apply to a caller without the values that it
    /// contains, or with `/`, `+`, `#` or NUL in one.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountEntry>,
    /// What applies to an authenticated caller without an account: `refuse` it, or let it use the
    /// connection of the `gateway`, with the credentials of these options.
    pub without_account: WithoutAccount,
    /// Whether to follow a broker that refers to another server: `any`, or a list of hosts, in which `*`
    /// stands for any text. The credentials are sent there. Absent: no; the error names the server.
    #[serde(skip_serializing_if = "Redirects::is_none")]
    #[schemars(extend("examples" = [["*.broker.example.com"]]))]
    pub redirects: Redirects,
    /// Enhanced authentication, which requires MQTT 5.
    pub authentication: Option<Authentication>,
    /// Message that the broker publishes when the connection that requests share is lost.
    #[schemars(extend("examples" = [{ "topic": "gateway/state", "payload": "lost", "retain": true }]))]
    pub will: Option<WillMessage>,
    /// Protocol version: `5`, `3.1.1`, or `auto`, which uses MQTT 5 and falls back to 3.1.1 if the broker
    /// does not support it.
    pub version: Versions,
    /// Time without a packet after which the client sends PINGREQ, in seconds; the broker must answer
    /// within half of it. 0: never. The broker can override the value in CONNACK.
    pub keep_alive: Bounded<0, 65_535>,
    /// Time to open a connection, until CONNACK, and to close one, in milliseconds.
    pub connect_timeout: Bounded<1, 600_000>,
    /// Time for the broker to acknowledge a packet, and to send a complete packet, in milliseconds.
    /// After it, the connection is closed and opened again. Large packets get one more second per
    /// 16 KiB.
    pub acknowledge_timeout: Bounded<1, 600_000>,
    /// Time after which an unused connection is closed, in milliseconds.
    pub idle_timeout: Bounded<1, 86_400_000>,
    /// Backoff before a failed connection is opened again.
    pub reconnect: Reconnect,
    /// Time that the broker keeps the session of a lost connection, in seconds. A new connection
    /// within it resumes the session: unacknowledged messages are sent again, and messages at `QoS` 1
    /// and 2 for subscriptions are not missed. 0: every connection starts a new session.
    pub session_expiry: Bounded<0, 4_294_967_295>,
    /// Time after a message was sent first within which it is sent again when its session is resumed, in
    /// seconds. After it, the message stays unconfirmed, so that no late command is executed; one of `QoS`
    /// 2 ends the session. 0: no message is sent again.
    pub resend_within: Bounded<0, 4_294_967_295>,
    /// Maximum number of messages of a connection that wait for the broker while it cannot be reached,
    /// until the deadlines of their calls. Further messages are refused at once as not sent. 0: all
    /// are.
    pub offline_queue: Bounded<0, 1_000_000>,
    /// Largest payload to publish, in bytes. A larger message is refused.
    pub max_message_size: Bounded<1, 268_435_455>,
    /// Largest packet that the broker may send, in bytes.
    pub max_packet_size: Bounded<128, 268_435_460>,
    /// Maximum size of all messages that wait to be published on one connection, in bytes. Further
    /// messages are refused.
    pub max_pending: Bounded<1_024, 4_294_967_295>,
    /// Maximum size of all messages that wait to be published or to be sent again, on all connections of a
    /// worker, in bytes; each counts 256 bytes more than its payload. Further messages are refused.
    pub max_pending_total: Bounded<1_024, 1_099_511_627_776>,
    /// Maximum number of topic aliases in each direction. The broker may use as many, and this side as
    /// many as the broker allows too. 0: none.
    pub topic_alias_maximum: Bounded<0, 65_535>,
    /// Receive Maximum: maximum number of unacknowledged `QoS` 1 and 2 messages from the broker.
    pub receive_maximum: Bounded<1, 65_535>,
    /// Maximum number of messages queued for a slow subscriber. A further message ends its
    /// subscription.
    pub queue_messages: Bounded<1, 1_000_000>,
    /// Maximum size of the messages queued for a slow subscriber, in bytes. A further message ends its
    /// subscription.
    pub queue_bytes: Bounded<1_024, 1_073_741_824>,
    /// What the broker accepts, beside what it states in CONNACK. More is refused before it is sent,
    /// with the reason, since some brokers close the connection over it. `profile` sets it for some.
    pub limits: Limits,
    /// Whether the gateway is ready for calls only while this broker is connected (`/readyz` of an
    /// `admin · server`).
    pub required: bool,
    /// Maximum number of connections of a worker. A stream that needs a further one is refused.
    pub max_connections: Bounded<1, 65_535>,
    /// Maximum number of streams that share a connection. Further streams are refused.
    pub max_streams: Bounded<1, 65_535>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_id: None,
            username: None,
            password: None,
            connections: Connections::default(),
            accounts: Vec::new(),
            without_account: WithoutAccount::default(),
            redirects: Redirects::None,
            authentication: None,
            will: None,
            version: Versions::Auto,
            keep_alive: Bounded::of(30),
            connect_timeout: Bounded::of(5_000),
            acknowledge_timeout: Bounded::of(20_000),
            idle_timeout: Bounded::of(60_000),
            reconnect: Reconnect::default(),
            session_expiry: Bounded::of(0),
            resend_within: Bounded::of(30),
            offline_queue: Bounded::of(0),
            max_message_size: Bounded::of(16 << 20),
            max_packet_size: Bounded::of(16 << 20),
            max_pending: Bounded::of(16 << 20),
            max_pending_total: Bounded::of(256 << 20),
            topic_alias_maximum: Bounded::of(0),
            receive_maximum: Bounded::of(1_000),
            queue_messages: Bounded::of(1_000),
            queue_bytes: Bounded::of(1 << 20),
            limits: Limits::default(),
            required: false,
            max_connections: Bounded::of(10_000),
            max_streams: Bounded::of(10_000),
        }
    }
}

impl tidegate_options::Options for Options {
    fn guards(&self) -> Vec<GuardReference> {
        self.guards_of_accounts()
    }

    fn conflicts(&self) -> Vec<OptionConflict> {
        let mut conflicts = self.conflicts_of_accounts();
        conflicts.extend(self.limits.conflicts(self));
        conflicts
    }
}

impl Options {
    /// Whether a password is sent to the broker.
    pub fn sends_password(&self) -> bool {
        self.password.is_some() || self.accounts.iter().any(|it| it.password.is_some())
    }
}

/// Backoff before a failed connection is opened again: a random time of up to `min`, which doubles
/// with each failure, up to `max`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "ReconnectFields")]
#[schemars(with = "ReconnectFields")]
pub struct Reconnect {
    min: u64,
    max: u64,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            min: 1_000,
            max: 60_000,
        }
    }
}

impl Reconnect {
    /// The longest wait after the first failure, in milliseconds.
    pub const fn min(self) -> u64 {
        self.min
    }

    /// The longest wait of all, in milliseconds.
    pub const fn max(self) -> u64 {
        self.max
    }
}

/// Backoff before a failed connection is opened again: a random time of up to `min`, which doubles
/// with each failure, up to `max`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct ReconnectFields {
    /// Longest wait after the first failure, in milliseconds.
    min: Bounded<1, 3_600_000>,
    /// Longest wait after any failure, in milliseconds.
    max: Bounded<1, 86_400_000>,
}

impl Default for ReconnectFields {
    fn default() -> Self {
        let Reconnect { min, max } = Reconnect::default();
        Self {
            min: Bounded::of(min),
            max: Bounded::of(max),
        }
    }
}

impl TryFrom<ReconnectFields> for Reconnect {
    type Error = String;

    fn try_from(fields: ReconnectFields) -> Result<Self, String> {
        let (min, max) = (fields.min.get(), fields.max.get());
        if min > max {
            return Err(format!(
                "reconnect.min ({min}) exceeds reconnect.max ({max}); use a min of at most {max}"
            ));
        }
        Ok(Self { min, max })
    }
}

/// A client identifier or a user name: 1 to 65,000 bytes of text without control characters and
/// noncharacters, which leaves room for a suffix in the 65,535 that MQTT can express.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(ByteString);

/// Why a text is not a valid name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// It is empty, or too long.
    #[error("use 1 to {} bytes of text, or omit it", Name::MAX)]
    Length,
    /// It contains a character that MQTT does not allow.
    #[error("it contains {0}; remove it")]
    Character(ForbiddenCharacter),
}

impl Name {
    pub(super) const MAX: usize = 65_000;

    /// Checks a text.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, NameError> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Checks a text without taking it.
    pub(super) fn check(text: &str) -> Result<(), NameError> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(NameError::Length);
        }
        check_characters(text).map_err(NameError::Character)
    }

    /// The text.
    pub const fn text(&self) -> &ByteString {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MqttName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 65_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Options, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_as_documented() {
        let options = read("{}").expect("all is optional");
        assert!(options.client_id.is_none());
        assert_eq!(options.keep_alive.get(), 30);
        assert_eq!(options.connect_timeout.get(), 5_000);
        assert_eq!(options.acknowledge_timeout.get(), 20_000);
        assert_eq!(options.idle_timeout.get(), 60_000);
        assert_eq!(
            (options.reconnect.min(), options.reconnect.max()),
            (1_000, 60_000)
        );
        assert_eq!(options.session_expiry.get(), 0);
        assert_eq!(options.offline_queue.get(), 0);
        assert_eq!(options.max_connections.get(), 10_000);
    }

    #[test]
    fn invalid_values_are_rejected_with_a_hint() {
        for (json, expected) in [
            (r#"{"clientId":""}"#, "or omit it"),
            (
                r#"{"clientId":"a\u0000"}"#,
                "it contains U+0000 at character 2",
            ),
            (
                r#"{"username":"\u0085"}"#,
                "it contains U+0085 at character 1",
            ),
            (r#"{"keepAlive":65536}"#, "use 0 to 65535"),
            (r#"{"connectTimeout":0}"#, "use 1 to 600000"),
            (
                r#"{"reconnect":{"min":5000,"max":100}}"#,
                "use a min of at most 100",
            ),
            (r#"{"reconnect":{"mean":1}}"#, "unknown field `mean`"),
            (r#"{"password":7}"#, "invalid password: use text"),
            (r#"{"host":"localhost"}"#, "unknown field `host`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }
}
