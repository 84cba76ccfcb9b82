//! The targets file: further servers to measure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::plan::{Cell, InvalidSetting, Operation};

/// Default MCP version of targets: stateless.
pub(crate) const MODERN: &str = "2026-07-28";

/// The content of a targets file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    targets: Vec<Peer>,
}

/// Parses and checks a targets file.
pub fn read_targets(text: &str) -> Result<Vec<Peer>, InvalidSetting> {
    let file: File =
        serde_yaml::from_str(text).map_err(|error| InvalidSetting(error.to_string()))?;
    for peer in &file.targets {
        peer.check()?;
    }
    Ok(file.targets)
}

/// A further server to measure.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Peer {
    /// Name in reports and of result files.
    pub name: String,
    /// Command that starts the server, with `url`.
    #[serde(default)]
    pub start: Vec<String>,
    /// Additional environment variables of the command.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files to write to its directory, `{{directory}}`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// HTTP endpoint.
    #[serde(default)]
    pub url: Option<String>,
    /// Command of a server over standard input and output.
    #[serde(default)]
    pub stdio: Vec<String>,
    /// Headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// MCP protocol version.
    #[serde(default = "modern")]
    pub version: String,
    /// Operation to measure.
    #[serde(default = "publish", deserialize_with = "operation")]
    pub operation: Operation,
    /// Tool to call.
    #[serde(default)]
    pub tool: Option<String>,
    /// Arguments of the tool, with placeholders.
    #[serde(default)]
    pub arguments: Option<Value>,
    /// Text that each result must contain.
    #[serde(default)]
    pub expect: Option<String>,
    /// Concurrencies to measure; default: all.
    #[serde(default)]
    pub concurrency: Option<Vec<usize>>,
    /// `QoS` levels of `publish` to measure; default: all.
    #[serde(default)]
    pub qos: Option<Vec<u8>>,
    /// Number of rounds, for slow servers; default: all.
    #[serde(default)]
    pub rounds: Option<usize>,
}

fn modern() -> String {
    MODERN.to_owned()
}

const fn publish() -> Operation {
    Operation::Publish
}

fn operation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Operation, D::Error> {
    let word = String::deserialize(deserializer)?;
    word.parse().map_err(serde::de::Error::custom)
}

impl Peer {
    /// Whether it is measured in a cell.
    pub(crate) fn is_measured_in(&self, cell: &Cell) -> bool {
        let concurrency = self.concurrency.as_ref();
        let qos = self.qos.as_ref().zip(cell.qos);
        self.operation == cell.operation
            && concurrency.is_none_or(|list| list.contains(&cell.concurrency))
            && qos.is_none_or(|(list, qos)| list.contains(&qos))
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        let wrong = |what: &str| Err(InvalidSetting(format!("target '{}': {what}", self.name)));
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return wrong(
                "invalid name; use letters, digits, '-', '_' and '.' (it is part of file names)",
            );
        }
        if self.operation == Operation::Reverse {
            return match (self.start.is_empty(), &self.url, self.stdio.is_empty()) {
                (false, None, true) => Ok(()),
                _ => wrong("operation 'reverse' requires 'start', and neither 'url' nor 'stdio'"),
            };
        }
        if self.url.is_some() != self.stdio.is_empty() {
            return wrong("set either 'url' or 'stdio'");
        }
        if !self.start.is_empty() && self.url.is_none() {
            return wrong(
                "'start' requires 'url'; with 'stdio' the command is the value of 'stdio'",
            );
        }
        if self.operation == Operation::Updates {
            return wrong("operation 'updates' is not supported for targets");
        }
        if self
            .files
            .keys()
            .any(|name| name.is_empty() || name.contains('/'))
        {
            return wrong("invalid file name in 'files'; it must not be empty or contain '/'");
        }
        let qos = self.qos.as_deref();
        if qos.is_some_and(|list| list.is_empty() || list.iter().any(|qos| *qos > 2)) {
            return wrong("invalid 'qos'; use a list of 0, 1 and 2");
        }
        if qos.is_some() && self.operation != Operation::Publish {
            return wrong("'qos' is only valid for operation 'publish'");
        }
        if self.rounds == Some(0) {
            return wrong("'rounds' must be at least 1");
        }
        let breaks = |text: &String| text.contains(['\r', '\n']);
        if self
            .headers
            .iter()
            .any(|(name, value)| breaks(name) || breaks(value))
        {
            return wrong("a header must not contain line breaks");
        }
        Ok(())
    }
}

/// URL of an endpoint; only plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `host:port`, for the connection and the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl FromStr for Url {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let wrong = || {
            InvalidSetting(format!(
                "invalid endpoint '{text}'; use a URL such as http://127.0.0.1:7114/mcp"
            ))
        };
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !visible(host) || !visible(path) || host.contains('@') {
            return Err(wrong());
        }
        let behind_address = host.rsplit(']').next().unwrap_or_default();
        let authority = if behind_address.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let path = path.to_owned();
        Ok(Self { authority, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Size;

    #[test]
    fn a_targets_file_is_parsed_with_defaults() {
        let peers = read_targets(
            r#"
targets:
  - name: rmcp
    start: [server, --listen, "127.0.0.1:{{port}}"]
    url: http://127.0.0.1:{{port}}/mcp
    version: 2025-06-18
    tool: publish
    arguments: { topic: "{{topic}}", qos: 1 }
    rounds: 3
  - name: other
    stdio: [server]
    files: { config.json: "{}" }
    concurrency: [1]
"#,
        );
        let peers = peers.expect("a targets file");
        let [rmcp, other] = peers.as_slice() else {
            panic!("{peers:?}")
        };
        assert_eq!(rmcp.version, "2025-06-18");
        assert_eq!(
            rmcp.arguments,
            Some(serde_json::json!({ "topic": "{{topic}}", "qos": 1 }))
        );
        assert_eq!((rmcp.rounds, &rmcp.concurrency), (Some(3), &None));
        assert_eq!(other.version, MODERN);
        assert_eq!((other.stdio.len(), other.files.len()), (1, 1));
    }

    #[test]
    fn the_targets_files_in_the_repository_are_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/peers/targets");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("benches/peers/targets") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a targets file");
            let peers = read_targets(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            count += peers.len();
        }
        assert!(count >= 2);
    }

    #[test]
    fn a_target_is_measured_in_the_selected_cells() {
        let text = "targets: [ { name: a, stdio: [b], qos: [1], concurrency: [1, 16] } ]";
        let peers = read_targets(text).expect("a targets file");
        let cell = |operation, qos, concurrency| Cell {
            operation,
            qos,
            concurrency,
            payload: Size(100),
        };
        for (cell, expected) in [
            (cell(Operation::Publish, Some(1), 16), true),
            (cell(Operation::Publish, Some(1), 64), false),
            (cell(Operation::Publish, Some(0), 16), false),
            (cell(Operation::Publish, Some(2), 1), false),
            (cell(Operation::Read, None, 16), false),
        ] {
            assert_eq!(peers[0].is_measured_in(&cell), expected, "{cell}");
        }
    }

    #[test]
    fn invalid_targets_are_rejected() {
        for fault in [
            "{ name: a }",
            "{ name: a, url: 'http://b/', stdio: [c] }",
            "{ name: a, stdio: [c], start: [d] }",
            "{ name: 'a/b', stdio: [c] }",
            "{ name: a, stdio: [c], files: { ../d: e } }",
            "{ name: a, stdio: [c], rounds: 0 }",
            "{ name: a, stdio: [c], qos: [] }",
            "{ name: a, stdio: [c], qos: [1, 3] }",
            "{ name: a, stdio: [c], qos: [1], operation: read }",
            "{ name: a, stdio: [c], unknown: 0 }",
            "{ name: a, stdio: [c], operation: sing }",
            "{ name: a, stdio: [c], operation: reverse }",
            "{ name: a, operation: reverse }",
            "{ name: a, url: 'http://b/', headers: { c: \"d\\r\\ne\" } }",
        ] {
            let text = format!("targets: [ {fault} ]");
            assert!(read_targets(&text).is_err(), "{fault}");
        }
    }

    #[test]
    fn urls_are_parsed() {
        for (text, authority, path) in [
            ("http://127.0.0.1:7114/mcp", "127.0.0.1:7114", "/mcp"),
            ("http://localhost", "localhost:80", "/"),
            ("http://[::1]/a?b", "[::1]:80", "/a?b"),
            ("http://[::1]:81", "[::1]:81", "/"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(
                (url.authority.as_str(), url.path.as_str()),
                (authority, path)
            );
        }
        for text in [
            "https://a/",
            "a:1/mcp",
            "http://",
            "http://a b/",
            "http://u@h/",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
