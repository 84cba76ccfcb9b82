//! The results of the list operations. They depend on the options and on what the caller may access; if
//! that is the same for every caller, they are built once.

use bytes::Bytes;

use crate::catalog::Visible;
use crate::json_text::JsonText;
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
    /// `visible`: what the caller may use. Topics that it may subscribe to are resources, unless the
    /// options list none.
    pub(crate) fn new(tools: Bytes, visible: &[Visible<'_>]) -> Self {
        let visible = visible.iter();
        let patterns: Vec<&Visible<'_>> = visible
            .filter(|it| it.permissions.subscribe && it.is_listed)
            .collect();
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
            tools,
            resources: both.into_bytes(),
            templates: alone.into_bytes(),
        }
    }
}

fn resources(json: &mut JsonText, patterns: &[&Visible<'_>]) {
    json.raw("[");
    let topics = patterns.iter().filter(|it| !it.filter.has_wildcards());
    for (index, topic) in topics.enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        member(json, "uri", topic);
        description(json, topic);
        json.raw("}");
    }
    json.raw("]");
}

fn templates(json: &mut JsonText, patterns: &[&Visible<'_>]) {
    json.raw("[");
    for (index, pattern) in patterns.iter().enumerate() {
        json.raw(if index > 0 { "," } else { "" });
        member(json, "uriTemplate", pattern);
        description(json, pattern);
        json.raw("}");
    }
    json.raw("]");
}

fn description(json: &mut JsonText, pattern: &Visible<'_>) {
    json.raw(",\"description\":\"");
    match pattern.description() {
        Some(description) => json.escaped(description.as_bytes()),
        None if pattern.filter.has_wildcards() => json.raw(&replacing(&pattern.written)),
        None => {
            json.raw("Latest value of ");
            json.escaped(pattern.written.as_bytes());
        }
    }
    json.raw("\"");
}

/// What to replace in a template.
fn replacing(written: &str) -> String {
    if !written.contains(['{', '}']) {
        return "Replace '+' with one topic level and '#' with any number of levels.".to_owned();
    }
    let mut text = "Replace each name in braces with one topic level".to_owned();
    if written.contains("{+") {
        text.push_str(", and one that begins with '+' with any number of levels");
    }
    text.push('.');
    text
}

fn member(json: &mut JsonText, key: &str, pattern: &Visible<'_>) {
    let text = pattern.written.as_bytes();
    json.raw("{\"");
    json.raw(key);
    json.raw("\":\"");
    json.raw(PREFIX);
    json.escaped(text);
    json.raw("\",\"name\":\"");
    json.escaped(text);
    json.raw("\"");
}
