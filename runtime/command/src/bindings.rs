//! Every binding that is a state machine, made from its declaration: by the assembly of a gateway, and
//! by whoever puts one binding between sides of its own.

use tidegate_binding_mcp::{proxy, server};
use tidegate_binding_mqtt::client;
use tidegate_config::{Binding, Faults};
use tidegate_driver::Assembly;
use tidegate_engine::{BindingId, Worker};

/// Where a binding can be attached.
pub(crate) trait Place {
    fn attach(&mut self, name: &str, binding: impl tidegate_engine::Binding + 'static)
    -> BindingId;
}

impl Place for Assembly {
    fn attach(
        &mut self,
        name: &str,
        binding: impl tidegate_engine::Binding + 'static,
    ) -> BindingId {
        self.of(name).attach(binding)
    }
}

impl Place for Worker {
    fn attach(
        &mut self,
        name: &str,
        binding: impl tidegate_engine::Binding + 'static,
    ) -> BindingId {
        Self::attach(self, name, Box::new(binding))
    }
}

/// Where a binding's streams go.
pub(crate) struct Onward {
    /// The one exit; the first one where there are several.
    pub(crate) exit: BindingId,
    pub(crate) routes: Vec<proxy::Route>,
}

impl Onward {
    /// Where a declared binding's streams go; `attached` gives what stands for a binding of the
    /// config. Nothing where it goes nowhere.
    pub(crate) fn of(
        binding: &Binding,
        attached: impl Fn(usize) -> Option<BindingId>,
    ) -> Option<Self> {
        let transparent = binding.exit.map(|exit| (None, exit));
        let routes = binding
            .routes
            .iter()
            .map(|route| (route.toolkit.clone(), route.exit));
        let route = |(toolkit, exit): (Option<String>, usize)| {
            Some(proxy::Route {
                toolkit: toolkit.map(Into::into),
                exit: attached(exit)?,
            })
        };
        let routes: Vec<_> = transparent
            .into_iter()
            .chain(routes)
            .filter_map(route)
            .collect();
        let exit = routes.first()?.exit;
        Some(Self { exit, routes })
    }
}

/// Attaches a binding, if its kind is a state machine.
pub(crate) fn attach(
    binding: &Binding,
    onward: Onward,
    place: &mut impl Place,
) -> Result<Option<BindingId>, Faults> {
    let Onward { exit, routes } = onward;
    let name = binding.name.as_str();
    Ok(Some(
        match (binding.r#type.as_str(), binding.kind.as_str()) {
            ("mqtt", "client") => {
                place.attach(name, client::MqttClient::new(binding.options()?, exit))
            }
            ("mcp_mqtt", "proxy") => {
                let options = binding.options()?;
                place.attach(
                    name,
                    tidegate_binding_mcp_mqtt::McpMqtt::new(&options, exit),
                )
            }
            ("mcp", "proxy") => {
                place.attach(name, proxy::McpProxy::new(binding.options()?, routes))
            }
            ("mcp", "server") => {
                place.attach(name, server::McpServer::new(binding.options()?, exit))
            }
            _ => return Ok(None),
        },
    ))
}
