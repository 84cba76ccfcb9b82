//! `completion/complete`: values for a name of a resource template.
//!
//! A name stands for levels of a topic, so its values are the levels of topics that exist: of those that
//! messages were seen on, and of retained messages, which a short subscription collects. Only topics that
//! the caller may subscribe to count. A broker that does not answer in time makes the list shorter, and
//! is no error.

use std::collections::{BTreeMap, BTreeSet};

use bytestring::ByteString;
use tidegate_engine::{Context, Duration};
use tidegate_json::{Document, Value};
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::mqtt::{MqttDataEx, MqttSubscribeFlags};
use tidegate_streams::{Data, DataEx, shown};

use crate::arguments::document;
use crate::call::Params;
use crate::json_text::JsonText;
use crate::operation::Operation;
use crate::options::Permissions;
use crate::refusal::Refusal;
use crate::result::Answer;
use crate::state::{State, Step};
use crate::subscribe;
use crate::tools::{Handler, Invocation, Opening, Started};
use crate::uri::PREFIX;

/// What is done with complete params.
pub(crate) const HANDLER: Handler = Handler {
    name: "completion/complete",
    operation: Operation::Complete,
    start,
};

/// Maximum number of values in a result (MCP, `CompleteResult`).
const VALUES_MAX: usize = 100;
/// Maximum number of values that are collected. Beyond it, the total is unknown.
const FOUND_MAX: usize = 1_000;
/// Maximum size of all of them, in bytes.
const BYTES_MAX: usize = 64 * 1024;
/// How long retained messages are collected.
const COLLECTED: Duration = Duration::from_millis(500);

fn start(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    let params = document(params)?;
    let asked = Asked::read(params.as_ref())?;
    let settings = call.settings;
    let policy = settings.subscribe.of(call.caller);
    let catalog = settings.catalog.of(call.caller);
    let template = catalog.iter().find(|it| {
        it.permissions.intersects(Permissions::SUBSCRIBE)
            && asked.uri.strip_prefix(PREFIX) == Some(&*it.written)
    });
    let Some(template) = template else {
        return Err(invalid(format!(
            "Unknown resource template '{}'; resources/templates/list has them.",
            shown(&asked.uri)
        )));
    };
    let place = Place::of(&template.written, &asked.name);
    let place = place.ok_or_else(|| {
        invalid(format!(
            "The resource template '{}' has no name '{}'.",
            shown(&asked.uri),
            shown(&asked.name)
        ))
    })?;
    let filter = filled(&template.written, &asked);
    let filter = TopicFilter::parse(filter).map_err(|error| invalid(format!("{error}.")))?;
    let mut complete = Complete::new(filter, place, asked.value);
    for (topic, _) in call.seen.topics() {
        if policy.allows_topic(topic) {
            complete.add(topic);
        }
    }
    if !policy.allows_filter(&complete.filter) || cx.stopping() {
        return Ok(Started::Answered(complete.answer()));
    }
    let flags = MqttSubscribeFlags::NONE;
    let begin = subscribe::begin(call.client_id.clone(), complete.filter.text(), 0, flags);
    Ok(Started::Stream(Opening {
        state: State::Complete(Box::new(complete)),
        begin: begin.into(),
        client_id: call.client_id.take(),
        wait: Some((COLLECTED, "retained messages to complete a name")),
    }))
}

fn invalid(message: String) -> Refusal {
    Refusal::Reset(McpReset::new(McpResetKind::Invalid, message))
}

/// What is asked for.
struct Asked {
    /// The URI template.
    uri: ByteString,
    /// The name to complete, and what its value begins with.
    name: ByteString,
    value: ByteString,
    /// The values of other names.
    context: BTreeMap<ByteString, ByteString>,
}

impl Asked {
    fn read(params: Option<&Document>) -> Result<Self, Refusal> {
        let missing = || {
            let what = "'params' must have a 'ref' of type ref/resource with a 'uri', and an 'argument' \
                        with 'name' and 'value'.";
            invalid(what.to_owned())
        };
        let root = params.map(Document::root).ok_or_else(missing)?;
        let text = |value: &Value<'_>, name: &str| value.get(name).ok()??.string();
        let reference = root.get("ref").ok().flatten().ok_or_else(missing)?;
        if text(&reference, "type").is_none_or(|it| it != "ref/resource") {
            return Err(missing());
        }
        let argument = root.get("argument").ok().flatten().ok_or_else(missing)?;
        let given = root.get("context").ok().flatten();
        let given = given.and_then(|context| context.get("arguments").ok().flatten());
        let context = given.iter().flat_map(Value::members);
        let context = context
            .filter_map(|(name, value)| Some((ByteString::from(&*name.text()), value.string()?)));
        Ok(Self {
            uri: text(&reference, "uri").ok_or_else(missing)?,
            name: text(&argument, "name").ok_or_else(missing)?,
            value: text(&argument, "value").ok_or_else(missing)?,
            context: context.take(VALUES_MAX).collect(),
        })
    }
}

/// Where the value of a name is in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The index of its level.
    level: usize,
    /// It is that level and all that follow.
    rest: bool,
}

impl Place {
    fn of(template: &str, name: &str) -> Option<Self> {
        let mut levels = template.split('/').enumerate();
        levels.find_map(|(level, text)| {
            let (named, rest) = named(text)?;
            (named == name).then_some(Self { level, rest })
        })
    }

    /// The value in a topic.
    fn value(self, topic: &str) -> Option<&str> {
        let mut rest = topic;
        for _ in 0..self.level {
            rest = rest.split_once('/')?.1;
        }
        if self.rest {
            return Some(rest);
        }
        rest.split('/').next()
    }
}

/// The name of a level of a template, and whether it stands for all levels that follow.
fn named(level: &str) -> Option<(&str, bool)> {
    let name = level.strip_prefix('{')?.strip_suffix('}')?;
    match name.strip_prefix('+') {
        Some(name) => Some((name, true)),
        None => Some((name, false)),
    }
}

/// The topic filter of a template, with the known values in place of their names.
fn filled(template: &str, asked: &Asked) -> String {
    let levels = template.split('/').map(|level| {
        let Some((name, rest)) = named(level) else {
            return level;
        };
        let known = asked.context.get(name).filter(|_| asked.name != name);
        match known {
            Some(value) if !rest && !value.contains(['/', '+', '#', '\0']) => value,
            _ if rest => "#",
            _ => "+",
        }
    });
    levels.collect::<Vec<_>>().join("/")
}

/// Values that are being collected.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) filter: TopicFilter,
    place: Place,
    /// What the values begin with.
    begin: ByteString,
    found: BTreeSet<String>,
    bytes: usize,
    /// There are more than are collected.
    more: bool,
}

impl Complete {
    fn new(filter: TopicFilter, place: Place, begin: ByteString) -> Self {
        Self {
            filter,
            place,
            begin,
            found: BTreeSet::new(),
            bytes: 0,
            more: false,
        }
    }

    /// Adds the value in a topic, if the topic is one of the template.
    fn add(&mut self, topic: &str) {
        if !self.filter.matches(topic) {
            return;
        }
        let value = self
            .place
            .value(topic)
            .filter(|it| it.starts_with(&*self.begin));
        let Some(value) = value.filter(|value| !self.found.contains(*value)) else {
            return;
        };
        if self.found.len() >= FOUND_MAX || self.bytes + value.len() > BYTES_MAX {
            self.more = true;
            return;
        }
        self.bytes += value.len();
        self.found.insert(value.to_owned());
    }

    #[allow(clippy::unused_self, reason = "every state is told")]
    pub(crate) const fn confirmed(&self) -> Step {
        Step::Wait
    }

    /// A message or a part of one.
    pub(crate) fn data(&mut self, data: &Data) -> Step {
        if let Some(DataEx::Mqtt(MqttDataEx::Subscribe(message))) = data.extension.as_deref() {
            self.add(&message.topic);
        }
        if self.more { self.finish() } else { Step::Wait }
    }

    /// Answers with the values found so far.
    pub(crate) fn finish(&self) -> Step {
        Step::Answer(self.answer())
    }

    fn answer(&self) -> Answer {
        let mut json = JsonText::new();
        json.raw("{\"completion\":{\"values\":[");
        for (index, value) in self.found.iter().take(VALUES_MAX).enumerate() {
            json.raw(if index > 0 { ",\"" } else { "\"" });
            json.escaped(value.as_bytes());
            json.raw("\"");
        }
        json.raw("]");
        if !self.more {
            json.raw(",\"total\":");
            json.raw(&self.found.len().to_string());
        }
        let more = self.more || self.found.len() > VALUES_MAX;
        json.raw(if more {
            ",\"hasMore\":true}}"
        } else {
            ",\"hasMore\":false}}"
        });
        Answer::ok(json.into_parts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "site/{line}/+/{+rest}";

    fn asked(name: &str, context: &[(&str, &str)]) -> Asked {
        let context = context.iter();
        Asked {
            uri: ByteString::new(),
            name: name.into(),
            value: ByteString::new(),
            context: context.map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        }
    }

    #[test]
    fn a_value_is_the_level_of_its_name() {
        let line = Place::of(TEMPLATE, "line").expect("a name");
        let rest = Place::of(TEMPLATE, "rest").expect("a name");
        assert_eq!(Place::of(TEMPLATE, "site"), None);
        let topic = "site/a/b/c/d";
        assert_eq!(
            (line.value(topic), rest.value(topic)),
            (Some("a"), Some("c/d"))
        );
        assert_eq!((line.value("site"), rest.value("site/a")), (None, None));
    }

    #[test]
    fn known_values_narrow_the_filter_unless_they_are_more_than_a_level() {
        for (name, context, filter) in [
            ("rest", &[("line", "a")][..], "site/a/+/#"),
            ("rest", &[("line", "a/b")], "site/+/+/#"),
            ("rest", &[("line", "#")], "site/+/+/#"),
            ("line", &[("line", "a"), ("rest", "x")], "site/+/+/#"),
        ] {
            assert_eq!(filled(TEMPLATE, &asked(name, context)), filter);
        }
    }

    #[test]
    fn values_are_distinct_sorted_and_bounded() {
        let filter = TopicFilter::parse("t/+".to_owned()).expect("a filter");
        let place = Place {
            level: 1,
            rest: false,
        };
        let mut complete = Complete::new(filter, place, "x".into());
        for topic in ["t/x2", "t/x1", "t/x1", "t/y", "u/x3", "t/x3/4"] {
            complete.add(topic);
        }
        let text = |complete: &Complete| {
            let parts = complete.answer().parts;
            String::from_utf8(parts.contiguous().to_vec()).expect("text")
        };
        assert_eq!(
            text(&complete),
            r#"{"completion":{"values":["x1","x2"],"total":2,"hasMore":false}}"#
        );
        for number in 0..2_000 {
            complete.add(&format!("t/x{number:04}"));
        }
        assert_eq!(complete.found.len(), FOUND_MAX);
        let text = text(&complete);
        assert!(text.ends_with("],\"hasMore\":true}}"), "{text}");
        assert_eq!(text.matches("\"x").count(), VALUES_MAX);
    }
}
