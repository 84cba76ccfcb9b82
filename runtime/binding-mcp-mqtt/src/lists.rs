//! The results of the list operations. They depend on the options alone, so they are built once.

use bytes::Bytes;

use crate::json_text::JsonText;
use crate::options::{Options, TopicPattern};
use crate::tools;
use crate::uri::PREFIX;

/// The JSON results of the list operations.
#[derive(Debug)]
pub(crate) struct Lists {
    /// `tools/list`
    pub(crate) tools: Bytes,
    /// `resources/list`: the patterns without wildcards as resources, and all templates.
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
        latest_value(json, topic);
        json.raw("}");
    }
    json.raw("]");
}

fn templates(json: &mut JsonText, patterns: &[TopicPattern]) {
    json.raw("[");
    for (index, pattern) in patterns.iter().enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        member(json, "uriTemplate", pattern);
        if pattern.filter().has_wildcards() {
            json.raw(
                ",\"description\":\"Replace '+' with one topic level and '#' with any number of levels.\"",
            );
        } else {
            latest_value(json, pattern);
        }
        json.raw("}");
    }
    json.raw("]");
}

fn latest_value(json: &mut JsonText, topic: &TopicPattern) {
    json.raw(",\"description\":\"Latest value of ");
    json.escaped(topic.filter().as_str().as_bytes());
    json.raw("\"");
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
