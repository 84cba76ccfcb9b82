//! Puts a worker together as the config says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use tidegate_config::{Binding, Config};
use tidegate_driver::{Assembly, StartError};
use tidegate_engine::BindingId;

use crate::bindings::{self, Onward};

/// Where the entries of an engine listen, by the name of their binding: the first worker tells, the
/// others share.
pub(crate) type Listening = Arc<Mutex<BTreeMap<String, SocketAddr>>>;

/// Attaches what no config declares, behind all bindings, which are told by name.
pub(crate) type Attach = fn(&mut Assembly, &BTreeMap<String, BindingId>);

/// What a gateway has beside its config.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extras {
    pub(crate) attach: Option<Attach>,
}

/// Attaches every binding of a config, exits first.
pub(crate) fn attach(
    config: &Config,
    extras: Extras,
    listening: &Listening,
    assembly: &mut Assembly,
) -> Result<(), StartError> {
    let mut ids = BTreeMap::new();
    for index in config.exits_first() {
        let Some(binding) = config.bindings.get(index) else {
            continue;
        };
        let exits = Exits { config, ids: &ids };
        let id = attach_one(binding, &exits, listening, assembly.of(&binding.name))?;
        ids.insert(binding.name.clone(), id);
    }
    if let Some(attach) = extras.attach {
        attach(assembly, &ids);
    }
    Ok(())
}

/// Where the bindings that are already attached can be found.
struct Exits<'a> {
    config: &'a Config,
    ids: &'a BTreeMap<String, BindingId>,
}

impl Exits<'_> {
    fn id(&self, index: usize) -> Option<BindingId> {
        self.ids
            .get(&self.config.bindings.get(index)?.name)
            .copied()
    }

    fn onward(&self, binding: &Binding) -> Result<Onward, StartError> {
        Onward::of(binding, |index| self.id(index))
            .ok_or_else(|| StartError::Edge(format!("the binding {} has no exit", binding.name)))
    }
}

fn attach_one(
    binding: &Binding,
    exits: &Exits<'_>,
    listening: &Listening,
    assembly: &mut Assembly,
) -> Result<BindingId, StartError> {
    Ok(match (binding.r#type.as_str(), binding.kind.as_str()) {
        ("tcp", "client") => tidegate_binding_tcp::attach(assembly, options(binding)?),
        ("stdio", "server") if assembly.worker() == 0 => {
            let exit = exits.onward(binding)?.exit;
            tidegate_binding_stdio::attach(assembly, &options(binding)?, exit)
        }
        ("http", "server") => attach_http(binding, exits, listening, assembly)?,
        // The broker runs beside the workers, and standard input belongs to the first of them.
        ("mqtt", "broker") | ("stdio", "server") => assembly.attach_nothing(),
        _ => {
            let attached = bindings::attach(binding, exits.onward(binding)?, assembly);
            let attached = attached.map_err(|faults| StartError::Edge(faults.to_string()))?;
            attached.unwrap_or_else(|| assembly.attach_nothing())
        }
    })
}

fn attach_http(
    binding: &Binding,
    exits: &Exits<'_>,
    listening: &Listening,
    assembly: &mut Assembly,
) -> Result<BindingId, StartError> {
    let exit = exits.onward(binding)?.exit;
    let mut listening = listening.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = listening.get(&binding.name).copied();
    let (id, address) = tidegate_binding_http::attach(assembly, options(binding)?, exit, shared)?;
    listening.insert(binding.name.clone(), address);
    Ok(id)
}

fn options<T: DeserializeOwned>(binding: &Binding) -> Result<T, StartError> {
    binding
        .options()
        .map_err(|faults| StartError::Edge(faults.to_string()))
}
