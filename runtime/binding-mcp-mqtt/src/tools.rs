//! The tools `publish` and `receive`, as `tools/list` describes them.

use bytes::Bytes;

use crate::json_text::JsonText;
use crate::options::Options;

/// Name of the tool that publishes a message.
pub(crate) const PUBLISH: &str = "publish";
/// Name of the tool that receives messages.
pub(crate) const RECEIVE: &str = "receive";

/// Default of the argument `limit` of `receive`, unless `receiveLimit` is lower.
const LIMIT: u64 = 10;

/// The default of the argument `limit`: never above `receiveLimit`.
pub(crate) fn default_limit(options: &Options) -> u64 {
    LIMIT.min(options.receive_limit.get())
}

/// The result of `tools/list`, with the tools that the caller may use.
pub(crate) fn list(options: &Options, publishes: bool, receives: bool) -> Bytes {
    let mut json = JsonText::new();
    json.raw("{\"tools\":[");
    if publishes {
        json.raw(&publish(options));
    }
    if publishes && receives {
        json.raw(",");
    }
    if receives {
        json.raw(&receive(options));
    }
    json.raw("]}");
    json.into_bytes()
}

fn header(options: &Options) -> &'static str {
    if options.topic_header {
        ",\"x-mcp-header\":\"Topic\""
    } else {
        ""
    }
}

fn publish(options: &Options) -> String {
    let header = header(options);
    let lowest = options.publish_qos.lowest();
    let default = options.publish_qos.usual();
    let levels: Vec<String> = (lowest..=2).map(|qos| qos.to_string()).collect();
    let levels = levels.join(",");
    format!(
        r#"{{"name":"{PUBLISH}","title":"Publish an MQTT message","description":"Publish a message to an MQTT topic. `outcome` says what success means: sent (QoS 0, no confirmation), acknowledged by the broker (QoS 1) or completed (QoS 2). An error says whether the message may still have been delivered.","inputSchema":{{"type":"object","properties":{{"topic":{{"type":"string","description":"MQTT topic to publish to"{header}}},"payload":{{"type":"string","description":"Message payload"}},"qos":{{"type":"integer","enum":[{levels}],"default":{default}}},"retain":{{"type":"boolean","default":false}},"encoding":{{"type":"string","enum":["text","base64"],"default":"text","description":"Encoding of `payload`; use base64 for binary data"}}}},"required":["topic","payload"]}},"outputSchema":{{"type":"object","properties":{{"outcome":{{"type":"string","enum":["sent","acknowledged","completed"],"description":"How far the broker has confirmed the message"}},"reasonCode":{{"type":["integer","null"],"description":"MQTT reason code of the acknowledgement; 16: no matching subscribers"}},"matched":{{"type":["boolean","null"],"description":"Whether somebody subscribes to the topic; null if the broker does not tell"}}}},"required":["outcome","reasonCode","matched"]}},"annotations":{{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":false,"openWorldHint":true}}}}"#
    )
}

fn receive(options: &Options) -> String {
    let header = header(options);
    let limit = default_limit(options);
    let most = options.receive_limit.get();
    let timeout = options.receive_timeout.get();
    // A shared subscription takes messages from the other subscribers, so it is not read-only.
    let (shared, hints) = if options.shared_subscriptions {
        (
            ", and shared subscriptions ($share/GROUP/FILTER), which take messages from the other subscribers of the group",
            r#""readOnlyHint":false,"destructiveHint":true"#,
        )
    } else {
        ("", r#""readOnlyHint":true"#)
    };
    format!(
        r#"{{"name":"{RECEIVE}","title":"Receive MQTT messages","description":"Subscribe to an MQTT topic filter and return up to `limit` messages (max {most}), retained messages included, or fewer when `timeout` expires.","inputSchema":{{"type":"object","properties":{{"topic":{{"type":"string","description":"MQTT topic filter — supports + and # wildcards{shared}"{header}}},"limit":{{"type":"integer","description":"Maximum number of messages to receive","default":{limit}}},"timeout":{{"type":"integer","description":"Time to wait for messages, in milliseconds","default":{timeout}}}}},"required":["topic"]}},"outputSchema":{{"type":"object","properties":{{"messages":{{"type":"array","items":{{"type":"object","properties":{{"topic":{{"type":"string"}},"payload":{{"type":"string"}},"qos":{{"type":"integer","enum":[0,1,2]}},"retain":{{"type":"boolean"}},"encoding":{{"type":"string","enum":["base64"],"description":"base64 if the payload is binary; absent if it is text"}}}},"required":["topic","payload","qos","retain"]}}}}}},"required":["messages"]}},"annotations":{{{hints},"openWorldHint":true}}}}"#
    )
}
