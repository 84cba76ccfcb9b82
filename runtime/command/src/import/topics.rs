//! The topics: as entries of `topics`, or as plain patterns where an entry would mean something else.

use serde_json::json;
use tidegate_streams::mqtt::topic::TopicFilter;

use super::source::Topic;
use super::yaml::{Yaml, quoted};

/// Characters that mcpMQTT takes for a regular expression.
const REGULAR: [char; 14] = [
    '.', '*', '?', '^', '$', '|', '\\', '(', ')', '[', ']', '{', '}', '\u{0}',
];
/// The defaults of `maxTopicLevels` and `maxTopicLength`.
const LEVELS: usize = 128;
const LENGTH: usize = 4_096;

/// Writes `mcp_mqtt · proxy`.
pub(super) fn write(yaml: &mut Yaml, topics: &[Topic]) {
    yaml.line(1, "mcp_mqtt0:");
    yaml.line(2, "type: mcp_mqtt");
    yaml.line(2, "kind: proxy");
    yaml.line(2, "options:");
    yaml.comment(
        3,
        "The tools and resources of mcpMQTT. Errors have isError, and mcpmqtt://topics/allowed does not name the \
         broker. Without this line, clients get the tools of tidegate.",
    );
    yaml.line(3, "compatibility: mcpmqtt");
    limits(yaml, topics);
    yaml.comment(
        3,
        "Patterns follow MQTT: '+' also matches an empty level, 'a/#' also matches 'a', and a wildcard at the \
         first level matches no topic that begins with '$'. A filter is allowed if a pattern matches each topic \
         that the filter can match; mcpMQTT compared the filter's text, so that '+' allowed to subscribe to '#'.",
    );
    if topics.is_empty() {
        yaml.warn(3, "No topics are listed, so nothing is allowed.");
        yaml.line(3, "topics: []");
    } else {
        entries(yaml, topics);
    }
    yaml.line(2, "exit: mqtt_client0");
}

fn limits(yaml: &mut Yaml, topics: &[Topic]) {
    let accepted = || topics.iter().filter(|topic| left_out(topic).is_none());
    let levels = accepted()
        .map(|topic| topic.pattern.split('/').count())
        .max();
    let length = accepted().map(|topic| topic.pattern.len()).max();
    if let Some(levels) = levels.filter(|levels| *levels > LEVELS) {
        yaml.line(3, &format!("maxTopicLevels: {levels}"));
    }
    if let Some(length) = length.filter(|length| *length > LENGTH) {
        yaml.line(3, &format!("maxTopicLength: {length}"));
    }
}

fn entries(yaml: &mut Yaml, topics: &[Topic]) {
    let (mut subscribe, mut publish) = (Vec::new(), Vec::new());
    yaml.line(3, "topics:");
    let mut empty = true;
    for topic in topics {
        if let Some(why) = left_out(topic) {
            let pattern = quoted(&topic.pattern);
            yaml.warn(4, &format!("Left out: the pattern {pattern}: {why}"));
            continue;
        }
        differences(yaml, topic);
        if topic.pattern.contains(['{', '}']) {
            let pattern = &topic.pattern;
            yaml.comment(
                4,
                &format!(
                    "{} is below, in 'subscribe' or 'publish': here, braces would be the name of a level.",
                    quoted(pattern)
                ),
            );
            let lists = [(topic.read, &mut subscribe), (topic.write, &mut publish)];
            for (_, list) in lists.into_iter().filter(|(permitted, _)| *permitted) {
                list.push(quoted(pattern));
            }
            continue;
        }
        empty = false;
        entry(yaml, topic);
    }
    if empty {
        yaml.line(4, "[]");
    }
    for (option, patterns) in [("subscribe", subscribe), ("publish", publish)] {
        if !patterns.is_empty() {
            yaml.line(3, &format!("{option}: [ {} ]", patterns.join(", ")));
        }
    }
}

fn entry(yaml: &mut Yaml, topic: &Topic) {
    yaml.line(4, &format!("- pattern: {}", quoted(&topic.pattern)));
    let permissions = match (topic.read, topic.write) {
        (true, true) => "[ read, write ]",
        (true, false) => "[ read ]",
        _ => "[ write ]",
    };
    yaml.line(5, &format!("permissions: {permissions}"));
    let described = topic.description.as_deref();
    if let Some(description) = described.filter(|text| !text.is_empty()) {
        let plain = description.replace("${{", "$ {{");
        if plain != description {
            yaml.comment(
                5,
                "A space separates '$' from '{{', which would be an expression.",
            );
        }
        yaml.line(5, &format!("description: {}", quoted(&plain)));
    }
}

/// Why a pattern cannot be imported, with what to do.
fn left_out(topic: &Topic) -> Option<String> {
    let pattern = topic.pattern.as_str();
    if pattern.contains("${") {
        return Some("'${' would be an expression; rename the topic.".to_owned());
    }
    let filter = match TopicFilter::parse(pattern) {
        Ok(filter) if filter.is_shared() => {
            return Some(
                "mcpMQTT never delivers a message of a shared subscription, and its tools here refuse them; the \
                 tools of tidegate have them with 'sharedSubscriptions: true'."
                    .to_owned(),
            );
        }
        Ok(filter) => filter,
        Err(error) => return Some(format!("{error}.")),
    };
    // As the options check it.
    let options = json!({
        "subscribe": [filter.as_str()],
        "maxTopicLevels": 65_535,
        "maxTopicLength": 65_535,
    });
    let checked = serde_json::from_value::<tidegate_binding_mcp_mqtt::Options>(options);
    checked.err().map(|error| format!("{error}."))
}

/// Says where mcpMQTT allows more than the pattern.
fn differences(yaml: &mut Yaml, topic: &Topic) {
    let pattern = quoted(&topic.pattern);
    let mut levels = topic.pattern.split('/');
    if topic.pattern.contains(REGULAR) {
        yaml.warn(
            4,
            &format!(
                "{pattern}: mcpMQTT took it for a regular expression, in which these characters stand for \
                 others; here they stand for themselves."
            ),
        );
    }
    if topic.pattern == "#" {
        yaml.warn(
            4,
            "\"#\": mcpMQTT also allowed topics that begin with '$', such as '$SYS/…'; here a pattern must \
             name that level.",
        );
    }
    if let Some(parent) = topic.pattern.strip_suffix("/#") {
        yaml.warn(
            4,
            &format!(
                "{pattern} also allows {}, as in MQTT; in mcpMQTT it does not.",
                quoted(parent)
            ),
        );
    }
    if topic.read && levels.any(|level| level == "+") {
        let wider = topic.pattern.replace('+', "#");
        let wider = wider.split_inclusive('#').next().unwrap_or_default();
        yaml.warn(
            4,
            &format!(
                "{pattern}: mcpMQTT also allowed to subscribe to {}; here that is refused.",
                quoted(wider)
            ),
        );
    }
}
