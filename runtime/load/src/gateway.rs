//! The config of the measured gateway: defaults, except for limits that the load would reach.

use std::fmt::Write as _;
use std::path::Path;

use crate::LoadError;
use crate::plan::Settings;
use crate::socket::BrokerAddress;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Allowance for envelope, topic and headers besides the payload.
const AROUND: usize = 64 * KIB;

/// The config of a run, the same for all cells.
pub(crate) fn config(
    settings: &Settings,
    broker: &BrokerAddress,
    listen: &str,
) -> Result<String, LoadError> {
    let (exit, bindings) = towards(broker)?;
    let payload = settings.payload.iter().map(|size| size.0).max();
    let payload = payload.unwrap_or_default() + AROUND;
    let callers = settings.concurrency.iter().max().copied();
    let callers = callers.unwrap_or(1);
    // Name, required value, default.
    let http = limits(&[
        ("maxBodySize", payload, 4 * MIB),
        ("maxConnections", 2 * callers, KIB),
    ]);
    let mcp = limits(&[("maxMessageSize", payload, 4 * MIB)]);
    // A result contains the payload twice, as text and as structured content.
    let proxy = limits(&[
        ("maxParams", payload, 4 * MIB),
        ("receiveBytes", 2 * payload, MIB),
    ]);
    let mqtt = limits(&[
        ("maxMessageSize", payload, 16 * MIB),
        ("maxPacketSize", payload, 16 * MIB),
        (
            "maxPending",
            payload.saturating_mul(callers).min(4_095 * MIB),
            16 * MIB,
        ),
        ("queueBytes", 4 * payload, MIB),
    ]);
    let mcp = options(&mcp);
    let mqtt = options(&mqtt);
    let workers = settings.workers;
    Ok(format!(
        "name: bench
workers: {workers}
bindings:
  http0:
    type: http
    kind: server
    options:
      listen: {listen}
{http}    exit: mcp_server0
  mcp_server0:
    type: mcp
    kind: server
{mcp}    exit: mcp_mqtt0
  mcp_mqtt0:
    type: mcp_mqtt
    kind: proxy
    options:
      publish: [\"bench/#\"]
      subscribe: [\"bench/#\"]
{proxy}    exit: mqtt_client0
  mqtt_client0:
    type: mqtt
    kind: client
{mqtt}    exit: {exit}
{bindings}"
    ))
}

/// The config of a run of requests of machines: devices publish below `topic`. `upstream`: host and port of the MCP
/// server. The limits are those of the default, unless the load needs more.
pub(crate) fn reverse_config(
    settings: &Settings,
    broker: &BrokerAddress,
    upstream: &str,
    topic: &str,
) -> Result<String, LoadError> {
    let (exit, bindings) = towards(broker)?;
    let payload = settings.payload.iter().map(|size| size.0).max();
    let payload = payload.unwrap_or_default() + AROUND;
    let callers = settings.concurrency.iter().max().copied();
    let callers = callers.unwrap_or(1);
    let machines = limits(&[
        ("concurrency", callers, 16),
        ("maxPayload", payload, 64 * KIB),
        ("maxResult", payload, 256 * KIB),
    ]);
    let mqtt = options(&limits(&[
        ("maxMessageSize", payload, 16 * MIB),
        ("maxPacketSize", payload, 16 * MIB),
    ]));
    let client = limits(&[
        ("maxMessageSize", payload, 16 * MIB),
        ("maxSessions", 2 * callers, 1_000),
    ]);
    let workers = settings.workers;
    Ok(format!(
        "name: bench
workers: {workers}
bindings:
  machines0:
    type: mqtt_mcp
    kind: proxy
    options:
      clientId: tidegate-bench-machines
{machines}    exits: {{ mqtt: mqtt_client0, mcp: mcp_client0 }}
    routes:
      - when: [{{ topic: \"{topic}/{{device}}/call\", qos: 1 }}]
        with:
          tool: echo
          arguments: \"{{{{ payload }}}}\"
          answer: {{ topic: \"{topic}/{{device}}/answer\" }}
  mcp_client0:
    type: mcp
    kind: client
    options:
      url: http://{upstream}/mcp
{client}  mqtt_client0:
    type: mqtt
    kind: client
{mqtt}    exit: {exit}
{bindings}"
    ))
}

/// The exit of `mqtt · client`, and the bindings between it and the broker.
fn towards(broker: &BrokerAddress) -> Result<(&'static str, String), LoadError> {
    let wrong = || {
        LoadError::Broker(
            broker.to_string(),
            "invalid address; use host:port".to_owned(),
        )
    };
    let (host, port) = broker.parts().ok_or_else(wrong)?;
    // A JSON string is a valid YAML string.
    let host = serde_json::Value::from(host);
    let (exit, tls) = tls(broker);
    let bindings = format!(
        "{tls}  tcp_client0:
    type: tcp
    kind: client
    options:
      host: {host}
      port: {port}
"
    );
    Ok((exit, bindings))
}

/// The name of the toolkit in front of the upstream.
pub(crate) const TOOLKIT: &str = "bench";

/// The config of a run of proxied operations. `upstream`: host and port of the MCP server.
pub(crate) fn proxy_config(settings: &Settings, upstream: &str, listen: &str) -> String {
    let payload = settings.payload.iter().map(|size| size.0).max();
    let payload = payload.unwrap_or_default() + AROUND;
    let callers = settings.concurrency.iter().max().copied();
    let callers = callers.unwrap_or(1);
    let http = limits(&[
        ("maxBodySize", payload, 4 * MIB),
        ("maxConnections", 2 * callers, KIB),
    ]);
    let mcp = options(&limits(&[("maxMessageSize", payload, 4 * MIB)]));
    let client = limits(&[
        ("maxMessageSize", payload, 16 * MIB),
        ("maxSessions", 2 * callers, 1_000),
    ]);
    // A caller uses one connection for its call, and one for the events of its session.
    let pool = limits(&[
        ("maxBodySize", payload, 16 * MIB),
        ("maxConnections", 4 * callers, 256),
    ]);
    let pool = if pool.is_empty() {
        String::new()
    } else {
        format!("      http:\n{}", pool.replace("      ", "        "))
    };
    let workers = settings.workers;
    format!(
        "name: bench
workers: {workers}
bindings:
  http0:
    type: http
    kind: server
    options:
      listen: {listen}
{http}    exit: mcp_server0
  mcp_server0:
    type: mcp
    kind: server
{mcp}    exit: mcp_proxy0
  mcp_proxy0:
    type: mcp
    kind: proxy
    routes:
      - when: [{{ toolkit: {TOOLKIT} }}]
        exit: mcp_client0
  mcp_client0:
    type: mcp
    kind: client
    options:
      url: http://{upstream}/mcp
{client}{pool}"
    )
}

/// The exit of `mqtt · client`, and the binding that encrypts for it.
fn tls(broker: &BrokerAddress) -> (&'static str, String) {
    let Some(trust) = &broker.trust else {
        return ("tcp_client0", String::new());
    };
    let trust = serde_json::Value::from(trust.display().to_string());
    let binding = format!(
        "  tls_client0:
    type: tls
    kind: client
    options:
      trust: {trust}
    exit: tcp_client0
"
    );
    ("tls_client0", binding)
}

/// Option lines for limits whose default is too small.
fn limits(limits: &[(&str, usize, usize)]) -> String {
    let mut lines = String::new();
    for (name, needed, usual) in limits {
        if needed > usual {
            let _ = writeln!(lines, "      {name}: {needed}");
        }
    }
    lines
}

/// The `options` key, unless there are none.
fn options(lines: &str) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("    options:\n{lines}")
}

/// Writes the config to the results, to reproduce the run.
pub(crate) fn write(folder: &Path, name: &str, config: &str) -> Result<(), LoadError> {
    let path = folder.join(name);
    std::fs::write(&path, config)
        .map_err(|error| LoadError::Report(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::plan::{Size, tests::settings};

    fn address(address: &str, trust: Option<&str>) -> BrokerAddress {
        BrokerAddress {
            address: address.to_owned(),
            trust: trust.map(Into::into),
        }
    }

    fn read(settings: &Settings, broker: &str) -> Value {
        let config = config(settings, &address(broker, None), "127.0.0.1:0").expect("a config");
        serde_yaml::from_str(&config).expect("YAML")
    }

    #[test]
    fn a_small_load_uses_the_defaults() {
        let config = read(&settings(), "[::1]:1883");
        let bindings = &config["bindings"];
        assert_eq!(
            bindings["tcp_client0"]["options"],
            serde_json::json!({ "host": "::1", "port": 1883 })
        );
        assert_eq!(bindings["mqtt_client0"].get("options"), None);
        assert_eq!(bindings["http0"]["options"]["listen"], "127.0.0.1:0");
        let options = bindings["http0"]["options"].as_object();
        assert_eq!(options.map(serde_json::Map::len), Some(1));
        assert!(config_of("broker").is_err() && config_of("a:b").is_err());
    }

    fn config_of(broker: &str) -> Result<String, LoadError> {
        config(&settings(), &address(broker, None), "127.0.0.1:0")
    }

    #[test]
    fn tls_stands_between_mqtt_and_tcp() {
        let broker = address("localhost:8883", Some("/tmp/it's #1.crt"));
        let config = config(&settings(), &broker, "127.0.0.1:0").expect("a config");
        let config: Value = serde_yaml::from_str(&config).expect("YAML");
        let bindings = &config["bindings"];
        assert_eq!(bindings["mqtt_client0"]["exit"], "tls_client0");
        assert_eq!(bindings["tls_client0"]["exit"], "tcp_client0");
        assert_eq!(
            bindings["tls_client0"]["options"]["trust"],
            "/tmp/it's #1.crt"
        );
    }

    #[test]
    fn a_proxy_has_the_upstream_as_its_toolkit() {
        let read = |settings: &Settings| -> Value {
            let config = proxy_config(settings, "127.0.0.1:9", "127.0.0.1:0");
            serde_yaml::from_str(&config).expect("YAML")
        };
        let config = read(&settings());
        let options = &config["bindings"]["mcp_client0"]["options"];
        assert_eq!(
            *options,
            serde_json::json!({ "url": "http://127.0.0.1:9/mcp" })
        );
        let many = Settings {
            payload: vec![Size(32 * MIB)],
            concurrency: vec![1_000],
            ..settings()
        };
        let config = read(&many);
        let options = &config["bindings"]["mcp_client0"]["options"];
        assert_eq!(options["maxSessions"], 2_000);
        assert_eq!(options["http"]["maxConnections"], 4_000);
        assert_eq!(options["http"]["maxBodySize"], 32 * MIB + AROUND);
    }

    #[test]
    fn machines_call_the_tool_of_the_upstream() {
        let read = |settings: &Settings| -> Value {
            let broker = address("localhost:1883", None);
            let config = reverse_config(settings, &broker, "127.0.0.1:9", "bench/x");
            serde_yaml::from_str(&config.expect("a config")).expect("YAML")
        };
        let config = read(&settings());
        let machines = &config["bindings"]["machines0"];
        assert_eq!(
            machines["routes"][0]["when"][0]["topic"],
            "bench/x/{device}/call"
        );
        assert_eq!(machines["routes"][0]["with"]["arguments"], "{{ payload }}");
        assert_eq!(machines["options"].get("concurrency"), None);
        assert_eq!(
            config["bindings"]["mcp_client0"]["options"]["url"],
            "http://127.0.0.1:9/mcp"
        );
        let many = Settings {
            concurrency: vec![64],
            ..settings()
        };
        let machines = &read(&many)["bindings"]["machines0"];
        assert_eq!(machines["options"]["concurrency"], 64);
    }

    #[test]
    fn limits_grow_with_the_load() {
        let settings = Settings {
            payload: vec![Size(100), Size(MIB)],
            concurrency: vec![256, 1],
            ..settings()
        };
        let config = read(&settings, "localhost:1");
        let option =
            |binding: &str, name: &str| config["bindings"][binding]["options"][name].as_u64();
        assert_eq!(option("mcp_mqtt0", "receiveBytes"), Some(2_228_224));
        assert_eq!(option("mqtt_client0", "maxPending"), Some(285_212_672));
        assert_eq!(option("mcp_server0", "maxMessageSize"), None);
    }
}
