//! What a route does with a request (`with`), as written in the config.

mod check;
mod messages;
mod plan;
mod raw;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, Glob};

use crate::document::Document;
use crate::levels::AnswerTopic;
use crate::progress::ProgressOptions;
use crate::raw::rules::Raw;
use crate::template::Template;

pub(crate) use messages::unanswerable;
pub(crate) use plan::needs;

/// The variable with the result of a route's only tool.
pub(crate) const RESULT: &str = "result";
/// The variable with the failure.
pub(crate) const ERROR: &str = "error";

/// A template of a text, as an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Template);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Template::text(&text).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// What a route does with a request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct With {
    /// Name of the tool to call: a name, or a template such as `{{ payload.tool }}`, which needs `allow`.
    /// A route has `tool`, `plan`, or neither: then `answer` alone is published.
    #[schemars(extend("examples" = ["{{ payload.tool }}"]))]
    pub(crate) tool: Option<Text>,
    /// Several tools: a step for each, by a name under which the templates of other steps and of `answer`
    /// see its result. Steps run at once, but for those whose templates refer to others.
    #[serde(default)]
    pub(crate) plan: BTreeMap<String, StepOptions>,
    /// Arguments of `tool`: a mapping whose texts are templates, or one template that renders a JSON
    /// object. A text that is one expression keeps the type of its value.
    #[schemars(extend("examples" = ["{{ payload.arguments }}"]))]
    pub(crate) arguments: Option<Document>,
    /// Where the progress of `tool` is published, for tools that take their time: a topic, or more. Absent:
    /// nowhere.
    #[schemars(extend("examples" = ["devices/{device}/progress"]))]
    pub(crate) progress: Option<ProgressOptions>,
    /// Form of the messages.
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// Whether `tool` may be executed twice without harm. With a `queue`, a request that was being executed
    /// when the gateway was killed is then executed again, instead of being answered as `unknown`.
    #[serde(default)]
    pub(crate) idempotent: bool,
    /// What messages are, if they are not read by templates: `json-rpc` for JSON-RPC messages of MCP (2026-07-28), from
    /// devices that speak MCP themselves. `allow` lists the methods then.
    pub(crate) raw: Option<Raw>,
    /// With `raw`, tools that may be called; `*` stands for any text. Others are left out of lists. Absent: all.
    #[serde(default)]
    pub(crate) tools: Vec<Glob>,
    /// Tools that may be called; `*` stands for any text. Required if `tool` is a template. With `raw`, the methods
    /// that may be called, such as `tools/call`; required then.
    #[serde(default)]
    #[schemars(extend("examples" = [["kitchen__lookup_*", "kitchen__check_*"]]))]
    pub(crate) allow: Vec<Glob>,
    /// Who asks, for the MCP exit, its guards and the audit log: a template of the subject. The device in
    /// `perDevice` is this subject as well. Absent: the call is anonymous, and the device is the first
    /// named level of the topic, or the topic if none is named.
    pub(crate) identity: Option<IdentityOptions>,
    /// Which messages are requests: a template that is true for them. Other messages are ignored. Absent:
    /// all.
    pub(crate) r#if: Option<Text>,
    /// Whether `every` message for which `if` is true is a request, or only the first one of a topic
    /// (`rising`) after it was back to normal.
    #[serde(default)]
    pub(crate) edge: Edge,
    /// When a topic is back to normal, with `edge: rising`: a template. Absent: when `if` is false.
    pub(crate) until: Option<Text>,
    /// Minimum time between two requests of a topic, in milliseconds, with `if`. Messages in between are
    /// ignored.
    pub(crate) min_interval: Option<Bounded<1, 86_400_000>>,
    /// What makes a request the same as one before: a template. Absent: the Correlation Data, or `id` in
    /// the payload.
    pub(crate) correlation: Option<Text>,
    /// Time from the receipt of a request to its answer, in milliseconds. Absent: `timeout` of the
    /// binding.
    pub(crate) timeout: Option<Bounded<1, 3_600_000>>,
    /// The answer to a request that succeeds.
    #[serde(default)]
    pub(crate) answer: MessageOptions,
    /// The answer to a request that fails. `topic`, `qos` and `expiry` are those of `answer` if absent.
    #[serde(default)]
    pub(crate) failure: MessageOptions,
}

/// Form of the messages of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Protocol {
    /// JSON in both directions.
    #[default]
    Plain,
    /// Commands of Azure `IoT` Operations, RPC protocol 1.0, with JSON as payload. `MQTT` 5 only.
    Aio,
}

/// Which of the messages for which `if` is true are requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Edge {
    /// All.
    #[default]
    Every,
    /// The first one after the topic was back to normal.
    Rising,
}

/// A step of a plan: one tool.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct StepOptions {
    /// Name of the tool: a name, or a template, which needs `allow`.
    pub(crate) tool: Text,
    /// Arguments of the tool: a mapping whose texts are templates, or one template that renders a JSON
    /// object.
    pub(crate) arguments: Option<Document>,
    /// Whether the tool is called: a template. A step that is not called has no result.
    pub(crate) when: Option<Text>,
    /// Where the progress of the tool is published, for tools that take their time: a topic, or more.
    /// Absent: nowhere.
    pub(crate) progress: Option<ProgressOptions>,
    /// Whether the plan goes on without a result when the step fails.
    #[serde(default)]
    pub(crate) optional: bool,
    /// Time for the tool, in milliseconds. Absent: until the deadline of the request.
    pub(crate) timeout: Option<Bounded<1, 3_600_000>>,
    /// Whether the tool may be executed twice without harm.
    #[serde(default)]
    pub(crate) idempotent: bool,
    /// Number of further attempts when the server cannot be reached, fails or does not answer in time.
    /// Requires `idempotent`.
    #[serde(default = "StepOptions::no_retry")]
    pub(crate) retry: Bounded<0, 10>,
}

impl StepOptions {
    const fn no_retry() -> Bounded<0, 10> {
        Bounded::of(0)
    }
}

/// Who asks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(untagged)]
pub(crate) enum IdentityOptions {
    /// A template of the subject.
    Subject(Text),
    /// The subject and what the caller may do.
    Full(FullIdentity),
}

/// The subject and what the caller may do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct FullIdentity {
    /// A template of the subject.
    pub(crate) subject: Text,
    /// Roles of the caller.
    #[serde(default)]
    pub(crate) roles: Vec<String>,
}

impl IdentityOptions {
    pub(crate) const fn subject(&self) -> &Template {
        match self {
            Self::Subject(text) => &text.0,
            Self::Full(full) => &full.subject.0,
        }
    }

    pub(crate) fn roles(&self) -> &[String] {
        match self {
            Self::Subject(_) => &[],
            Self::Full(full) => &full.roles,
        }
    }
}

/// A message that is published.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct MessageOptions {
    /// Topic. A level `{name}` is the level of that name of the request's topic. Absent: the topic that
    /// the request names, if `replyTopics` allows it.
    pub(crate) topic: Option<AnswerTopic>,
    /// `QoS`; 1 if absent.
    pub(crate) qos: Option<Bounded<0, 2>>,
    /// Whether the broker retains the message.
    pub(crate) retain: Option<bool>,
    /// Message Expiry Interval, in seconds. The expiry of the request, if it is sooner, applies instead.
    pub(crate) expiry: Option<Bounded<1, 4_294_967_295>>,
    /// Payload: a mapping whose texts are templates, or one template that renders JSON. Absent: the
    /// status, and the result of the tool or the reason of the failure.
    pub(crate) payload: Option<Document>,
}
