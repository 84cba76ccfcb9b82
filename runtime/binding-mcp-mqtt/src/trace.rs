//! W3C trace context of a call, and of a message: `_meta` of the params (MCP, SEP-414), and MQTT 5 user
//! properties of the same names.

use bytestring::ByteString;
use tidegate_json::Document;
use tidegate_streams::mqtt::MqttUserProperty;

/// The names, in `_meta` and as user properties, and the maximum length of their values in bytes.
const NAMES: [(&str, usize); 3] = [(TRACEPARENT, 55), ("tracestate", 512), ("baggage", 8_192)];
const TRACEPARENT: &str = "traceparent";

/// The user properties for the trace context in `params`. None without a valid `traceparent`.
pub(crate) fn properties(params: Option<&Document>) -> Vec<MqttUserProperty> {
    let meta = params.and_then(|params| params.root().get("_meta").ok().flatten());
    let Some(meta) = meta else {
        return Vec::new();
    };
    let text = |name: &str| meta.get(name).ok().flatten()?.string();
    if !text(TRACEPARENT).is_some_and(|value| is_traceparent(&value)) {
        return Vec::new();
    }
    let values = NAMES.into_iter().filter_map(|(name, max)| {
        let value = text(name)?;
        let valid = value.len() <= max && !value.chars().any(char::is_control);
        valid.then(|| MqttUserProperty {
            key: ByteString::from_static(name),
            value,
        })
    });
    values.collect()
}

/// The `traceparent` of a message, if it is valid.
pub(crate) fn parent(properties: &[MqttUserProperty]) -> Option<ByteString> {
    let mut properties = properties.iter();
    let found = properties.find(|property| property.key == TRACEPARENT)?;
    is_traceparent(&found.value).then(|| found.value.clone())
}

/// Whether a text is a `traceparent` of version 00 (W3C Trace Context, 3.2.2): version, trace, parent and
/// flags in lower-case hexadecimal digits, neither trace nor parent zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else {
        return false;
    };
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    version == "00"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && !is_zero(trace)
        && !is_zero(parent)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::{Limits, Parts};

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_has_its_form() {
        assert!(is_traceparent(VALID));
        for invalid in [
            "",
            "00-0AF7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
            "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_traceparent(invalid), "{invalid}");
        }
    }

    #[test]
    fn the_context_of_a_call_becomes_properties_of_its_message() {
        let of = |meta: &str| {
            let text = Parts::from(Bytes::from(format!(r#"{{"_meta":{meta}}}"#)));
            let params = Document::parse(text, Limits::default()).expect("JSON");
            let properties = properties(Some(&params));
            let names = properties.iter().map(|it| it.key.to_string());
            names.collect::<Vec<_>>()
        };
        let both = format!(r#"{{"traceparent":"{VALID}","tracestate":"a=b"}}"#);
        assert_eq!(of(&both), ["traceparent", "tracestate"]);
        let long = format!(
            r#"{{"traceparent":"{VALID}","tracestate":"{}"}}"#,
            "a".repeat(513)
        );
        assert_eq!(of(&long), ["traceparent"]);
        assert_eq!(of(r#"{"tracestate":"a=b"}"#), [""; 0]);
        assert_eq!(of(r#"{"traceparent":7}"#), [""; 0]);
        assert_eq!(properties(None), []);
    }
}
