//! The house of this product, for scenarios: its bindings, and those that scenarios of the engine
//! play with.

use std::collections::BTreeMap;

use tidegate_config::{Binding, Registry};
use tidegate_engine::{BindingId, Worker};
use tidegate_scenarios::{House, fixtures};

use crate::bindings::{self, Onward};
use crate::registry;

/// Makes the bindings of this product.
#[derive(Debug)]
pub struct Tidegate {
    registry: Registry,
}

impl Default for Tidegate {
    fn default() -> Self {
        let kinds = registry::registry();
        let kinds = kinds.iter().copied().chain(fixtures::descriptors());
        Self {
            registry: Registry::new(kinds.collect()),
        }
    }
}

impl House for Tidegate {
    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn attach(
        &self,
        binding: &Binding,
        exits: &BTreeMap<usize, BindingId>,
        worker: &mut Worker,
    ) -> Result<BindingId, String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let onward = Onward::of(binding, |index| exits.get(&index).copied());
        let onward = onward.ok_or_else(|| format!("the binding {} has no exit", binding.name))?;
        if binding.r#type == "test" {
            let options = binding.options().map_err(|faults| told(&faults))?;
            return Ok(worker.attach(
                &binding.name,
                Box::new(fixtures::Relay::new(options, onward.exit)),
            ));
        }
        bindings::attach(binding, onward, worker)
            .map_err(|faults| told(&faults))?
            .ok_or_else(|| {
                format!(
                    "the binding {} does real I/O, so no script can play both its sides",
                    binding.name
                )
            })
    }
}
