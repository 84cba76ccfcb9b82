//! Any text as a config: it is taken, or its faults are told with a line that is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_binding_mcp::{proxy, server};
use tidegate_config::{Descriptor, Protocol, Registry};

fn registry() -> Registry<()> {
    Registry::new(vec![
        Descriptor::of::<server::Options>("mcp", "server", "")
            .accepts(&[Protocol::Http])
            .exit(Protocol::Mcp),
        Descriptor::of::<proxy::Options>("mcp", "proxy", "")
            .accepts(&[Protocol::Mcp])
            .exit(Protocol::Mcp)
            .routes::<proxy::Condition>(),
        Descriptor::of::<tidegate_binding_mcp_mqtt::Options>("mcp_mqtt", "proxy", "")
            .accepts(&[Protocol::Mcp])
            .exit(Protocol::Mqtt),
        Descriptor::of::<tidegate_binding_mqtt::client::Options>("mqtt", "client", "")
            .accepts(&[Protocol::Mqtt])
            .exit(Protocol::Bytes),
    ])
}

fuzz_target!(|text: &str| {
    let environment = |name: &str| (name == "HOME").then(|| "home".to_owned());
    if let Err(faults) = tidegate_config::load("config.yaml", text, &registry(), &environment) {
        assert!(!faults.to_string().is_empty());
    }
});
