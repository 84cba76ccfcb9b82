//! `list_topics`: the topics that the caller may use, with their meaning.

use bytestring::ByteString;
use serde_json::{Map, Value, json};
use tidegate_engine::{Context, Time};
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::shown;

use super::{Described, Invocation, Started};
use crate::arguments::{Arguments, document};
use crate::call::Params;
use crate::catalog::Visible;
use crate::json_text::JsonText;
use crate::refusal::{Refusal, bad_topic};
use crate::result::Answer;

const NAMES: [&str; 2] = ["filter", "cursor"];
const FILTER: usize = 0;
const CURSOR: usize = 1;

/// Maximum number of entries in a result.
const PAGE: usize = 100;

pub(super) fn describe(about: &Described<'_>) -> Value {
    let seen = if about.options.observe {
        ", and the topics on which messages were seen"
    } else {
        ""
    };
    let mut properties = json!({
        "topics": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pattern": {
                        "type": "string",
                        "description": "Topic filter; {name} stands for one level, {+name} for all following levels",
                    },
                    "permissions": {
                        "type": "array",
                        "items": { "type": "string", "enum": ["subscribe", "publish"] },
                    },
                    "description": { "type": "string" },
                    "schema": { "description": "JSON Schema of the payload" },
                    "example": { "description": "An example of a payload" },
                    "qos": {
                        "type": "object",
                        "description": "Lowest and highest qos of published messages",
                    },
                    "retain": {
                        "type": "boolean",
                        "description": "false: messages must not be retained",
                    },
                },
                "required": ["pattern", "permissions"],
            },
        },
        "nextCursor": { "type": "string", "description": "There is more: pass it as `cursor`" },
    });
    if let (true, Some(properties)) = (about.options.observe, properties.as_object_mut()) {
        let seen = json!({
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "topic": { "type": "string" },
                    "age": {
                        "type": "integer",
                        "description": "Milliseconds since the last message was seen",
                    },
                },
                "required": ["topic", "age"],
            },
        });
        properties.insert("seen".to_owned(), seen);
    }
    json!({
        "title": "List MQTT topics",
        "description": format!(
            "List the MQTT topics that can be used, with permissions, description, schema and example{seen}."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "filter": {
                    "type": "string",
                    "description": "Topic filter; only topics that it can match are listed",
                },
                "cursor": { "type": "string", "description": "`nextCursor` of the previous result" },
            },
            "additionalProperties": false,
        },
        "outputSchema": { "type": "object", "properties": properties, "required": ["topics"] },
        "annotations": { "readOnlyHint": true, "openWorldHint": false },
    })
}

pub(super) fn start(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    let settings = call.settings;
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let filter = arguments.text(FILTER)?.as_ref().map(parse).transpose()?;
    let cursor = arguments.text(CURSOR)?;
    let from = cursor.as_deref().map_or(Ok(0), offset)?;
    let is_wanted = |topic: &TopicFilter| filter.as_ref().is_none_or(|it| it.overlaps(topic));
    let topics = settings.catalog.of(call.caller).into_iter();
    let topics = topics.filter(|visible| is_wanted(&visible.filter));
    let now = cx.now();
    let policy = settings.subscribe.of(call.caller);
    let seen = call.seen.topics().filter(|(topic, _)| {
        policy.allows_topic(topic) && filter.as_ref().is_none_or(|it| it.matches(topic))
    });
    let entries = topics
        .map(|visible| Listed::Topic(described(&visible)))
        .chain(seen.map(|(topic, at)| Listed::Seen(json_of(topic, at, now))));
    let page = Page::of(entries.skip(from), settings.result_bound);
    Ok(Started::Answered(page.answer(from, settings.observe)))
}

fn parse(text: &ByteString) -> Result<TopicFilter, Refusal> {
    TopicFilter::parse(text.clone()).map_err(|error| bad_topic("topic filter", text, error))
}

fn offset(cursor: &str) -> Result<usize, Refusal> {
    cursor.parse().map_err(|_| {
        Refusal::Tool(format!(
            "'cursor' is '{}'; use 'nextCursor' of the previous result, or omit it for the first page.",
            shown(cursor)
        ))
    })
}

fn described(visible: &Visible<'_>) -> Value {
    let mut entry = Map::new();
    entry.insert("pattern".to_owned(), visible.written.as_str().into());
    let permissions: Vec<&str> = visible.permissions.words().collect();
    entry.insert("permissions".to_owned(), permissions.into());
    if let Some(description) = visible.description() {
        entry.insert("description".to_owned(), description.into());
    }
    let mut schemas = visible.topics.iter().filter_map(|it| it.schema.as_ref());
    if let Some(schema) = schemas.next() {
        entry.insert("schema".to_owned(), schema.document().clone());
    }
    let mut examples = visible.topics.iter().filter_map(|it| it.example.as_ref());
    if let Some(example) = examples.next() {
        entry.insert("example".to_owned(), example.clone());
    }
    let mut ranges = visible.topics.iter().map(|it| it.qos);
    if let Some(range) = ranges.find(|range| !range.is_open()) {
        let range = json!({ "minimum": range.lowest(), "maximum": range.highest() });
        entry.insert("qos".to_owned(), range);
    }
    if visible.topics.iter().any(|it| !it.retain) {
        entry.insert("retain".to_owned(), false.into());
    }
    Value::Object(entry)
}

fn json_of(topic: &str, at: Time, now: Time) -> Value {
    json!({ "topic": topic, "age": now.since(at).as_millis() })
}

/// An entry of the result.
enum Listed {
    Topic(Value),
    Seen(Value),
}

/// A part of the list.
#[derive(Default)]
struct Page {
    topics: Vec<Value>,
    seen: Vec<Value>,
    more: bool,
}

impl Page {
    /// The first entries, at least one, as far as the result fits into `bound` bytes.
    fn of(entries: impl Iterator<Item = Listed>, bound: usize) -> Self {
        let mut page = Self::default();
        let mut size = 0;
        for (index, entry) in entries.enumerate() {
            let (list, value) = match entry {
                Listed::Topic(value) => (&mut page.topics, value),
                Listed::Seen(value) => (&mut page.seen, value),
            };
            // It is written twice, once with escapes.
            size += 3 * value.to_string().len();
            if index > 0 && (index >= PAGE || size > bound) {
                page.more = true;
                break;
            }
            list.push(value);
        }
        page
    }

    fn answer(self, from: usize, observe: bool) -> Answer {
        let count = self.topics.len() + self.seen.len();
        let mut result = Map::new();
        result.insert("topics".to_owned(), self.topics.into());
        if observe {
            result.insert("seen".to_owned(), self.seen.into());
        }
        if self.more {
            let next = (from + count).to_string();
            result.insert("nextCursor".to_owned(), next.into());
        }
        let text = Value::Object(result).to_string();
        let mut json = JsonText::new();
        json.raw("{\"content\":[{\"type\":\"text\",\"text\":\"");
        json.escaped(text.as_bytes());
        json.raw("\"}],\"structuredContent\":");
        json.raw(&text);
        json.raw("}");
        Answer::ok(json.into_parts())
    }
}
