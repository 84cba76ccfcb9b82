//! Every kind of binding, as the config sees it. A new binding has one entry here and one in
//! [`crate::assembly`].

use tidegate_binding_mcp::{proxy, server};
use tidegate_binding_mqtt::client;
use tidegate_config::{Descriptor, Onward, Protocol, Registry};

/// The registry.
pub(crate) fn registry() -> Registry {
    let mut kinds = vec![
        Descriptor::of::<tidegate_binding_http::Options>(
            "http",
            "server",
            "Takes HTTP requests in, for an mcp · server.",
        )
        .produces(Protocol::Http, Onward::Exit),
        Descriptor::of::<tidegate_binding_stdio::Options>(
            "stdio",
            "server",
            "Takes lines of standard input in, for an mcp · server.",
        )
        .produces(Protocol::Line, Onward::Exit),
        Descriptor::of::<server::Options>(
            "mcp",
            "server",
            "Speaks MCP with clients, in its modern and its legacy revisions.",
        )
        .accepts(&[Protocol::Http, Protocol::Line])
        .produces(Protocol::Mcp, Onward::Exit),
        Descriptor::of::<proxy::Options>(
            "mcp",
            "proxy",
            "Puts several toolkits together, each under its own prefix.",
        )
        .accepts(&[Protocol::Mcp])
        .produces(Protocol::Mcp, Onward::ExitOrRoutes),
        Descriptor::of::<tidegate_binding_mcp_mqtt::Options>(
            "mcp_mqtt",
            "proxy",
            "Maps MCP tools and resources onto MQTT publications and subscriptions.",
        )
        .accepts(&[Protocol::Mcp])
        .produces(Protocol::Mqtt, Onward::Exit),
        Descriptor::of::<client::Options>("mqtt", "client", "Speaks MQTT with a broker.")
            .accepts(&[Protocol::Mqtt])
            .produces(Protocol::Bytes, Onward::Exit),
    ];
    #[cfg(feature = "broker")]
    kinds.push(Descriptor::of::<tidegate_broker::Options>(
        "mqtt",
        "broker",
        "An MQTT broker inside this process: in memory, on a loopback address.",
    ));
    kinds.push(
        Descriptor::of::<tidegate_binding_tcp::Options>(
            "tcp",
            "client",
            "Connects to a peer over TCP.",
        )
        .accepts(&[Protocol::Bytes]),
    );
    Registry::new(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The schema is a file so that editors find it; `tidegate schema` prints what it must be.
    #[test]
    #[cfg(feature = "broker")]
    fn the_schema_in_the_repository_is_the_registrys() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../config/tidegate.schema.json"
        );
        let stored = std::fs::read_to_string(path).expect("config/tidegate.schema.json");
        let schema = tidegate_config::schema(&registry());
        let printed = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        assert!(
            stored == printed,
            "run: cargo run -- schema > config/tidegate.schema.json"
        );
    }

    #[test]
    fn the_configs_to_copy_are_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("config/") {
            let path = entry.expect("an entry").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let environment = |_: &str| Some("secret".to_owned());
                let read = tidegate_config::read(&path, &registry(), &environment);
                let config = read.unwrap_or_else(|error| panic!("{error}"));
                assert!(config.warnings.is_empty(), "{:?}", config.warnings);
                count += 1;
            }
        }
        assert!(count >= 3);
    }
}
