//! Warns of accounts whose client certificate cannot be presented.

use tidegate_binding_mqtt::client;
use tidegate_binding_tls as tls;
use tidegate_config::{Binding, Config};

use crate::passwords::chain;

/// A warning for each account of an `mqtt · client` that names a certificate which the `tls · client`
/// behind it does not have.
pub(crate) fn missing(config: &Config) -> Vec<String> {
    let is_client = |it: &&Binding| (it.r#type.as_str(), it.kind.as_str()) == ("mqtt", "client");
    let clients = config.bindings.iter().filter(is_client);
    clients.flat_map(|it| missing_of(config, it)).collect()
}

fn missing_of(config: &Config, binding: &Binding) -> Vec<String> {
    let Ok(options) = binding.options::<client::Options>() else {
        return Vec::new();
    };
    let tls = chain(config, binding).find(|it| it.r#type == "tls");
    let known = tls.and_then(|tls| tls.options::<tls::Options>().ok());
    let is_missing = |name: &&str| {
        let known = known.as_ref();
        known.is_none_or(|known| !known.certificates.contains_key(*name))
    };
    let warning = |name: &str| {
        let place = match tls {
            Some(tls) => format!("'certificates' of {}", tls.name),
            None => "'certificates' of a tls · client, which is needed to present it".to_owned(),
        };
        format!(
            "{}: there is no client certificate '{name}', so its account is refused; add it to {place}",
            binding.name
        )
    };
    let names = options.certificates();
    names.filter(is_missing).map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn warnings(account: &str, chain: &str) -> Vec<String> {
        let text = format!(
            "
name: test
guards: {{ keys: {{ type: x509 }} }}
bindings:
  http0: {{ type: http, kind: server, options: {{ listen: \"127.0.0.1:0\" }}, exit: mcp_server0 }}
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_mqtt0 }}
  mcp_mqtt0: {{ type: mcp_mqtt, kind: proxy, exit: mqtt_client0 }}
  mqtt_client0:
    type: mqtt
    kind: client
    options:
      connections: identity
      accounts: [ {{ guarded: {{ keys: [] }}, {account} }} ]
{chain}
"
        );
        let config = tidegate_config::load("test.yaml", &text, &registry::registry(), &|_| None);
        missing(&config.unwrap_or_else(|faults| panic!("{faults}")))
    }

    #[test]
    fn a_certificate_that_no_binding_has_is_warned_about() {
        const TLS: &str = "      url: mqtts://broker\n      tls: { certificates: { one: { certificate: a, key: b } } }";
        const PLAIN: &str = "      url: mqtt://broker";
        assert!(warnings("certificate: one", TLS).is_empty());
        assert!(warnings("certificate: \"${guarded['keys'].identity}\"", TLS).is_empty());
        assert!(warnings("username: one", PLAIN).is_empty());
        let told = warnings("certificate: two", TLS);
        assert!(
            told[0].contains("there is no client certificate 'two'"),
            "{told:?}"
        );
        let told = warnings("certificate: one", PLAIN);
        assert!(
            told[0].contains("a tls · client, which is needed"),
            "{told:?}"
        );
    }
}
