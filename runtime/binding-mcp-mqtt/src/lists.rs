//! What is known from the options alone: the results of the list operations, written once.

use bytes::Bytes;

use crate::json_text::JsonText;
use crate::options::{Options, TopicPattern};
use crate::tools;
use crate::uri::PREFIX;

/// The results of the list operations.
#[derive(Debug)]
pub(crate) struct Lists {
    /// `tools/list`
    pub(crate) tools: Bytes,
    /// `resources/list`: the topics among the patterns, and all templates.
    pub(crate) resources: Bytes,
    /// `resources/templates/list`
    pub(crate) templates: Bytes,
}

impl Lists {
    pub(crate) fn new(options: &Options) -> Self {
        let patterns = options.subscribe.as_deref().unwrap_or_default();
        let mut both = JsonText::new();
        both.raw("{\"resources\":");
        resources(&mut both, patterns);
        both.raw(",\"resourceTemplates\":");
        templates(&mut both, patterns);
        both.raw("}");
        let mut alone = JsonText::new();
        alone.raw("{\"resourceTemplates\":");
        templates(&mut alone, patterns);
        alone.raw("}");
        Self {
            tools: tools::list(options),
            resources: both.into_bytes(),
            templates: alone.into_bytes(),
        }
    }
}

fn resources(json: &mut JsonText, patterns: &[TopicPattern]) {
    json.raw("[");
    let topics = patterns
        .iter()
        .filter(|pattern| !pattern.filter().has_wildcards());
    for (index, topic) in topics.enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        member(json, "uri", topic);
        json.raw(",\"description\":\"The MQTT topic of this name\"}");
    }
    json.raw("]");
}

fn templates(json: &mut JsonText, patterns: &[TopicPattern]) {
    json.raw("[");
    for (index, pattern) in patterns.iter().enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        member(json, "uriTemplate", pattern);
        json.raw(if pattern.filter().has_wildcards() {
            ",\"description\":\"MQTT topics: put one level for each '+' and any levels for '#'\"}"
        } else {
            ",\"description\":\"The MQTT topic of this name\"}"
        });
    }
    json.raw("]");
}

fn member(json: &mut JsonText, key: &str, pattern: &TopicPattern) {
    let text = pattern.filter().as_str().as_bytes();
    json.raw("{\"");
    json.raw(key);
    json.raw("\":\"");
    json.raw(PREFIX);
    json.escaped(text);
    json.raw("\",\"name\":\"");
    json.escaped(text);
    json.raw("\"");
}
