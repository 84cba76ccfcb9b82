//! Resource URIs: `mqtt://` followed by a topic, byte for byte: not percent-decoded, and not split
//! into URI components.

use std::fmt;

use bytestring::ByteString;
use tidegate_options::TopicRequest;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::mqtt::text::check_characters;
use tidegate_streams::mqtt::topic::{TopicError, TopicFilter, check_name};
use tidegate_streams::shown;

use crate::arguments::Limits;
use crate::json_text::JsonText;
use crate::policy::{CallerPolicy, SHARED};

/// The prefix of every resource URI.
pub(crate) const PREFIX: &str = "mqtt://";

/// Checks the URI of `resources/read` and returns its topic.
pub(crate) fn topic_to_read(
    policy: CallerPolicy<'_>,
    limits: &Limits,
    uri: &ByteString,
) -> Result<TopicFilter, McpReset> {
    let text = after_prefix(uri)?;
    let topic = check_name(&text)
        .and_then(|()| limits.topics.check(&text))
        .and_then(|()| TopicFilter::parse(text.clone()))
        .map_err(|error| invalid_topic(uri, &text, "topic", error))?;
    check_encoded(uri, &text, "topic")?;
    check_placeholder(policy, uri, &text)?;
    let topic = expanded(policy, limits, uri, topic)?;
    if policy.allows_filter(&topic) {
        if topic.is_shared() && !limits.shared {
            let inner = shown(topic.inner());
            return Err(invalid(uri, &format!("{SHARED}; read '{PREFIX}{inner}'")));
        }
        return Ok(topic);
    }
    in_other_case(policy, &text).ok_or_else(|| refused(policy, uri, &topic))
}

/// Checks the URI of `resources/subscribe` and returns its topic filter.
pub(crate) fn filter_to_subscribe(
    policy: CallerPolicy<'_>,
    limits: &Limits,
    uri: &ByteString,
) -> Result<ByteString, McpReset> {
    let text = after_prefix(uri)?;
    let filter = TopicFilter::parse(text.clone())
        .and_then(|filter| limits.topics.check(&text).map(|()| filter))
        .map_err(|error| invalid_topic(uri, &text, "topic filter", error))?;
    check_encoded(uri, &text, "topic filter")?;
    check_placeholder(policy, uri, &text)?;
    let filter = expanded(policy, limits, uri, filter)?;
    // An update would take a message from the group without delivering it to anyone.
    if filter.is_shared() {
        let why = "'resources/subscribe' does not support shared subscriptions, because an update does \
                   not contain the message that it takes from the group; use the tool 'receive'";
        return Err(invalid(uri, why));
    }
    if policy.allows_filter(&filter) {
        return Ok(filter.text());
    }
    in_other_case(policy, &text)
        .map(|filter| filter.text())
        .ok_or_else(|| refused(policy, uri, &filter))
}

/// The filter with its first level in the case of the only pattern that matches it otherwise.
fn in_other_case(policy: CallerPolicy<'_>, text: &str) -> Option<TopicFilter> {
    let filter = TopicFilter::parse(policy.in_other_case(text)?).ok()?;
    policy.allows_filter(&filter).then_some(filter)
}

fn after_prefix(uri: &ByteString) -> Result<ByteString, McpReset> {
    let topic = uri.strip_prefix(PREFIX).ok_or_else(|| {
        let why = "resource URIs are 'mqtt://' followed by a topic";
        not_found(uri, why)
    })?;
    Ok(uri.slice_ref(topic))
}

/// A client that percent-encodes a character most likely means that character, so one that MQTT does
/// not allow is refused, although the URI is used undecoded.
fn check_encoded(uri: &ByteString, text: &str, what: &str) -> Result<(), McpReset> {
    if !text.contains('%') {
        return Ok(());
    }
    let decoded = decoded(text);
    check_characters(&decoded).map_err(|forbidden| {
        let error = TopicError::Character(forbidden);
        invalid_topic(
            uri,
            text,
            what,
            format_args!("after percent-decoding, {error}"),
        )
    })
}

/// A URI template that was not expanded.
fn check_placeholder(
    policy: CallerPolicy<'_>,
    uri: &ByteString,
    text: &str,
) -> Result<(), McpReset> {
    match policy.placeholder(text) {
        None => Ok(()),
        Some(name) => {
            let why =
                format!("'{name}' is a placeholder of the template; replace it with a topic level");
            Err(invalid(uri, &why))
        }
    }
}

/// The filter that a URI names if it expands a template: the values of names are percent-encoded (RFC 6570,
/// 3.2.2), all other levels are the topic byte for byte.
fn expanded(
    policy: CallerPolicy<'_>,
    limits: &Limits,
    uri: &ByteString,
    filter: TopicFilter,
) -> Result<TopicFilter, McpReset> {
    if !filter.as_str().contains('%') {
        return Ok(filter);
    }
    let names = policy.named_levels(TopicRequest::Filter(&filter));
    if names.is_empty() {
        return Ok(filter);
    }
    let mut levels: Vec<String> = Vec::new();
    for (index, level) in filter.as_str().split('/').enumerate() {
        let is_value = names.iter().any(|name| name.names(index));
        if !is_value {
            levels.push(level.to_owned());
            continue;
        }
        let value = decoded(level);
        if value.contains(['/', '+', '#']) {
            let why = format!("the value '{}' is not one topic level", shown(&value));
            return Err(invalid(uri, &why));
        }
        levels.push(value);
    }
    let text = levels.join("/");
    TopicFilter::parse(text.clone())
        .and_then(|filter| limits.topics.check(&text).map(|()| filter))
        .map_err(|error| invalid_topic(uri, &text, "topic", error))
}

/// The text, percent-decoded (RFC 3986, 2.1).
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            bytes.extend(part.bytes().skip(2));
        } else {
            bytes.push(b'%');
            bytes.extend(part.bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn invalid_topic(uri: &ByteString, text: &str, what: &str, error: impl fmt::Display) -> McpReset {
    invalid(uri, &format!("invalid {what} '{}': {error}", shown(text)))
}

fn refused(policy: CallerPolicy<'_>, uri: &ByteString, filter: &TopicFilter) -> McpReset {
    if let Some(scopes) = policy.step_up(TopicRequest::Filter(filter)) {
        return McpReset::insufficient_scope(scopes);
    }
    let why = format!("the topic is not allowed. {}", policy.sentence());
    not_found(uri, why.trim_end_matches('.'))
}

fn invalid(uri: &ByteString, why: &str) -> McpReset {
    let message = format!("Invalid resource URI '{}': {why}.", shown(uri));
    reset(McpResetKind::Invalid, uri, message)
}

fn not_found(uri: &ByteString, why: &str) -> McpReset {
    let message = format!("Resource not found: '{}': {why}.", shown(uri));
    reset(McpResetKind::NotFound, uri, message)
}

fn reset(kind: McpResetKind, uri: &ByteString, message: String) -> McpReset {
    let mut data = JsonText::new();
    data.raw("{\"uri\":\"");
    data.escaped(uri.as_bytes());
    data.raw("\"}");
    McpReset {
        data: Some(data.into_bytes()),
        ..McpReset::new(kind, message)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_streams::mqtt::topic::TopicLimits;

    use super::*;
    use crate::policy::Policy;
    use crate::settings::Settings;

    fn policy(patterns: &[&str]) -> Policy {
        of(&serde_json::json!({ "subscribe": patterns }))
    }

    fn of(options: &serde_json::Value) -> Policy {
        let options = serde_json::from_value(options.clone()).expect("options");
        Settings::new(&options).subscribe
    }

    fn limits(shared: bool) -> Limits {
        Limits {
            messages_default: 10,
            messages_max: 10,
            timeout_default: 5_000,
            qos_minimum: 0,
            qos_default: 0,
            topic_header: false,
            topics: TopicLimits::default(),
            shared,
        }
    }

    fn read(policy: &Policy, uri: &str) -> Result<String, McpResetKind> {
        topic_to_read(policy.of(None), &limits(false), &uri.into())
            .map(|topic| topic.as_str().to_owned())
            .map_err(|reset| reset.kind)
    }

    fn watch(policy: &Policy, uri: &str) -> Result<String, McpResetKind> {
        filter_to_subscribe(policy.of(None), &limits(true), &uri.into())
            .map(Into::into)
            .map_err(|reset| reset.kind)
    }

    #[test]
    fn the_value_of_a_name_is_percent_encoded() {
        let topics = |pattern| serde_json::json!({"pattern": pattern, "permissions": ["read"]});
        let named = of(&serde_json::json!({
            "subscribe": ["plain/+"],
            "topics": [topics("sensors/{room}/temperature"), topics("files/{kind}/{+path}")],
        }));
        for (uri, topic) in [
            (
                "mqtt://sensors/K%C3%BCche/temperature",
                "sensors/Küche/temperature",
            ),
            (
                "mqtt://sensors/hall%2520/temperature",
                "sensors/hall%20/temperature",
            ),
            ("mqtt://sensors/50%/temperature", "sensors/50%/temperature"),
            ("mqtt://files/a%20b/c%20d/e%20f", "files/a b/c d/e f"),
            ("mqtt://plain/a%20b", "plain/a%20b"),
        ] {
            assert_eq!(read(&named, uri), Ok(topic.to_owned()), "{uri}");
            assert_eq!(watch(&named, uri), Ok(topic.to_owned()), "{uri}");
        }
        for uri in [
            "mqtt://sensors/a%2Fb/temperature",
            "mqtt://sensors/%2B/temperature",
            "mqtt://files/a/%23",
        ] {
            assert_eq!(read(&named, uri), Err(McpResetKind::Invalid), "{uri}");
        }
    }

    #[test]
    fn an_encoded_share_is_a_share() {
        for pattern in ["{+rest}", "{kind}/{+rest}", "{a}/{b}/{+rest}"] {
            let topic = serde_json::json!({ "pattern": pattern, "permissions": ["read"] });
            let named = of(&serde_json::json!({ "topics": [topic] }));
            for uri in ["mqtt://%24share/g/a/b", "mqtt://%24%73hare/g/a/b/c"] {
                assert_eq!(watch(&named, uri), Err(McpResetKind::Invalid), "{uri}");
                assert_eq!(read(&named, uri), Err(McpResetKind::Invalid), "{uri}");
            }
            for uri in ["mqtt://%24SYS/a/b", "mqtt://$SYS/a/b"] {
                assert_eq!(watch(&named, uri), Err(McpResetKind::NotFound), "{uri}");
                assert_eq!(read(&named, uri), Err(McpResetKind::NotFound), "{uri}");
            }
        }
    }

    #[test]
    fn a_uri_names_a_topic_byte_for_byte() {
        let open = of(&serde_json::json!({}));
        for topic in [
            "a/b", "/a", "a//", "a%20b", "a?b", "Ä/x", "a b", "a%", "a%2", "%zz",
        ] {
            assert_eq!(
                read(&open, &format!("mqtt://{topic}")),
                Ok(topic.to_owned())
            );
        }
        for (uri, kind) in [
            ("mqtt:a", McpResetKind::NotFound),
            ("MQTT://a", McpResetKind::NotFound),
            ("http://a", McpResetKind::NotFound),
            ("", McpResetKind::NotFound),
            ("mqtt://", McpResetKind::Invalid),
            ("mqtt://a/+", McpResetKind::Invalid),
            ("mqtt://#", McpResetKind::Invalid),
            ("mqtt://a\0", McpResetKind::Invalid),
            ("mqtt://a%0A", McpResetKind::Invalid),
            ("mqtt://%c2%9f/%", McpResetKind::Invalid),
            ("mqtt://$SYS/x", McpResetKind::NotFound),
            ("mqtt://$share/g/a", McpResetKind::Invalid),
        ] {
            assert_eq!(read(&open, uri), Err(kind), "{uri}");
        }
        assert_eq!(watch(&open, "mqtt://a/+"), Ok("a/+".to_owned()));
        assert_eq!(watch(&open, "mqtt://a+"), Err(McpResetKind::Invalid));
    }

    #[test]
    fn patterns_refuse_what_they_do_not_cover() {
        let policy = policy(&["sensors/temperature/+"]);
        assert!(read(&policy, "mqtt://sensors/temperature/1").is_ok());
        for uri in ["mqtt://sensors/1", "mqtt://sensors/temperature/1/2"] {
            assert_eq!(read(&policy, uri), Err(McpResetKind::NotFound));
        }
        assert!(watch(&policy, "mqtt://sensors/temperature/+").is_ok());
        let shared = "mqtt://$share/g/sensors/temperature/+";
        assert_eq!(watch(&policy, shared), Err(McpResetKind::Invalid));
        for uri in ["mqtt://sensors/#", "mqtt://#"] {
            assert_eq!(watch(&policy, uri), Err(McpResetKind::NotFound));
        }
        let shared = "mqtt://$share/g/sensors/temperature/1";
        let topic = topic_to_read(policy.of(None), &limits(true), &shared.into());
        assert!(topic.is_ok_and(|topic| topic.is_shared()));
        assert_eq!(read(&policy, shared), Err(McpResetKind::Invalid));
        let other = topic_to_read(policy.of(None), &limits(true), &"mqtt://$share/g/a".into());
        assert_eq!(
            other.map_err(|reset| reset.kind),
            Err(McpResetKind::NotFound)
        );
        let reset = topic_to_read(policy.of(None), &limits(false), &"mqtt://a\"b".into())
            .expect_err("refused");
        assert_eq!(
            reset.data.as_deref(),
            Some(&br#"{"uri":"mqtt://a\"b"}"#[..])
        );
        assert!(reset.message.contains("sensors/temperature/+"));
    }

    #[test]
    fn a_first_level_in_lower_case_reaches_the_one_pattern_that_spells_it_otherwise() {
        let one = policy(&["Plant/+", "Plant/x/#", "other/#"]);
        assert_eq!(read(&one, "mqtt://plant/1"), Ok("Plant/1".to_owned()));
        assert_eq!(watch(&one, "mqtt://plant/+"), Ok("Plant/+".to_owned()));
        assert_eq!(read(&one, "mqtt://plant/A/b"), Err(McpResetKind::NotFound));
        let two = policy(&["Plant/+", "PLANT/+"]);
        assert_eq!(read(&two, "mqtt://plant/1"), Err(McpResetKind::NotFound));
        let exact = policy(&["Plant/+", "plant/+"]);
        assert_eq!(read(&exact, "mqtt://plant/1"), Ok("plant/1".to_owned()));
        let wild = policy(&["+/a"]);
        assert_eq!(read(&wild, "mqtt://plant/b"), Err(McpResetKind::NotFound));
    }
}
