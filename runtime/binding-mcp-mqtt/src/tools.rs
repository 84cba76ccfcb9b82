//! The tools `publish` and `receive`, as `tools/list` describes them.

use bytes::Bytes;

use crate::json_text::JsonText;
use crate::options::Options;

/// The name of the tool that publishes.
pub(crate) const PUBLISH: &str = "publish";
/// The name of the tool that receives.
pub(crate) const RECEIVE: &str = "receive";

/// How many messages `receive` collects where the call does not say.
const LIMIT: u64 = 10;

/// The default of `limit`, which is never above the highest one.
pub(crate) fn default_limit(options: &Options) -> u64 {
    LIMIT.min(options.receive_limit.get())
}

/// The result of `tools/list`.
pub(crate) fn list(options: &Options) -> Bytes {
    let mut json = JsonText::new();
    json.raw("{\"tools\":[");
    json.raw(&publish(options));
    json.raw(",");
    json.raw(&receive(options));
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
    format!(
        r#"{{"name":"{PUBLISH}","title":"Publish an MQTT message","description":"Publish a message to an MQTT topic. Done means that the broker has acknowledged it as far as its QoS asks for; an error says whether the message may have been delivered nevertheless.","inputSchema":{{"type":"object","properties":{{"topic":{{"type":"string","description":"MQTT topic to publish to"{header}}},"payload":{{"type":"string","description":"Message payload"}},"qos":{{"type":"integer","enum":[0,1,2],"default":0}},"retain":{{"type":"boolean","default":false}},"encoding":{{"type":"string","enum":["text","base64"],"default":"text","description":"How the payload is written here; base64 for bytes that are no text"}}}},"required":["topic","payload"]}},"annotations":{{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":false,"openWorldHint":true}}}}"#
    )
}

fn receive(options: &Options) -> String {
    let header = header(options);
    let limit = default_limit(options);
    let most = options.receive_limit.get();
    let timeout = options.receive_timeout.get();
    // To take messages from those who would work on them is no mere look.
    let (shared, hints) = if options.shared_subscriptions {
        (
            ", and $share/GROUP/FILTER to take messages from a group of subscribers",
            r#""readOnlyHint":false,"destructiveHint":true"#,
        )
    } else {
        ("", r#""readOnlyHint":true"#)
    };
    format!(
        r#"{{"name":"{RECEIVE}","title":"Receive MQTT messages","description":"Subscribe to an MQTT topic filter, retained messages included, and return the messages that come until there are as many as the limit (at most {most}) or the time is over; the list may be short or empty then.","inputSchema":{{"type":"object","properties":{{"topic":{{"type":"string","description":"MQTT topic filter — supports + and # wildcards{shared}"{header}}},"limit":{{"type":"integer","description":"Maximum number of messages to receive","default":{limit}}},"timeout":{{"type":"integer","description":"For how many milliseconds to wait for messages","default":{timeout}}}}},"required":["topic"]}},"outputSchema":{{"type":"object","properties":{{"messages":{{"type":"array","items":{{"type":"object","properties":{{"topic":{{"type":"string"}},"payload":{{"type":"string"}},"qos":{{"type":"integer","enum":[0,1,2]}},"retain":{{"type":"boolean"}},"encoding":{{"type":"string","enum":["base64"],"description":"Present where the payload is no text"}}}},"required":["topic","payload","qos","retain"]}}}}}},"required":["messages"]}},"annotations":{{{hints},"openWorldHint":true}}}}"#
    )
}
