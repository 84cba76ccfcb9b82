//! The input of a binding factory: the declared binding and the ids of its attached exits.

use serde::de::DeserializeOwned;
use thiserror::Error;
use tidegate_options::{ActionRoute, RouteRule};
use tidegate_streams::Protocol;

use crate::fault::Faults;
use crate::model::Binding;
use crate::registry::Exits;

/// A declared binding and the ids of the bindings attached at its exits.
///
/// `Id` identifies an attached binding; this crate does not interpret it.
pub struct Declared<'a, Id> {
    binding: &'a Binding,
    attached: &'a dyn Fn(usize) -> Option<Id>,
}

/// A route: where a stream goes under which conditions, and who may use it.
#[derive(Debug, Clone)]
pub struct DeclaredRoute<C, Id> {
    /// When it applies, and to whom.
    pub rule: RouteRule<C>,
    /// The target.
    pub exit: Id,
}

/// The factory and the descriptor of a kind disagree: the factory asked for options or an exit that
/// the descriptor does not declare.
#[derive(Debug, Error)]
pub enum MakeError {
    /// The options do not have the type that the factory asked for.
    #[error("cannot create binding '{binding}' from its options: {faults}")]
    Options {
        /// Name of the binding.
        binding: String,
        /// Faults of the options.
        faults: Faults,
    },
    /// The binding has no exit of this name, or the target is not attached yet.
    #[error("binding '{binding}' has no exit '{exit}'")]
    NoExit {
        /// Name of the binding.
        binding: String,
        /// Name of the exit.
        exit: String,
    },
}

impl<'a, Id> Declared<'a, Id> {
    /// `attached` maps an index into [`Config::bindings`](crate::Config::bindings) to the id of the
    /// attached binding.
    pub fn new(binding: &'a Binding, attached: &'a dyn Fn(usize) -> Option<Id>) -> Self {
        Self { binding, attached }
    }

    /// Name of the binding in the config.
    pub fn name(&self) -> &str {
        &self.binding.name
    }

    /// The options, decoded as `T`.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, MakeError> {
        self.binding.options().map_err(|faults| self.faulty(faults))
    }

    /// The target of the `exit` of a kind with a single exit.
    pub fn exit(&self) -> Result<Id, MakeError> {
        self.exit_named(Exits::ONLY)
    }

    /// The protocol of the streams to the `exit` of a kind with a single exit.
    pub fn exit_protocol(&self) -> Option<Protocol> {
        let exit = self.binding.exits.first();
        exit.map(|exit| exit.protocol)
    }

    /// The target of a named exit of a kind with `exits`.
    pub fn exit_named(&self, name: &str) -> Result<Id, MakeError> {
        let exit = self.binding.exits.iter().find(|exit| exit.name == name);
        exit.and_then(|exit| (self.attached)(exit.binding))
            .ok_or_else(|| self.no_exit(name))
    }

    /// The routes with their conditions. A route without conditions matches every stream; a plain
    /// `exit` is returned as such a route.
    pub fn routes<C: DeserializeOwned>(&self) -> Result<Vec<DeclaredRoute<C, Id>>, MakeError> {
        let mut routes = Vec::new();
        for exit in &self.binding.exits {
            let id = (self.attached)(exit.binding).ok_or_else(|| self.no_exit(exit.name))?;
            let rule = RouteRule {
                when: Vec::new(),
                guarded: None,
            };
            routes.push(DeclaredRoute { rule, exit: id });
        }
        for (index, route) in self.binding.routes.iter().enumerate() {
            let when = self.binding.when(index);
            let when = when.map_err(|faults| self.faulty(faults))?;
            let id = (self.attached)(route.exit);
            let id = id.ok_or_else(|| self.no_exit(&format!("routes.{index}.exit")))?;
            let guarded = route.guarded.clone();
            let rule = RouteRule { when, guarded };
            routes.push(DeclaredRoute { rule, exit: id });
        }
        Ok(routes)
    }

    /// The routes of a kind whose routes do something themselves.
    pub fn actions<C: DeserializeOwned, A: DeserializeOwned>(
        &self,
    ) -> Result<Vec<ActionRoute<C, A>>, MakeError> {
        self.binding.actions().map_err(|faults| self.faulty(faults))
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
