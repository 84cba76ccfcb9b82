//! W3C trace context of a message: MQTT 5 user properties of the names that MCP uses in `_meta`
//! (SEP-414).

use bytestring::ByteString;

use super::MqttUserProperty;
use super::text::check_characters;

/// The name of the property with trace and parent.
pub const TRACEPARENT: &str = "traceparent";
/// The names of the properties, and the maximum length of their values in bytes.
pub const TRACE_CONTEXT: [(&str, usize); 3] =
    [(TRACEPARENT, 55), ("tracestate", 512), ("baggage", 8_192)];

/// The trace context whose values `text` yields by name. None without a valid `traceparent`; other values
/// that are too long or contain characters that MQTT does not allow are left out.
pub fn trace_context(text: impl Fn(&str) -> Option<ByteString>) -> Vec<MqttUserProperty> {
    if !text(TRACEPARENT).is_some_and(|value| is_traceparent(&value)) {
        return Vec::new();
    }
    let values = TRACE_CONTEXT.into_iter().filter_map(|(name, max)| {
        let value = text(name)?;
        let valid = value.len() <= max && check_characters(&value).is_ok();
        valid.then(|| MqttUserProperty {
            key: ByteString::from_static(name),
            value,
        })
    });
    values.collect()
}

/// The `traceparent` of a message, if it is valid.
pub fn trace_parent(properties: &[MqttUserProperty]) -> Option<ByteString> {
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
    fn the_values_of_a_context_are_bounded() {
        let names = |state: String| {
            let of = trace_context(|name| match name {
                TRACEPARENT => Some(VALID.into()),
                "tracestate" => Some(state.clone().into()),
                _ => None,
            });
            of.len()
        };
        assert_eq!(names("a=b".to_owned()), 2);
        assert_eq!(names("a".repeat(513)), 1);
        assert_eq!(names("a\u{7}".to_owned()), 1);
        assert_eq!(names("a\u{fffe}".to_owned()), 1, "a broker would refuse it");
        assert_eq!(trace_context(|_| None), []);
    }
}
