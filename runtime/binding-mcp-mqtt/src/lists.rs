//! The results of the list operations. They depend on the options and on what the caller may access; if
//! that is the same for every caller, they are built once.

use std::borrow::Cow;

use bytes::Bytes;
use tidegate_streams::mqtt::topic::TopicFilter;

use crate::json_text::JsonText;
use crate::options::Options;
use crate::policy::CallerPolicy;
use crate::tools;
use crate::uri::PREFIX;

/// The JSON results of the list operations for one caller.
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
    pub(crate) fn new(
        options: &Options,
        publish: CallerPolicy<'_>,
        subscribe: CallerPolicy<'_>,
    ) -> Self {
        let limits = options.topic_limits();
        let patterns = subscribe.filters();
        // An identity may make a pattern longer than topics may be: nothing could match it.
        let patterns = patterns.filter(|pattern| limits.check(pattern.as_str()).is_ok());
        let patterns: Vec<Cow<'_, TopicFilter>> = patterns.collect();
        let mut both = JsonText::new();
        both.raw("{\"resources\":");
        resources(&mut both, &patterns);
        both.raw(",\"resourceTemplates\":");
        templates(&mut both, &patterns);
        both.raw("}");
        let mut alone = JsonText::new();
        alone.raw("{\"resourceTemplates\":");
        templates(&mut alone, &patterns);
        alone.raw("}");
        Self {
            tools: tools::list(options, publish.allows_any(), subscribe.allows_any()),
            resources: both.into_bytes(),
            templates: alone.into_bytes(),
        }
    }
}

fn resources(json: &mut JsonText, patterns: &[Cow<'_, TopicFilter>]) {
    json.raw("[");
    let topics = patterns.iter().filter(|pattern| !pattern.has_wildcards());
    for (index, topic) in topics.enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        member(json, "uri", topic);
        latest_value(json, topic);
        json.raw("}");
    }
    json.raw("]");
}

fn templates(json: &mut JsonText, patterns: &[Cow<'_, TopicFilter>]) {
    json.raw("[");
    for (index, pattern) in patterns.iter().enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        member(json, "uriTemplate", pattern);
        if pattern.has_wildcards() {
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

fn latest_value(json: &mut JsonText, topic: &TopicFilter) {
    json.raw(",\"description\":\"Latest value of ");
    json.escaped(topic.as_str().as_bytes());
    json.raw("\"");
}

fn member(json: &mut JsonText, key: &str, pattern: &TopicFilter) {
    let text = pattern.as_str().as_bytes();
    json.raw("{\"");
    json.raw(key);
    json.raw("\":\"");
    json.raw(PREFIX);
    json.escaped(text);
    json.raw("\",\"name\":\"");
    json.escaped(text);
    json.raw("\"");
}
