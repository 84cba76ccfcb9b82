//! Warns of passwords that are sent to a broker in plain text over a network.

use std::net::IpAddr;

use tidegate_binding_mqtt::client;
use tidegate_binding_tcp as tcp;
use tidegate_config::{Binding, Config};

/// A warning for each `mqtt · client` that sends its password to another host without TLS.
pub(crate) fn unprotected(config: &Config) -> Vec<String> {
    let warning = |binding: &Binding| {
        if (binding.r#type.as_str(), binding.kind.as_str()) != ("mqtt", "client") {
            return None;
        }
        let options = binding.options::<client::Options>().ok()?;
        if !options.sends_password() {
            return None;
        }
        if chain(config, binding).any(|it| it.r#type == "tls") {
            return None;
        }
        let endpoints = peer(config, binding)?.endpoints();
        // A Unix socket has no host, and is on this machine.
        let is_remote = |it: &&tcp::Endpoint| !it.host().is_empty() && !is_loopback(it.host());
        let remote = endpoints.iter().find(is_remote)?;
        Some(format!(
            "{}: the password is sent to {} in plain text and can be read on the network; use TLS \
             (tls · client)",
            binding.name, remote
        ))
    };
    config.bindings.iter().filter_map(warning).collect()
}

/// The bindings between an `mqtt · client` and its broker.
pub(crate) fn chain<'c>(
    config: &'c Config,
    client: &'c Binding,
) -> impl Iterator<Item = &'c Binding> {
    let next = |binding: &&'c Binding| config.bindings.get(binding.targets().next()?);
    std::iter::successors(next(&client), next)
}

/// What an `mqtt · client` connects to.
pub(crate) fn peer(config: &Config, client: &Binding) -> Option<tcp::Options> {
    let exit = chain(config, client).find(|binding| binding.r#type == "tcp")?;
    exit.options().ok()
}

fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn config(host: &str, client: &str) -> Config {
        config_with(host, client, "tcp_client0")
    }

    fn config_with(host: &str, client: &str, exit: &str) -> Config {
        let text = format!(
            "
name: test
bindings:
  http0: {{ type: http, kind: server, options: {{ listen: \"127.0.0.1:0\" }}, exit: mcp_server0 }}
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_mqtt0 }}
  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, exit: mqtt_client0 }}
  mqtt_client0: {{ type: mqtt, kind: client, options: {{ {client} }}, exit: {exit} }}
  tls_client0: {{ type: tls, kind: client, exit: tcp_client0 }}
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: \"{host}\" }} }}
"
        );
        let config = tidegate_config::load("test.yaml", &text, &registry::registry(), &|_| None);
        config.expect("a sound config")
    }

    #[test]
    fn a_plain_text_password_to_another_host_is_warned_about() {
        let credentials = "username: gate, password: secret";
        for host in [
            "broker.example",
            "192.0.2.1",
            "2001:db8::1",
            "localhost.example",
        ] {
            let warnings = unprotected(&config(host, credentials));
            let [warning] = warnings.as_slice() else {
                panic!("{host}: {warnings:?}");
            };
            assert!(
                warning.starts_with("mqtt_client0: the password is sent to "),
                "{warning}"
            );
            assert!(
                warning.contains(host) && !warning.contains("secret"),
                "{warning}"
            );
        }
    }

    #[test]
    fn a_password_to_this_host_and_a_client_without_password_are_not_warned_about() {
        for host in ["localhost", "LOCALHOST.", "127.0.0.1", "127.1.2.3", "::1"] {
            let warnings = unprotected(&config(host, "username: gate, password: secret"));
            assert!(warnings.is_empty(), "{host}: {warnings:?}");
        }
        assert!(unprotected(&config("broker.example", "username: gate")).is_empty());
    }

    #[test]
    fn a_password_over_tls_is_not_warned_about() {
        let credentials = "username: gate, password: secret";
        let config = config_with("broker.example", credentials, "tls_client0");
        assert!(unprotected(&config).is_empty());
        let mut clients = config.bindings.iter().filter(|it| it.r#type == "mqtt");
        let peer = clients.next().and_then(|it| peer(&config, it));
        assert_eq!(
            peer.map(|peer| peer.remote()).as_deref(),
            Some("broker.example:1883")
        );
    }
}
