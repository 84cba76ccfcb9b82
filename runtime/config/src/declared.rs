//! What a factory makes a binding of.

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::fault::Faults;
use crate::model::Binding;
use crate::registry::Exits;

/// A declared binding, with what was attached for the bindings where its streams go.
///
/// `Id` names an attached binding; the config does not look at it.
pub struct Declared<'a, Id> {
    binding: &'a Binding,
    attached: &'a dyn Fn(usize) -> Option<Id>,
}

/// A binding cannot be made as it is declared: its factory asks for something that its descriptor
/// does not declare.
#[derive(Debug, Error)]
pub enum MakeError {
    /// The options are of another type.
    #[error("the binding '{binding}' cannot be made of its options: {faults}")]
    Options {
        /// Which binding.
        binding: String,
        /// Why.
        faults: Faults,
    },
    /// The binding has no exit of this name, or what it names is not attached.
    #[error("the binding '{binding}' has no exit '{exit}'")]
    NoExit {
        /// Which binding.
        binding: String,
        /// Which exit.
        exit: String,
    },
}

impl<'a, Id> Declared<'a, Id> {
    /// `attached` gives what was attached for the binding of an index of the config.
    pub fn new(binding: &'a Binding, attached: &'a dyn Fn(usize) -> Option<Id>) -> Self {
        Self { binding, attached }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.binding.name
    }

    /// Its options.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, MakeError> {
        self.binding.options().map_err(|faults| self.faulty(faults))
    }

    /// Where its streams go, where there is one exit.
    pub fn exit(&self) -> Result<Id, MakeError> {
        self.exit_named(Exits::ONLY)
    }

    /// Where its streams go that are for the exit of this name.
    pub fn exit_named(&self, name: &str) -> Result<Id, MakeError> {
        let exit = self.binding.exits.iter().find(|exit| exit.name == name);
        exit.and_then(|exit| (self.attached)(exit.binding))
            .ok_or_else(|| self.no_exit(name))
    }

    /// Where its streams go under conditions. One without a condition takes every stream: a plain
    /// `exit` is such a route.
    pub fn routes<C: DeserializeOwned>(&self) -> Result<Vec<(Vec<C>, Id)>, MakeError> {
        let mut routes = Vec::new();
        for exit in &self.binding.exits {
            let id = (self.attached)(exit.binding).ok_or_else(|| self.no_exit(exit.name))?;
            routes.push((Vec::new(), id));
        }
        for (index, route) in self.binding.routes.iter().enumerate() {
            let when = self.binding.when(index);
            let when = when.map_err(|faults| self.faulty(faults))?;
            let id = (self.attached)(route.exit);
            let id = id.ok_or_else(|| self.no_exit(&format!("routes.{index}.exit")))?;
            routes.push((when, id));
        }
        Ok(routes)
    }

    fn faulty(&self, faults: Faults) -> MakeError {
        MakeError::Options {
            binding: self.binding.name.clone(),
            faults,
        }
    }

    fn no_exit(&self, exit: &str) -> MakeError {
        MakeError::NoExit {
            binding: self.binding.name.clone(),
            exit: exit.to_owned(),
        }
    }
}
