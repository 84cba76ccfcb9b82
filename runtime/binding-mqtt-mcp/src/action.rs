//! What a route does with a request (`with`), as written in the config.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use tidegate_options::{Action, ActionFault, ActionRoute, Bounded, Glob};

use crate::document::Document;
use crate::levels::AnswerTopic;
use crate::options::Condition;
use crate::template::{Template, first};

/// Variables of every request.
const REQUEST: [&str; 4] = ["payload", "topic", "correlation", "properties"];
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
    #[schemars(extend("examples" = ["{{ payload.tool }}"]))]
    pub(crate) tool: Text,
    /// Arguments of the tool: a mapping whose texts are templates, or one template that renders a JSON
    /// object. A text that is one expression keeps the type of its value.
    #[schemars(extend("examples" = ["{{ payload.arguments }}"]))]
    pub(crate) arguments: Option<Document>,
    /// Tools that may be called; `*` stands for any text. Required if `tool` is a template.
    #[serde(default)]
    #[schemars(extend("examples" = [["kitchen__lookup_*", "kitchen__check_*"]]))]
    pub(crate) allow: Vec<Glob>,
    /// Who asks, for the MCP exit, its guards and the audit log: a template of the subject. The device in
    /// `perDevice` is this subject as well. Absent: the call is anonymous, and the device is the first
    /// named level of the topic, or the topic if none is named.
    pub(crate) identity: Option<IdentityOptions>,
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

impl Action for With {
    type Condition = Condition;

    fn check(routes: &[ActionRoute<Condition, Self>]) -> Vec<ActionFault> {
        let mut faults = Vec::new();
        for (route, it) in routes.iter().enumerate() {
            let mut fault = |path: &[&str], message: String, help: String| {
                faults.push(ActionFault {
                    route,
                    path: path.iter().map(|step| (*step).to_owned()).collect(),
                    message,
                    help,
                });
            };
            check_tool(&it.with, &mut fault);
            check_variables(it, &mut fault);
            check_topics(it, routes, &mut fault);
        }
        faults
    }
}

/// Records a fault: the path below the route, what is wrong, and how to fix it.
type Fault<'a> = dyn FnMut(&[&str], String, String) + 'a;

fn check_tool(with: &With, fault: &mut Fault<'_>) {
    let tool = &with.tool.0;
    if with.allow.is_empty() && !tool.is_literal() {
        fault(
            &["with", "tool"],
            "requests choose the tool, but no tool is allowed".to_owned(),
            "add 'allow' with the tools that may be called".to_owned(),
        );
    }
    let allowed = |name: &str| with.allow.iter().any(|glob| glob.matches(name));
    if tool.is_literal() && !with.allow.is_empty() && !allowed(tool.source()) {
        fault(
            &["with", "tool"],
            format!("'allow' does not contain '{}'", tool.source()),
            "add it to 'allow', or remove 'allow'".to_owned(),
        );
    }
}

/// The names of levels that all conditions of a route have.
fn named_levels(route: &ActionRoute<Condition, With>) -> BTreeSet<&str> {
    let mut all = route.when.iter().map(|it| it.topic.names().collect());
    let first: BTreeSet<&str> = all.next().unwrap_or_default();
    all.fold(first, |named, other: BTreeSet<&str>| &named & &other)
}

fn check_variables(route: &ActionRoute<Condition, With>, fault: &mut Fault<'_>) {
    let with = &route.with;
    let levels = named_levels(route);
    let mut check = |path: &[&str], variables: BTreeSet<String>, more: &[&str]| {
        let known: Vec<&str> = REQUEST.iter().chain(more).copied().collect();
        for variable in variables {
            let name = first(&variable);
            if !known.contains(&name) {
                let help = nearest(name, &known, "the variables are");
                fault(path, format!("unknown variable '{name}'"), help);
            } else if let Some(level) = variable.strip_prefix("topic.").map(first)
                && !levels.contains(level)
            {
                let levels: Vec<&str> = levels.iter().copied().collect();
                let help = nearest(
                    level,
                    &levels,
                    "the named levels of every topic in 'when' are",
                );
                fault(path, format!("no level is named '{level}'"), help);
            }
        }
    };
    check(&["with", "tool"], with.tool.0.variables(), &[]);
    if let Some(arguments) = &with.arguments {
        check(&["with", "arguments"], arguments.variables(), &[]);
    }
    if let Some(identity) = &with.identity {
        check(&["with", "identity"], identity.subject().variables(), &[]);
    }
    if let Some(correlation) = &with.correlation {
        check(&["with", "correlation"], correlation.0.variables(), &[]);
    }
    if let Some(payload) = &with.answer.payload {
        check(
            &["with", "answer", "payload"],
            payload.variables(),
            &[RESULT],
        );
    }
    if let Some(payload) = &with.failure.payload {
        check(
            &["with", "failure", "payload"],
            payload.variables(),
            &[ERROR],
        );
    }
}

fn check_topics(
    route: &ActionRoute<Condition, With>,
    routes: &[ActionRoute<Condition, With>],
    fault: &mut Fault<'_>,
) {
    let levels = named_levels(route);
    let messages = [
        ("answer", &route.with.answer),
        ("failure", &route.with.failure),
    ];
    for (key, message) in messages {
        let Some(topic) = &message.topic else {
            continue;
        };
        let path = ["with", key, "topic"];
        for name in topic.names().filter(|name| !levels.contains(name)) {
            let levels: Vec<&str> = levels.iter().copied().collect();
            let help = nearest(
                name,
                &levels,
                "the named levels of every topic in 'when' are",
            );
            fault(&path, format!("no level is named '{name}'"), help);
        }
        let conditions = routes.iter().flat_map(|route| &route.when);
        let mut filters = conditions.map(|it| it.topic.filter());
        let own = topic.filter();
        if let Some(request) = filters.find(|it| own.as_ref().is_some_and(|own| it.overlaps(own))) {
            let message = format!(
                "'{}' may be a topic of requests ('{request}')",
                topic.text()
            );
            let help = "use a topic that no 'when' matches: answers would be taken for requests";
            fault(&path, message, help.to_owned());
        }
    }
}

/// The nearest of some names, or all of them.
fn nearest(name: &str, known: &[&str], all: &str) -> String {
    /// Similarity from which a name is likely meant.
    const LIKELY: f64 = 0.7;
    let scored = known.iter().map(|it| (strsim::jaro_winkler(name, it), *it));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0));
    match best {
        Some((score, it)) if score > LIKELY => format!("did you mean '{it}'?"),
        Some(_) => format!("{all}: {}", known.join(", ")),
        None => "no level of the topics in 'when' has a name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(topic: &str, with: serde_json::Value) -> Vec<(String, String, String)> {
        let when = json!([{ "topic": topic }]);
        let when: Vec<Condition> = serde_json::from_value(when).expect("conditions");
        let with: With = serde_json::from_value(with).expect("an action");
        let faults = With::check(&[ActionRoute { when, with }]).into_iter();
        faults
            .map(|it| (it.path.join("."), it.message, it.help))
            .collect()
    }

    #[track_caller]
    fn check(with: serde_json::Value, at: &str, message: &str, help: &str) {
        let faults = faults("devices/{device}/call", with);
        let found = faults.iter().find(|it| it.0 == at && it.1 == message);
        let found = found.unwrap_or_else(|| panic!("{faults:?}"));
        assert!(found.2.contains(help), "{found:?}");
    }

    #[test]
    fn a_valid_action_has_no_faults() {
        let with = json!({
            "tool": "{{ payload.tool }}", "allow": ["a_*"], "arguments": { "x": "{{ topic.device }}" },
            "identity": { "subject": "{{ topic.device }}", "roles": ["robot"] },
            "answer": { "topic": "answers/{device}", "payload": "{{ result.structured }}" },
            "failure": { "payload": { "why": "{{ error.message }}" } },
        });
        assert_eq!(faults("devices/{device}/call", with), Vec::new());
    }

    #[test]
    fn a_chosen_tool_must_be_allowed() {
        let chosen = json!({ "tool": "{{ payload.tool }}" });
        check(
            chosen,
            "with.tool",
            "requests choose the tool, but no tool is allowed",
            "add 'allow'",
        );
        let other = json!({ "tool": "a", "allow": ["b*"] });
        check(other, "with.tool", "'allow' does not contain 'a'", "add it");
    }

    #[test]
    fn unknown_variables_are_faults() {
        let with = json!({ "tool": "a", "arguments": { "x": "{{ paylod.x }}" } });
        check(
            with,
            "with.arguments",
            "unknown variable 'paylod'",
            "did you mean 'payload'?",
        );
        let with = json!({ "tool": "a", "arguments": { "x": "{{ topic.devise }}" } });
        check(
            with,
            "with.arguments",
            "no level is named 'devise'",
            "did you mean 'device'?",
        );
        let with = json!({ "tool": "a", "answer": { "topic": "a/{robot}" } });
        check(
            with,
            "with.answer.topic",
            "no level is named 'robot'",
            "device",
        );
        let with = json!({ "tool": "a", "answer": { "payload": "{{ error.message }}" } });
        check(
            with,
            "with.answer.payload",
            "unknown variable 'error'",
            "the variables are",
        );
    }

    #[test]
    fn an_answer_that_would_be_a_request_is_a_fault() {
        let with = json!({ "tool": "a", "answer": { "topic": "devices/{device}/call" } });
        let message = "'devices/{device}/call' may be a topic of requests ('devices/+/call')";
        check(
            with,
            "with.answer.topic",
            message,
            "use a topic that no 'when' matches",
        );
    }
}
