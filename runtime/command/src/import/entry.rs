//! How clients enter: standard input, or HTTP with a key.

use serde_json::json;
use tidegate_guard::apikey::KeyRing;

use super::source::{Kdf, Key, Remote};
use super::yaml::{Yaml, quoted};
use super::{Hash, ImportError};

/// Writes `stdio · server`. `remote`: there is a `remote_server`, which is not used.
pub(super) fn stdio(yaml: &mut Yaml, remote: bool) {
    if remote {
        yaml.comment(
            1,
            "remote_server is not used with standard input; import with --transport remotehttp for HTTP.",
        );
    }
    yaml.line(
        1,
        "stdio0: { type: stdio, kind: server, exit: mcp_server0 }",
    );
}

/// Writes the guard with the key of the HTTP server.
pub(super) fn guard(yaml: &mut Yaml, remote: &Remote, hash: Hash<'_>) -> Result<(), ImportError> {
    yaml.line(0, "guards:");
    yaml.line(1, "remote:");
    yaml.line(2, "type: apikey");
    yaml.line(2, "options:");
    match &remote.key {
        Key::Text(text) => {
            let hash = hash(text).map_err(ImportError::Hash)?;
            yaml.comment(
                3,
                "The hash of remote_server.api_key: the key of the clients stays the same.",
            );
            yaml.line(3, "keys:");
            let key = format!("- {{ identity: mcpmqtt, hash: {} }}", quoted(&hash));
            yaml.line(4, &key);
        }
        Key::Hashed(kdf) if is_valid(kdf) => {
            yaml.comment(3, "The key of the clients stays the same.");
            yaml.line(3, "keys:");
            yaml.line(4, "- identity: mcpmqtt");
            yaml.line(5, "api_key_kdf:");
            yaml.line(6, "algorithm: argon2id");
            yaml.line(6, &format!("salt: {}", quoted(&kdf.salt)));
            yaml.line(6, &format!("time_cost: {}", kdf.time_cost));
            yaml.line(6, &format!("memory_cost: {}", kdf.memory_cost));
            yaml.line(6, &format!("parallelism: {}", kdf.parallelism));
            yaml.line(6, &format!("hash_len: {}", kdf.hash_len));
            yaml.line(6, &format!("hash: {}", quoted(&kdf.hash)));
        }
        Key::Hashed(_) => {
            yaml.warn(
                3,
                "The hash in remote_server.api_key_kdf is left out: its cost or its length is beyond what tidegate \
                 verifies, or it has not hash_len bytes. Make a key with: tidegate genkey --identity NAME \
                 --guard remote --config FILE",
            );
            yaml.line(3, "keys: []");
        }
    }
    Ok(())
}

fn is_valid(kdf: &Kdf) -> bool {
    let number = |number: i128| u64::try_from(number).unwrap_or(u64::MAX);
    let key = json!([{
        "identity": "mcpmqtt",
        "api_key_kdf": {
            "salt": kdf.salt,
            "hash": kdf.hash,
            "time_cost": number(kdf.time_cost),
            "memory_cost": number(kdf.memory_cost),
            "parallelism": number(kdf.parallelism),
            "hash_len": number(kdf.hash_len),
        },
    }]);
    serde_json::from_value::<KeyRing>(key).is_ok()
}

/// Writes `http · server`.
pub(super) fn http(yaml: &mut Yaml, remote: &Remote) {
    yaml.line(1, "http0:");
    yaml.line(2, "type: http");
    yaml.line(2, "kind: server");
    yaml.line(2, "options:");
    match remote.port {
        Some(port) => tcp(yaml, &remote.host, port),
        None => unix(yaml, &remote.uds),
    }
    yaml.comment(
        3,
        "Where mcpMQTT serves MCP, since it mounts the endpoint /mcp at /mcp. Other clients expect /mcp.",
    );
    yaml.line(3, "path: /mcp/mcp");
    yaml.comment(
        3,
        "As in mcpMQTT, without a key: { \"running\": true, \"mqtt_connected\": true }. Here it says whether the broker \
         is connected now.",
    );
    yaml.line(3, "status: /status");
    yaml.line(3, "authorization:");
    yaml.line(4, "remote:");
    yaml.line(5, "credentials:");
    yaml.comment(
        6,
        "A wrong key is answered with 401; mcpMQTT answers with 500.",
    );
    let headers =
        r#"headers: { authorization: "Bearer {credentials}", x-api-key: "{credentials}" }"#;
    yaml.line(6, headers);
    yaml.comment(
        6,
        "Proxies log URLs with their keys, so each start warns of this. Remove the line if no client sends \
         ?api_key=KEY.",
    );
    yaml.line(6, r#"query: { api_key: "{credentials}" }"#);
    yaml.line(2, "exit: mcp_server0");
}

fn tcp(yaml: &mut Yaml, host: &str, port: u16) {
    let colons = host.contains(':') && !host.starts_with('[');
    let address = if colons {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    if is_address(&address) {
        yaml.line(3, &format!("listen: {}", quoted(&address)));
        return;
    }
    let host = quoted(host);
    yaml.warn(
        3,
        &format!("remote_server.host is {host}; write the IP address to listen on here."),
    );
    yaml.line(3, &format!("listen: \"127.0.0.1:{port}\""));
}

fn unix(yaml: &mut Yaml, path: &str) {
    let address = format!("unix:{path}");
    if is_address(&address) {
        yaml.line(3, &format!("listen: {}", quoted(&address)));
    } else {
        let path = quoted(path);
        yaml.warn(
            3,
            &format!(
                "remote_server.uds is {path}, which is no path of a Unix socket; write one here."
            ),
        );
        yaml.line(3, "listen: unix:/var/run/mcpmqtt.sock");
    }
    yaml.comment(
        3,
        "As mcpMQTT's socket: each user of the machine may connect, and needs the key. With \"0660\", only owner and \
         group may; that is the default of tidegate.",
    );
    yaml.line(3, "unix: { mode: \"0666\" }");
}

fn is_address(address: &str) -> bool {
    let options = json!({ "listen": address });
    let options = serde_json::from_value::<tidegate_binding_http::Options>(options);
    options.is_ok() && !address.contains("${{")
}
