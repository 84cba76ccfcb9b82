//! The answer to `server/discover`: what a server is and offers.

use bytes::{BufMut, BytesMut};
use tidegate_json::write::push_string;
use tidegate_streams::mcp::{McpCapabilities, McpEnd, McpMethod as Method};

use super::result::additions;

/// The members of the `server/discover` result. `fresh`: how long a client may keep it, in milliseconds.
pub fn discovered<'a>(
    versions: impl Iterator<Item = &'a str>,
    capabilities: McpCapabilities,
    instructions: Option<&str>,
    fresh: u64,
) -> BytesMut {
    let mut members = BytesMut::with_capacity(512);
    members.put_slice(b"\"supportedVersions\":[");
    for (index, version) in versions.enumerate() {
        if index > 0 {
            members.put_u8(b',');
        }
        push_string(&mut members, version);
    }
    members.put_slice(b"],\"capabilities\":");
    push_capabilities(&mut members, capabilities);
    members.put_u8(b',');
    if let Some(instructions) = instructions {
        members.put_slice(b"\"instructions\":");
        push_string(&mut members, instructions);
        members.put_u8(b',');
    }
    let end = McpEnd {
        ttl_ms: Some(fresh),
        ..McpEnd::default()
    };
    additions(&mut members, Method::Discover, &end);
    members
}

/// Appends the `capabilities` object of a server.
pub fn push_capabilities(out: &mut BytesMut, capabilities: McpCapabilities) {
    type C = McpCapabilities;
    let details = |offered: &[(&str, C)]| -> String {
        let offered = offered
            .iter()
            .filter(|(_, flag)| capabilities.contains(*flag));
        let offered: Vec<String> = offered
            .map(|(name, _)| format!("\"{name}\":true"))
            .collect();
        offered.join(",")
    };
    let offers = [
        (
            "tools",
            C::SERVER_TOOLS,
            details(&[("listChanged", C::SERVER_TOOLS_LIST_CHANGED)]),
        ),
        (
            "prompts",
            C::SERVER_PROMPTS,
            details(&[("listChanged", C::SERVER_PROMPTS_LIST_CHANGED)]),
        ),
        (
            "resources",
            C::SERVER_RESOURCES,
            details(&[
                ("subscribe", C::SERVER_RESOURCES_SUBSCRIBE),
                ("listChanged", C::SERVER_RESOURCES_LIST_CHANGED),
            ]),
        ),
        ("completions", C::SERVER_COMPLETIONS, String::new()),
        ("logging", C::SERVER_LOGGING, String::new()),
    ];
    let offered = offers
        .iter()
        .filter(|(_, flag, _)| capabilities.contains(*flag));
    let objects: Vec<String> = offered
        .map(|(name, _, details)| format!("\"{name}\":{{{details}}}"))
        .collect();
    out.put_slice(format!("{{{}}}", objects.join(",")).as_bytes());
}
