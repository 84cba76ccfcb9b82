//! W3C trace context of a call, and of a message: `_meta` of the params (MCP, SEP-414), and MQTT 5 user
//! properties of the same names.

use tidegate_json::Document;
use tidegate_streams::mqtt::{MqttUserProperty, trace_context};

/// The user properties for the trace context in `params`. None without a valid `traceparent`.
pub(crate) fn properties(params: Option<&Document>) -> Vec<MqttUserProperty> {
    let meta = params.and_then(|params| params.root().get("_meta").ok().flatten());
    let Some(meta) = meta else {
        return Vec::new();
    };
    trace_context(|name| meta.get(name).ok().flatten()?.string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_json::{Limits, Parts};

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

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
