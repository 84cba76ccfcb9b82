//! Client configuration snippets for the running endpoint.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::console::{bold, print_line};

/// Config of a gateway that a client starts as a child process, relative to the repository.
const STDIO_CONFIG: &str = "config/stdio.yaml";

/// Prints the snippets for an endpoint.
pub(crate) fn print(endpoint: SocketAddr) {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("tidegate"));
    // A client starts the gateway in another folder, so the path must be absolute.
    let config = Path::new(STDIO_CONFIG).canonicalize().ok();
    print_line("");
    print_line(bold("Connect an MCP client"));
    for line in lines(endpoint, &program, config.as_deref()) {
        print_line(format!("  {line}"));
    }
    print_line("");
}

fn lines(endpoint: SocketAddr, program: &Path, config: Option<&Path>) -> Vec<String> {
    let url = format!("http://{endpoint}/mcp");
    let http = json!({ "mcpServers": { "tidegate": { "type": "http", "url": url } } });
    let mut lines = vec![
        "Claude Code:".to_owned(),
        format!("  claude mcp add --transport http tidegate {url}"),
        "Other clients (mcpServers), over HTTP:".to_owned(),
        format!("  {http}"),
    ];
    if let Some(config) = config {
        let stdio = json!({ "mcpServers": { "tidegate": {
            "command": program,
            "args": ["start", "--config", config],
        } } });
        lines.push("As a child process (stdio), with the broker set in this config:".to_owned());
        lines.push(format!("  {stdio}"));
    }
    lines.push("With curl:".to_owned());
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

    fn snippet_lines(config: Option<&Path>) -> Vec<String> {
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 7114));
        lines(endpoint, Path::new("/usr/bin/tidegate"), config)
    }

    fn stdio(lines: &[String]) -> Option<Value> {
        let line = lines.iter().find(|line| line.contains("\"command\""))?;
        serde_json::from_str(line).ok()
    }

    #[test]
    fn the_stdio_snippet_has_an_absolute_config_path() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let config = root.join(STDIO_CONFIG).canonicalize().expect("the config");
        let snippet = stdio(&snippet_lines(Some(&config))).expect("a snippet");
        let arguments = &snippet["mcpServers"]["tidegate"]["args"];
        let path = arguments[2].as_str().map(Path::new).expect("a path");
        assert!(path.is_absolute() && path.is_file(), "{path:?}");
    }

    #[test]
    fn without_the_config_file_there_is_no_stdio_snippet() {
        assert!(stdio(&snippet_lines(None)).is_none());
        assert!(
            snippet_lines(None)
                .iter()
                .any(|line| line.contains("claude mcp add"))
        );
    }
}
