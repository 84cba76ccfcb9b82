//! Attaches the bindings of a config to a worker.

use std::collections::BTreeMap;

use tidegate_config::{Binding, Config, Declared, Descriptor, Registry};
use tidegate_driver::{Assembly, StartError};
use tidegate_engine::BindingId;

use crate::factory::{Admission, AttachError, Factory, Listening, Site};
use crate::pin_edge::AllPins;
use crate::registry::registry;
use crate::tls_files::TlsFiles;

/// Attaches bindings that are not in the config, after all others; those are passed by name.
pub(crate) type Attach = fn(&mut Assembly, &BTreeMap<String, BindingId>);

/// Bindings that a gateway runs in addition to those of its config.
#[derive(Clone, Copy)]
pub(crate) struct Extras {
    pub(crate) attach: Option<Attach>,
    /// The kinds of bindings of the config.
    pub(crate) registry: fn() -> Registry<Factory>,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            attach: None,
            registry,
        }
    }
}

/// What the workers of a gateway share, made before they start.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) listening: Listening,
    pub(crate) admission: Admission,
    pub(crate) tls_files: TlsFiles,
    pub(crate) pins: AllPins,
}

/// Attaches every binding of a config, exits first.
pub(crate) fn attach(
    config: &Config,
    extras: Extras,
    shared: &Shared,
    assembly: &mut Assembly,
) -> Result<(), StartError> {
    let registry = (extras.registry)();
    let mut attached = BTreeMap::new();
    for index in config.exits_first() {
        let Some(binding) = config.bindings.get(index) else {
            continue;
        };
        let descriptor = registry.find(&binding.r#type, &binding.kind);
        let descriptor = descriptor.ok_or_else(|| unknown(binding))?;
        let exits = |index| attached.get(&index).copied();
        let declared = Declared::new(binding, &exits);
        let id = attach_one(&declared, descriptor, shared, assembly)?;
        attached.insert(index, id);
    }
    if let Some(attach) = extras.attach {
        let named = attached.iter().filter_map(|(index, id)| {
            let binding = config.bindings.get(*index)?;
            Some((binding.name.clone(), *id))
        });
        attach(assembly, &named.collect());
    }
    Ok(())
}

fn unknown(binding: &Binding) -> StartError {
    StartError::Edge(format!(
        "binding '{}': unknown binding kind {} · {}",
        binding.name, binding.r#type, binding.kind
    ))
}

fn attach_one(
    declared: &Declared<'_, BindingId>,
    descriptor: &Descriptor<Factory>,
    shared: &Shared,
    assembly: &mut Assembly,
) -> Result<BindingId, StartError> {
    let assembly = assembly.of(declared.name());
    match descriptor.factory() {
        Factory::Machine(make) => {
            let machine = make(declared).map_err(|error| StartError::Edge(error.to_string()))?;
            Ok(assembly.attach_boxed(machine))
        }
        Factory::Edge(attach) | Factory::FileBacked { attach, .. } => {
            let mut site = Site {
                assembly,
                listening: &shared.listening,
                admission: &shared.admission,
                tls_files: &shared.tls_files,
                pins: &shared.pins,
            };
            attach(declared, &mut site).map_err(|error| match error {
                AttachError::Start(error) => error,
                AttachError::Make(error) => StartError::Edge(error.to_string()),
            })
        }
        #[cfg(feature = "broker")]
        Factory::Broker(_) => Ok(assembly.attach_nothing()),
    }
}
