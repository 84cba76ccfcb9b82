//! The connection to the broker.

use serde_json::json;

use super::source::Mqtt;
use super::yaml::{Yaml, quoted};

/// Longest keep-alive that MQTT can express, in seconds.
const KEEP_ALIVE_MAX: i128 = 65_535;

/// Writes `mqtt · client` and `tcp · client`.
pub(super) fn write(yaml: &mut Yaml, mqtt: &Mqtt) {
    yaml.comment(
        1,
        "The broker must accept MQTT 5; mcpMQTT used 3.1.1. A publish at QoS 1 or 2 succeeds when the broker has \
         acknowledged it; mcpMQTT did not wait for that.",
    );
    yaml.line(1, "mqtt_client0:");
    yaml.line(2, "type: mqtt");
    yaml.line(2, "kind: client");
    yaml.line(2, "options:");
    if mqtt.keepalive > KEEP_ALIVE_MAX {
        yaml.warn(
            3,
            &format!(
                "mqtt.keepalive is {}; MQTT allows up to 65535 seconds.",
                mqtt.keepalive
            ),
        );
    }
    let keep_alive = mqtt.keepalive.min(KEEP_ALIVE_MAX);
    yaml.line(3, &format!("keepAlive: {keep_alive}"));
    credentials(yaml, mqtt);
    yaml.line(2, "exit: tcp_client0");
    yaml.line(1, "tcp_client0:");
    yaml.line(2, "type: tcp");
    yaml.line(2, "kind: client");
    yaml.line(2, "options:");
    let host = if is_host(&mqtt.host) {
        &mqtt.host
    } else {
        let host = quoted(&mqtt.host);
        yaml.warn(
            3,
            &format!("{host} is neither a host name nor an IP address; write one here."),
        );
        "localhost"
    };
    yaml.line(3, &format!("host: {}", quoted(host)));
    yaml.line(3, &format!("port: {}", mqtt.port));
}

fn is_host(host: &str) -> bool {
    let options = serde_json::from_value::<tidegate_binding_tcp::Options>(json!({ "host": host }));
    options.is_ok() && !host.contains("${{")
}

/// mcpMQTT uses a user name and a password only together.
fn credentials(yaml: &mut Yaml, mqtt: &Mqtt) {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (username, password) = match (set(&mqtt.username), set(&mqtt.password)) {
        (Some(username), Some(password)) => (username, password),
        (None, None) => return,
        _ => {
            let why = "mqtt.username and mqtt.password are left out, since mcpMQTT uses them only together.";
            return yaml.warn(3, why);
        }
    };
    let options = json!({ "username": username, "password": password });
    let valid = serde_json::from_value::<tidegate_binding_mqtt::client::Options>(options).is_ok();
    if !valid || username.contains("${{") {
        let why = "mqtt.username and mqtt.password are left out, since MQTT or tidegate does not allow these \
                   texts; set username and password here.";
        return yaml.warn(3, why);
    }
    yaml.line(3, &format!("username: {}", quoted(&username)));
    yaml.comment(
        3,
        "Better: \"${{env.MQTT_PASSWORD}}\" or \"${{file.mqtt.password}}\", so that the password is not in the config.",
    );
    if password.contains("${{") {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.encode(&password);
        return yaml.line(3, &format!("password: {{ base64: {} }}", quoted(&bytes)));
    }
    yaml.line(3, &format!("password: {}", quoted(&password)));
}
