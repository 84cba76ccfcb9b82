//! What a person pastes into an MCP client to use the endpoint that runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::console::{say, strong};

/// The config of a gateway that a client starts, in the repository.
const STDIO_CONFIG: &str = "config/stdio.yaml";

/// Prints the snippets for an endpoint.
pub(crate) fn print(endpoint: SocketAddr) {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tidegate"));
    // A client starts it in a folder of its own, so no relative path would do.
    let config = Path::new(STDIO_CONFIG).canonicalize().ok();
    say("");
    say(strong("Point an MCP client at it"));
    for line in lines(endpoint, &program, config.as_deref()) {
        say(format!("  {line}"));
    }
    say("");
}

fn lines(endpoint: SocketAddr, program: &Path, config: Option<&Path>) -> Vec<String> {
    let url = format!("http://{endpoint}/mcp");
    let http = json!({ "mcpServers": { "tidegate": { "type": "http", "url": url } } });
    let mut lines = vec![
        "Claude Code:".to_owned(),
        format!("  claude mcp add --transport http tidegate {url}"),
        "Most other clients (mcpServers), over HTTP:".to_owned(),
        format!("  {http}"),
    ];
    if let Some(config) = config {
        let stdio = json!({ "mcpServers": { "tidegate": {
            "command": program,
            "args": ["start", "--config", config],
        } } });
        lines.push(
            "or as a child process, in front of the broker that this config names:".to_owned(),
        );
        lines.push(format!("  {stdio}"));
    }
    lines.push("By hand:".to_owned());
    lines.extend(curl(&url).into_iter().map(|line| format!("  {line}")));
    lines
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn told(config: Option<&Path>) -> Vec<String> {
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 7114));
        lines(endpoint, Path::new("/usr/bin/tidegate"), config)
    }

    fn stdio(lines: &[String]) -> Option<Value> {
        let line = lines.iter().find(|line| line.contains("\"command\""))?;
        serde_json::from_str(line).ok()
    }

    #[test]
    fn a_client_can_resolve_the_config_wherever_it_starts_the_gateway() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let config = root.join(STDIO_CONFIG).canonicalize().expect("the config");
        let snippet = stdio(&told(Some(&config))).expect("a snippet");
        let arguments = &snippet["mcpServers"]["tidegate"]["args"];
        let path = arguments[2].as_str().map(Path::new).expect("a path");
        assert!(path.is_absolute() && path.is_file(), "{path:?}");
    }

    #[test]
    fn without_a_config_there_is_no_snippet_that_needs_one() {
        assert!(stdio(&told(None)).is_none());
        assert!(
            told(None)
                .iter()
                .any(|line| line.contains("claude mcp add"))
        );
    }
}
