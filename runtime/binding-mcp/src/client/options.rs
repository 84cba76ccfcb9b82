//! Options of `mcp · client`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, positive};
use tidegate_streams::mqtt::topic::{check_name, is_reserved};

/// Which era of MCP a server is asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EraChoice {
    /// The newest that it supports, as found out with `server/discover`.
    #[default]
    Auto,
    /// 2026-07-28.
    Modern,
    /// 2025-11-25 or older, with `initialize`.
    Legacy,
}

/// How messages reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// Streamable HTTP, with `http · client` as exit.
    Http,
    /// The standard input and output of a process, with `stdio · client` as exit.
    Stdio,
    /// MCP over MQTT 5, with `mqtt · client` as exit.
    Mqtt,
}

/// The server behind an `mqtt · client`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct MqttOptions {
    /// The first levels of the topics of the server: it announces itself on `BASE/discover`.
    #[serde(deserialize_with = "base")]
    #[schemars(length(min = 1, max = 1_024))]
    base: String,
    /// The level of this client in topics: requests go to `BASE/request/CLIENT`, and replies come on
    /// `BASE/response/CLIENT/` and a random level.
    #[serde(deserialize_with = "level")]
    #[schemars(length(min = 1, max = 256))]
    client: String,
}

impl Default for MqttOptions {
    fn default() -> Self {
        Self {
            base: "mcp".to_owned(),
            client: "tidegate".to_owned(),
        }
    }
}

impl MqttOptions {
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }
}

/// Options of `mcp · client`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// How messages reach the server: `http`, `stdio` or `mqtt`. Absent: as the exit requires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// The topics of the server, with an `mqtt · client` as exit. Such a server is asked in the modern era only.
    #[schemars(extend("examples" = [{ "base": "mcp/boiler", "client": "gateway" }]))]
    pub mqtt: MqttOptions,
    /// Path of the MCP endpoint, with its query if it has one. Over stdio and MQTT it has no effect.
    #[serde(deserialize_with = "path")]
    pub path: String,
    /// The era of MCP that the server is asked in: `auto` finds out the newest that it supports and
    /// remembers it, `modern` is 2026-07-28, and `legacy` is 2025-11-25 or older.
    pub era: EraChoice,
    /// Timeout for an operation whose caller has no deadline, in milliseconds.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
    /// Timeout for finding out the era and beginning a session, in milliseconds. A process may have to be
    /// installed first.
    pub handshake_timeout: Bounded<1, 600_000>,
    /// How long a process is waited for to answer `server/discover`, in milliseconds; then it is taken to be
    /// of the legacy era.
    pub probe_timeout: Bounded<1, 600_000>,
    /// Time without a call after which a session that calls share is ended, in milliseconds.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub session_timeout: u64,
    /// Maximum number of sessions with the server, for each worker. A further one is refused.
    pub max_sessions: Bounded<1, 1_000_000>,
    /// Maximum number of operations that run or wait, for each worker. A further one is refused.
    pub max_requests: Bounded<1, 1_000_000>,
    /// Maximum size of a message of the server and of the params of a call, in bytes. A larger one fails the
    /// call.
    pub max_message_size: Bounded<1_024, 1_073_741_824>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: None,
            mqtt: MqttOptions::default(),
            path: "/mcp".to_owned(),
            era: EraChoice::default(),
            timeout: 60_000,
            handshake_timeout: Bounded::of(30_000),
            probe_timeout: Bounded::of(10_000),
            session_timeout: 300_000,
            max_sessions: Bounded::of(1_000),
            max_requests: Bounded::of(10_000),
            max_message_size: Bounded::of(16 * 1024 * 1024),
        }
    }
}

impl tidegate_options::Options for Options {}

/// The first levels of a topic.
fn base<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    /// Longest base, in bytes.
    const MAX: usize = 1_024;
    let base = String::deserialize(deserializer)?;
    let invalid = |why: &str| de::Error::custom(format!("invalid base '{base}': {why}"));
    check_name(&base).map_err(|error| invalid(&error.to_string()))?;
    if is_reserved(&base) || base.len() > MAX || base.ends_with('/') {
        return Err(invalid(
            "use at most 1024 bytes, without '$' at the beginning and '/' at the end",
        ));
    }
    Ok(base)
}

/// One level of a topic.
fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    /// Longest level, in bytes.
    const MAX: usize = 256;
    let level = String::deserialize(deserializer)?;
    if check_name(&level).is_err() || level.contains('/') || level.len() > MAX {
        return Err(de::Error::custom(format!(
            "invalid client '{level}'; use one level of a topic: 1 to {MAX} bytes without '/', '+' and '#'"
        )));
    }
    Ok(level)
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    let visible = path.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    if !path.starts_with('/') || !visible || path.contains('#') {
        return Err(de::Error::custom(
            "invalid path; use the path of the MCP endpoint, e.g. /mcp, with other characters as %XX",
        ));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_base_and_a_client_are_levels_of_topics() {
        let read = |base: &str, client: &str| {
            let read = json!({ "mqtt": { "base": base, "client": client } });
            serde_json::from_value::<Options>(read).map_err(|it| it.to_string())
        };
        let options = read("mcp/boiler", "gateway-1").expect("valid");
        assert_eq!(
            (options.mqtt.base(), options.mqtt.client()),
            ("mcp/boiler", "gateway-1")
        );
        for (base, client, what) in [
            ("", "a", "invalid base"),
            ("mcp/+", "a", "invalid base"),
            ("mcp/", "a", "invalid base"),
            ("$mcp", "a", "without '$'"),
            ("mcp", "", "invalid client"),
            ("mcp", "a/b", "one level"),
            ("mcp", "+", "one level"),
        ] {
            let error = read(base, client).expect_err(what);
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_path_is_that_of_a_url() {
        for path in ["/", "/mcp", "/a/b?c=d%20e"] {
            let options: Options = serde_json::from_value(json!({ "path": path })).expect(path);
            assert_eq!(options.path, path);
        }
        for path in ["", "mcp", "/a b", "/a#b", "/ä", "/a\r\nb"] {
            let read = serde_json::from_value::<Options>(json!({ "path": path }));
            let error = read.expect_err(path).to_string();
            assert!(error.contains("invalid path"), "{error}");
        }
    }
}
