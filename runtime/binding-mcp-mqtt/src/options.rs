//! The options of `mcp_mqtt · proxy`.
//!
//! Deserializing rejects invalid values, so a binding can be created from any [`Options`].

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use tidegate_options::{Bounded, GuardReference, OptionWarning, TopicEntry};
use tidegate_streams::mqtt::topic::TopicLimits;

use crate::mcpmqtt::Compatibility;
use crate::tools::Tool;

mod named_pattern;
mod payload_schema;
mod publish_qos;
mod reply_topic;
mod topics;

pub use named_pattern::NamedPattern;
pub use payload_schema::PayloadSchema;
pub use publish_qos::PublishQos;
pub use reply_topic::ReplyTopic;
pub use topics::{Permissions, QosRange, Topic};

/// The options of `mcp_mqtt · proxy`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    default,
    remote = "Self"
)]
pub struct Options {
    /// Topic filters that clients may read: with `receive`, `resources/read` and
    /// `resources/subscribe`. Each is offered as a resource template. An entry `{ pattern, guarded }` is
    /// for some callers only: others neither see nor reach what it allows. Empty: none, and no tool
    /// `receive`. Absent: every topic that does not begin with `$`, and no templates.
    #[schemars(extend("examples" = [["sensors/temperature/+", "sensors/humidity/#"]]))]
    pub subscribe: Option<Vec<TopicEntry>>,
    /// Topic filters that clients may publish to, written like those of `subscribe`. Empty: none, and no
    /// tool `publish`. Absent: every topic that does not begin with `$`.
    #[schemars(extend("examples" = [["commands/+/set"]]))]
    pub publish: Option<Vec<TopicEntry>>,
    /// Topics with their meaning and their rules, beside those of `subscribe` and `publish`. If it is
    /// present, an absent `subscribe` or `publish` adds nothing. A message must obey every entry that
    /// matches its topic, has the permission to publish, and is for its caller.
    #[schemars(extend("examples" = [[{
        "pattern": "lamps/{lamp}/set",
        "permissions": ["publish"],
        "description": "Switches a lamp.",
        "schema": { "enum": ["on", "off"] },
        "example": "on"
    }]]))]
    pub topics: Option<Vec<Topic>>,
    /// Tools to offer. Absent: all.
    pub tools: Option<Vec<Tool>>,
    /// Offers the tools and resources of another server instead of those of tidegate, with their names, arguments
    /// and results: `mcpmqtt` those of mcpMQTT. `tools` selects by the names of tidegate. `replyTopic` and
    /// `observe` have no effect then.
    pub compatibility: Option<Compatibility>,
    /// Topic for the answers of `query` without `responseTopic`, with a level `{clientId}` that stands for
    /// the MQTT client identifier. The request carries it as Response Topic, with Correlation Data (MQTT 5).
    /// Callers need no permission for it. Absent: `query` needs `responseTopic`.
    #[schemars(extend("examples" = ["replies/{clientId}"]))]
    pub reply_topic: Option<ReplyTopic>,
    /// Whether `list_topics` lists the topics on which this worker has received messages for callers, with
    /// the time since the last one: at most 2,000, of 1 MiB together, of which the one that was silent for
    /// longest is removed first.
    pub observe: bool,
    /// Lowest and default `qos` of `publish`. With a minimum of 1, success always means that the broker
    /// has acknowledged the message.
    pub publish_qos: PublishQos,
    /// Time that `resources/read` waits for a message, in milliseconds.
    pub read_timeout: Bounded<1, 3_600_000>,
    /// Time that `receive` waits for messages, in milliseconds, if the call does not set `timeout`.
    pub receive_timeout: Bounded<1, 3_600_000>,
    /// Largest `limit` of `receive`, in messages.
    pub receive_limit: Bounded<1, 1_000_000>,
    /// Largest result of `receive` or `resources/read`, in bytes. A `receive` that reaches it returns
    /// the messages it has.
    pub receive_bytes: Bounded<1_024, 268_435_456>,
    /// Time after which the broker drops a published message that a subscriber has not taken, in
    /// seconds. It does not apply to retained messages. Absent: never.
    pub publish_expiry: Option<Bounded<1, 4_294_967_295>>,
    /// Whether clients must repeat the `topic` argument in the HTTP header `Mcp-Param-Topic`, so that
    /// gateways in front can route by topic without reading bodies.
    pub topic_header: bool,
    /// Whether `receive` and `resources/read` may use shared subscriptions (`$share/GROUP/FILTER`),
    /// which take messages from the other subscribers of the group.
    pub shared_subscriptions: bool,
    /// Maximum number of levels of a topic or topic filter. Brokers close the connection over more than they
    /// accept: mosquitto over 200 slashes, some cloud brokers over 7.
    pub max_topic_levels: Bounded<1, 65_535>,
    /// Maximum length of a topic or topic filter, in bytes of UTF-8.
    pub max_topic_length: Bounded<1, 65_535>,
    /// Largest `params` of a call, in bytes. Larger ones are refused.
    pub max_params: Bounded<1_024, 268_435_456>,
    /// Maximum number of MCP sessions of a worker. Further sessions are refused.
    pub max_sessions: Bounded<1, 1_000_000>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            subscribe: None,
            publish: None,
            topics: None,
            tools: None,
            compatibility: None,
            reply_topic: None,
            observe: false,
            publish_qos: PublishQos::default(),
            read_timeout: Bounded::of(5_000),
            receive_timeout: Bounded::of(5_000),
            receive_limit: Bounded::of(1_000),
            receive_bytes: Bounded::of(1 << 20),
            publish_expiry: None,
            topic_header: false,
            shared_subscriptions: false,
            max_topic_levels: Bounded::of(128),
            max_topic_length: Bounded::of(4_096),
            // A body of 4 MiB, the default limit of the http binding, and something for base64
            // headers, batches and the like.
            max_params: Bounded::of((4 << 20) + (64 << 10)),
            max_sessions: Bounded::of(10_000),
        }
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let options = Self::deserialize(deserializer)?;
        options.check_limits().map_err(de::Error::custom)?;
        Ok(options)
    }
}

impl tidegate_options::Options for Options {
    fn warnings(&self) -> Vec<OptionWarning> {
        let open = |key: &'static str, what: &str| OptionWarning {
            key,
            message: format!("'{key}' is not set, so clients can {what}"),
            help: format!(
                "list the topic filters that they need, e.g. {key}: [ plant/# ], or '#' for all"
            ),
        };
        let mut warnings = Vec::new();
        if self.compatibility.is_some() && self.reply_topic.is_some() {
            warnings.push(OptionWarning {
                key: "replyTopic",
                message: "'replyTopic' has no effect with 'compatibility'".to_owned(),
                help: "remove it: callers of mqtt_query name the response topic".to_owned(),
            });
        }
        if self.topics.is_some() {
            return warnings;
        }
        if self.subscribe.is_none() {
            warnings.push(open("subscribe", "read every topic"));
        }
        if self.publish.is_none() {
            warnings.push(open("publish", "publish to every topic"));
        }
        warnings
    }

    fn guards(&self) -> Vec<GuardReference> {
        let lists = [("subscribe", &self.subscribe), ("publish", &self.publish)];
        let mut references = Vec::new();
        for (key, entries) in lists {
            for (index, entry) in entries.iter().flatten().enumerate() {
                references.extend(entry.references(&[key, &index.to_string()]));
            }
        }
        for (index, topic) in self.topics.iter().flatten().enumerate() {
            references.extend(topic.entry().references(&["topics", &index.to_string()]));
        }
        references
    }
}

impl Options {
    /// The limits on topics, filters and patterns.
    pub(crate) fn topic_limits(&self) -> TopicLimits {
        let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        TopicLimits {
            levels: size(self.max_topic_levels.get()),
            length: size(self.max_topic_length.get()),
        }
    }

    /// Rejects patterns beyond the topic limits, which could never match, and such a reply topic. The
    /// error lists the first few.
    fn check_limits(&self) -> Result<(), String> {
        const NAMED: usize = 10;
        let limits = self.topic_limits();
        let entries = self.subscribe.iter().chain(&self.publish).flatten();
        let plain = entries.map(|entry| &entry.pattern);
        let named = self.topics.iter().flatten();
        let named = named.map(|topic| topic.pattern.pattern());
        let faults = plain.chain(named).filter_map(|it| it.check(&limits).err());
        let reply = self.reply_topic.as_ref();
        let reply = reply.and_then(|topic| topic.check(&limits).err());
        let reply = reply.map(|error| format!("invalid reply topic: {error}"));
        let faults: Vec<String> = faults.take(NAMED).chain(reply).collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Options, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_as_specified() {
        let options = read("{}").expect("all is optional");
        assert!(options.subscribe.is_none() && options.publish.is_none());
        assert_eq!(options.read_timeout.get(), 5_000);
        assert_eq!(options.receive_timeout.get(), 5_000);
        assert_eq!(options.receive_limit.get(), 1_000);
        assert_eq!(options.receive_bytes.get(), 1_048_576);
        assert!(options.publish_expiry.is_none() && !options.topic_header);
        assert_eq!(options.max_sessions.get(), 10_000);
        assert!(!options.shared_subscriptions);
        assert_eq!(options.max_topic_levels.get(), 128);
        assert_eq!(options.max_topic_length.get(), 4_096);
    }

    #[test]
    fn an_absent_pattern_option_gives_a_warning() {
        use tidegate_options::Options as _;
        let keys = |json: &str| -> Vec<&str> {
            let warnings = read(json).expect("valid options").warnings();
            warnings.iter().map(|warning| warning.key).collect()
        };
        assert_eq!(keys("{}"), ["subscribe", "publish"]);
        assert_eq!(keys(r#"{"subscribe":["a/+"]}"#), ["publish"]);
        assert!(keys(r##"{"subscribe":["#"],"publish":[]}"##).is_empty());
        let without_effect =
            r#"{"topics":[],"compatibility":"mcpmqtt","replyTopic":"a/{clientId}"}"#;
        assert_eq!(keys(without_effect), ["replyTopic"]);
    }

    #[test]
    fn the_guards_of_entries_are_listed() {
        use tidegate_options::Options as _;
        let json = r#"{"publish":["a",{"pattern":"b/${guarded['keys'].identity}","guarded":{"staff":["x"]}}]}"#;
        let references = read(json).expect("valid options").guards().into_iter();
        let references: Vec<String> = references
            .map(|it| format!("{} at {}", it.guard, it.path.join(".")))
            .collect();
        assert_eq!(
            references,
            ["staff at publish.1.guarded.staff", "keys at publish.1"]
        );
    }

    #[test]
    fn invalid_values_are_rejected_with_a_hint() {
        for (json, expected) in [
            (
                r#"{"subscribe":["a/#/b"]}"#,
                "invalid topic filter 'a/#/b': the wildcard '#'",
            ),
            (
                r#"{"publish":["$share/g/a/+"]}"#,
                "shared subscriptions are not allowed here; use 'a/+'",
            ),
            (
                r#"{"publish":["a\u0007/+"]}"#,
                "invalid topic filter 'a\u{7}/+': it contains U+0007 at character 2; MQTT allows no control",
            ),
            (
                r#"{"subscribe":["a/b/#"],"publish":["c/d/e"],"maxTopicLevels":2}"#,
                "invalid topic filter 'a/b/#': it has 3 levels and at most 2 are allowed \
                 (maxTopicLevels); use fewer; invalid topic filter 'c/d/e': it has 3 levels",
            ),
            (
                r#"{"publish":["a","abcdef"],"maxTopicLength":5}"#,
                "invalid topic filter 'abcdef': it is 6 bytes long and at most 5 are allowed (maxTopicLength)",
            ),
            (
                r#"{"publish":["a/b/c"],"replyTopic":"a/{clientId}/b","maxTopicLevels":2}"#,
                "(maxTopicLevels); use fewer; invalid reply topic: it has 3 levels",
            ),
            (r#"{"readTimeout":0}"#, "use 1 to 3600000"),
            (r#"{"receiveLimit":-1}"#, "-1 is out of range"),
            (r#"{"receiveBytes":3}"#, "use 1024 to"),
            (r#"{"publishExpiry":4294967296}"#, "out of range"),
            (r#"{"routes":[]}"#, "unknown field `routes`"),
            (
                r#"{"compatibility":"mcp"}"#,
                "unknown variant `mcp`, expected `mcpmqtt`",
            ),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_schema_contains_bounds_and_defaults() {
        let schema = schemars::schema_for!(Options).to_value();
        assert_eq!(schema["additionalProperties"], false);
        let read = &schema["properties"]["readTimeout"];
        assert_eq!(
            (&read["minimum"], &read["default"]),
            (&1.into(), &5_000.into())
        );
        assert!(
            read["description"]
                .as_str()
                .is_some_and(|text| text.contains("milliseconds"))
        );
        let entry = &schema["properties"]["subscribe"]["items"]["anyOf"];
        assert_eq!(entry[0]["maxLength"], 65_535);
        assert_eq!(entry[1]["required"][0], "pattern");
    }
}
