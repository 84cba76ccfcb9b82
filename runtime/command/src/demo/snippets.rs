//! What a person pastes into an MCP client to use the endpoint that runs.

use std::net::SocketAddr;

use serde_json::json;

use crate::console::{say, strong};

/// Prints the snippets for an endpoint.
pub(crate) fn print(endpoint: SocketAddr) {
    let url = format!("http://{endpoint}/mcp");
    let program = std::env::current_exe()
        .map_or_else(|_| "tidegate".to_owned(), |path| path.display().to_string());
    let http = json!({ "mcpServers": { "tidegate": { "type": "http", "url": url } } });
    let stdio = json!({ "mcpServers": { "tidegate": {
        "command": program,
        "args": ["start", "--config", "config/stdio.yaml"],
    } } });
    say("");
    say(strong("Point an MCP client at it"));
    say("  Claude Code:");
    say(format!(
        "    claude mcp add --transport http tidegate {url}"
    ));
    say("  Most other clients (mcpServers), over HTTP:");
    say(format!("    {http}"));
    say("  or as a child process, with a config that has a stdio binding and your broker:");
    say(format!("    {stdio}"));
    say("  By hand:");
    for line in curl(&url) {
        say(format!("    {line}"));
    }
    say("");
}

fn curl(url: &str) -> Vec<String> {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "publish",
            "arguments": { "topic": "commands/lamp/set", "payload": "off", "qos": 1 },
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    vec![
        format!("curl -s {url} -H 'content-type: application/json' \\"),
        "  -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2026-07-28' \\"
            .to_owned(),
        "  -H 'mcp-method: tools/call' -H 'mcp-name: publish' \\".to_owned(),
        format!("  -d '{body}'"),
    ]
}
