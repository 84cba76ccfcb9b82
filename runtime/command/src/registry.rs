//! The registry of binding kinds. Each kind has one entry: its config and its factory, used by gateways
//! and scenarios.

use tidegate_binding_mcp::{client as mcp, proxy, server};
use tidegate_binding_mqtt::client;
use tidegate_binding_stdio::client as stdio;
use tidegate_config::{Attachment, Descriptor, Protocol, Registry};
use tidegate_driver::StartError;
use tidegate_scenarios::fixtures;

use crate::exporters;
use crate::factory::Factory;
use crate::guards;
use crate::machines;
use crate::password_files::PasswordFiles;
use crate::pin_edge;
use crate::server_url;
use crate::tls_files;
use crate::{broker_profile, broker_url};

/// The kinds of bindings and types of guards available in the config of a gateway.
pub fn registry() -> Registry<Factory> {
    let kinds = vec![
        http_server(),
        stdio_server(),
        mcp_server(),
        mcp_proxy(),
        mcp_mqtt_proxy(),
        mcp_device_proxy(),
        mcp_rename_proxy(),
        mqtt_mcp_proxy(),
        store_file(),
        mcp_client(),
        http_client(),
        stdio_client(),
        mqtt_client(),
        #[cfg(feature = "broker")]
        mqtt_broker(),
        ws_client(),
        tls_client(),
        tcp_client(),
        admin_server(),
    ];
    let registry = Registry::new(kinds).with_exporter(exporters::audit());
    guards::types().fold(registry, Registry::with_guard)
}

/// The kinds available in the config of a scenario: those of gateways, and test bindings for scenarios
/// of the engine.
pub fn for_scenarios() -> Registry<Factory> {
    registry().with(fixtures::relay().made_by(Factory::Machine(|declared| {
        let (options, exit) = (declared.options()?, declared.exit()?);
        Ok(Box::new(fixtures::Relay::new(options, exit)))
    })))
}

fn http_server() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_http::Options>(
        "http",
        "server",
        "Accepts HTTP requests for an mcp · server.",
    )
    .exit(Protocol::Http)
    .made_by(Factory::Edge(|declared, site| {
        let (options, exit) = (declared.options()?, declared.exit()?);
        let id = site.listening.listen(declared.name(), |shared| {
            let guards = &site.admission.guards;
            tidegate_binding_http::attach(site.assembly, options, exit, guards, shared)
        })?;
        Ok(id)
    }))
}

fn stdio_server() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_stdio::Options>(
        "stdio",
        "server",
        "Accepts messages on standard input, one per line, for an mcp · server.",
    )
    .exit(Protocol::Line)
    .made_by(Factory::Edge(|declared, site| {
        // Only the first worker reads standard input.
        if site.assembly.worker() > 0 {
            return Ok(site.assembly.attach_nothing());
        }
        let (options, exit) = (declared.options()?, declared.exit()?);
        let identity = site.admission.identities.get(declared.name()).cloned();
        let id = tidegate_binding_stdio::attach(site.assembly, &options, exit, identity)?;
        Ok(id)
    }))
}

fn mcp_server() -> Descriptor<Factory> {
    Descriptor::of::<server::Options>(
        "mcp",
        "server",
        "Serves MCP clients of both eras: revision 2026-07-28, and 2025-03-26 to 2025-11-25.",
    )
    .accepts(&[Protocol::Http, Protocol::Line])
    .exit(Protocol::Mcp)
    .made_by(Factory::Machine(|declared| {
        let (options, exit) = (declared.options()?, declared.exit()?);
        Ok(Box::new(server::McpServer::new(options, exit)))
    }))
}

fn mcp_proxy() -> Descriptor<Factory> {
    Descriptor::of::<proxy::Options>(
        "mcp",
        "proxy",
        "Combines several toolkits behind one endpoint, each with its own prefix.",
    )
    .accepts(&[Protocol::Mcp])
    .exit(Protocol::Mcp)
    .routes::<proxy::Condition>()
    .made_by(Factory::FileBacked {
        make: pin_edge::make,
        attach: pin_edge::attach,
    })
}

fn mcp_mqtt_proxy() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_mcp_mqtt::Options>(
        "mcp_mqtt",
        "proxy",
        "Offers MQTT topics as MCP tools and resources.",
    )
    .accepts(&[Protocol::Mcp])
    .exit(Protocol::Mqtt)
    .made_by(Factory::Machine(|declared| {
        let options = declared.options()?;
        let exit = declared.exit()?;
        let proxy = tidegate_binding_mcp_mqtt::McpMqtt::new(&options, exit);
        Ok(Box::new(proxy))
    }))
}

fn mcp_device_proxy() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_mcp_device::Options>(
        "mcp_device",
        "proxy",
        "Offers the devices behind MQTT topics as MCP tools and resources.",
    )
    .accepts(&[Protocol::Mcp])
    .exit(Protocol::Mqtt)
    .made_by(Factory::Machine(|declared| {
        let (options, exit) = (declared.options()?, declared.exit()?);
        let proxy = tidegate_binding_mcp_device::McpDevice::new(&options, exit);
        Ok(Box::new(proxy))
    }))
}

fn mcp_rename_proxy() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_mcp_rename::Options>("mcp_rename", "proxy", "Renames tools.")
        .accepts(&[Protocol::Mcp])
        .exit(Protocol::Mcp)
        .made_by(Factory::Machine(|declared| {
            let (options, exit) = (declared.options()?, declared.exit()?);
            let proxy = tidegate_binding_mcp_rename::McpRename::new(options, exit);
            Ok(Box::new(proxy))
        }))
}

fn mqtt_mcp_proxy() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_mqtt_mcp::Options>(
        "mqtt_mcp",
        "proxy",
        "Lets machines on MQTT call MCP tools: their messages are requests, which are answered by messages.",
    )
    .exits(&[("mqtt", Protocol::Mqtt), ("mcp", Protocol::Mcp)])
    .attachment(QUEUE)
    .actions::<tidegate_binding_mqtt_mcp::With>()
    .guard(tidegate_binding_mqtt_mcp::GUARD)
    .checked_by(|declared| machines::check(declared, QUEUE.key))
    .made_by(Factory::Machine(|declared| {
        let (options, routes) = (declared.options()?, declared.actions()?);
        let (mqtt, mcp) = (declared.exit_named("mqtt")?, declared.exit_named("mcp")?);
        let queue = declared.exit_named(QUEUE.key).ok();
        let proxy = tidegate_binding_mqtt_mcp::MqttMcp::new(&options, routes, mqtt, mcp, queue);
        Ok(Box::new(proxy))
    }))
}

/// The file of `mqtt_mcp · proxy`.
const QUEUE: Attachment = Attachment {
    key: "queue",
    about: "A file for requests and answers, so that a gateway that ends, also by a crash, loses none and \
            executes none twice. Absent: they are kept in memory and by the broker.",
    example: ("path", "/var/lib/tidegate/machines.queue"),
    r#type: "store",
    kind: "file",
    protocol: Protocol::Store,
};

fn store_file() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_store::Options>(
        "store",
        "file",
        "Keeps records in a file. The option `queue` of mqtt_mcp · proxy stands for it.",
    )
    .accepts(&[Protocol::Store])
    .made_by(Factory::Edge(|declared, site| {
        let named = |error| name_of(declared.name(), error);
        let id = tidegate_binding_store::attach(site.assembly, &declared.options()?);
        Ok(id.map_err(named)?)
    }))
}

fn mcp_client() -> Descriptor<Factory> {
    Descriptor::of::<mcp::Options>(
        "mcp",
        "client",
        "Calls an MCP server of either era, over Streamable HTTP, as a process, or over MQTT.",
    )
    .accepts(&[Protocol::Mcp])
    .exit_of_any(&[Protocol::Http, Protocol::Line, Protocol::Mqtt])
    .exit_chosen_by(
        "transport",
        &[
            ("http", Protocol::Http),
            ("stdio", Protocol::Line),
            ("mqtt", Protocol::Mqtt),
        ],
    )
    .shorthands(server_url::SHORTHANDS)
    .made_by(Factory::Machine(|declared| {
        let (options, exit) = (declared.options()?, declared.exit()?);
        let exit = match declared.exit_protocol() {
            Some(Protocol::Line) => mcp::Exit::Line(exit),
            Some(Protocol::Mqtt) => mcp::Exit::Mqtt(exit),
            _ => mcp::Exit::Http(exit),
        };
        Ok(Box::new(mcp::McpClient::new(options, exit)))
    }))
}

fn http_client() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_http_client::Options>(
        "http",
        "client",
        "Sends the requests of an mcp · client to an HTTP server.",
    )
    .accepts(&[Protocol::Http])
    .made_by(Factory::Edge(|declared, site| {
        let options = declared.options()?;
        let named = |error| name_of(declared.name(), error);
        let id = tidegate_binding_http_client::attach(site.assembly, options).map_err(named)?;
        Ok(id)
    }))
}

/// An error at the start, with the name of the binding.
fn name_of(binding: &str, error: StartError) -> StartError {
    match error {
        StartError::Edge(why) => StartError::Edge(format!("{binding}: {why}")),
        other => other,
    }
}

fn stdio_client() -> Descriptor<Factory> {
    Descriptor::of::<stdio::Options>(
        "stdio",
        "client",
        "Starts the process of an mcp · client, and exchanges messages with it, one per line.",
    )
    .accepts(&[Protocol::Line])
    .made_by(Factory::Edge(|declared, site| {
        let options = declared.options()?;
        let name = declared.name();
        Ok(stdio::attach(site.assembly, name, options))
    }))
}

fn mqtt_client() -> Descriptor<Factory> {
    Descriptor::of::<client::Options>("mqtt", "client", "Connects to an MQTT broker.")
        .accepts(&[Protocol::Mqtt])
        .exit(Protocol::Bytes)
        .routes::<client::Condition>()
        .preset(broker_profile::PRESET)
        .shorthands(&[broker_url::SHORTHAND])
        .made_by(Factory::Machine(|declared| {
            let routes = declared.routes::<client::Condition>()?;
            // All routes have the same exit, and a binding has at least one.
            let exit = match routes.first() {
                Some(route) => route.exit,
                None => declared.exit()?,
            };
            let rules: Vec<_> = routes.into_iter().map(|route| route.rule).collect();
            let client = client::MqttClient::new(declared.options()?, exit);
            let client = client.with_password_files(Box::<PasswordFiles>::default());
            Ok(Box::new(client.with_routes(&rules)))
        }))
}

#[cfg(feature = "broker")]
fn mqtt_broker() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_broker::Options>(
        "mqtt",
        "broker",
        "Runs an MQTT 5 broker in this process, in memory, on a loopback address.",
    )
    .made_by(Factory::Broker(|binding| {
        Ok(tidegate_broker::Broker::start(&binding.options()?)?)
    }))
}

fn ws_client() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_ws::Options>(
        "ws",
        "client",
        "Carries the connection to a broker in a WebSocket.",
    )
    .accepts(&[Protocol::Bytes])
    .exit(Protocol::Bytes)
    .made_by(Factory::Machine(|declared| {
        let (options, exit) = (declared.options()?, declared.exit()?);
        Ok(Box::new(tidegate_binding_ws::WsClient::new(options, exit)))
    }))
}

fn tls_client() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_tls::Options>(
        "tls",
        "client",
        "Encrypts the connection to a broker with TLS, and verifies the broker's certificate.",
    )
    .accepts(&[Protocol::Bytes])
    .exit(Protocol::Bytes)
    .made_by(Factory::FileBacked {
        make: tls_files::make,
        attach: tls_files::attach,
    })
}

fn tcp_client() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_tcp::Options>(
        "tcp",
        "client",
        "Opens TCP connections to a host.",
    )
    .accepts(&[Protocol::Bytes])
    .made_by(Factory::Edge(|declared, site| {
        let options = declared.options()?;
        Ok(tidegate_binding_tcp::attach(site.assembly, options))
    }))
}

fn admin_server() -> Descriptor<Factory> {
    Descriptor::of::<tidegate_binding_admin::Options>(
        "admin",
        "server",
        "Serves `/livez`, `/readyz` and `/metrics` for operators, on a listener of its own.",
    )
    .made_by(Factory::Edge(|declared, site| {
        let options = declared.options()?;
        let (id, address) = tidegate_binding_admin::attach(site.assembly, options)?;
        if let Some(address) = address {
            site.listening.note(declared.name(), address);
        }
        Ok(id)
    }))
}

#[cfg(test)]
mod tests {
    use tidegate_config::Fault;

    use super::*;

    // Editors read the file; it must equal the output of `tidegate schema`.
    #[test]
    #[cfg(feature = "broker")]
    fn the_schema_file_is_up_to_date() {
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

    // The documentation links to the file; it must equal the output of `tidegate schema --markdown`.
    #[test]
    #[cfg(feature = "broker")]
    fn the_reference_file_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == tidegate_config::reference(&registry()),
            "run: cargo run -- schema --markdown > docs/reference.md"
        );
    }

    // The examples can be copied: combined they are a valid config.
    #[test]
    fn the_examples_of_the_reference_are_a_valid_config() {
        let registry = registry();
        let example = tidegate_config::example(&registry);
        let environment = |_: &str| Some("secret".to_owned());
        let loaded = tidegate_config::load("example.yaml", &example, &registry, &environment);
        let config = loaded.unwrap_or_else(|faults| panic!("{example}\n{faults}"));
        // The queue of the machines is a binding as well.
        let kinds = registry.iter().count();
        assert_eq!(config.bindings.len(), kinds + 1);
        // If several kinds accept a protocol, the examples use only one of them.
        let warnings = config.warnings.iter().map(Fault::with_help);
        let warnings: Vec<String> = warnings.filter(|it| !it.contains("is not used")).collect();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn every_option_is_described() {
        let reference = tidegate_config::reference(&registry());
        let rows = reference.lines().filter(|line| line.starts_with("| `"));
        let mut count = 0;
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert_eq!(cells.len(), 4, "{row}");
            assert!(cells[3].trim_end_matches(" |").ends_with('.'), "{row}");
            count += 1;
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn each_kind_is_declared_once() {
        let registry = registry();
        let mut titles: Vec<String> = registry.iter().map(Descriptor::title).collect();
        let all = titles.len();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), all, "{titles:?}");
    }

    #[test]
    fn the_example_configs_are_valid() {
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
