//! The checked config.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_yaml::Value;
use tidegate_options::{ActionRoute, GuardReference, Guarded};
use tidegate_streams::Protocol;

use crate::decode::decode_again;
use crate::expression::Expressions;
use crate::fault::{Fault, Faults};
use crate::section::Member;

/// A valid config.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Name of the deployment.
    pub name: String,
    /// Number of workers; `None`: one for each core.
    pub workers: Option<u16>,
    /// How long a stop waits for requests in progress, in milliseconds.
    pub shutdown_timeout: u64,
    /// Folder of the config, where relative paths in options start.
    pub folder: PathBuf,
    /// The guards, in source order.
    pub guards: Vec<Member>,
    /// The bindings, in source order.
    pub bindings: Vec<Binding>,
    /// The exporters, in source order.
    pub exporters: Vec<Member>,
    /// The text it was read from, in which expressions are not replaced.
    pub text: String,
    /// Valid settings that are likely mistakes, in source order.
    pub warnings: Vec<Fault>,
}

/// A declared binding: type, kind, exits and undecoded options.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Name in the config, such as `mcp_mqtt0`.
    pub name: String,
    /// Type, such as `mcp_mqtt`.
    pub r#type: String,
    /// Kind, such as `proxy`.
    pub kind: String,
    /// Targets of its streams.
    pub exits: Vec<Exit>,
    /// Targets of its streams, each under conditions.
    pub routes: Vec<Route>,
    /// Routes that do something themselves, undecoded.
    pub(crate) actions: Vec<ActionRoute<Value, Value>>,
    /// The guards that options, routes and conditions refer to, with paths below the binding.
    pub guards: Vec<GuardReference>,
    pub(crate) options: Value,
    /// Its expressions, with paths relative to the binding.
    pub(crate) expressions: Expressions,
}

/// An exit and its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Name of the exit; `exit` for a kind with a single exit.
    pub name: &'static str,
    /// Target, as an index into [`Config::bindings`].
    pub binding: usize,
    /// Protocol of the streams.
    pub protocol: Protocol,
}

/// A target and the conditions under which streams go there.
#[derive(Debug, Clone)]
pub struct Route {
    /// Target, as an index into [`Config::bindings`].
    pub exit: usize,
    /// The callers that may use it; `None`: everybody.
    pub guarded: Option<Guarded>,
    pub(crate) when: Vec<Value>,
}

impl Binding {
    /// The options, decoded as `T`. They were checked when the config was loaded, so this fails only if
    /// `T` is not the declared type.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, Faults> {
        self.decode(self.options.clone(), &["options"])
    }

    /// The conditions of the route with this index, decoded as `C`. They were checked when the config
    /// was loaded, so this fails only if `C` is not the declared type.
    pub fn when<C: DeserializeOwned>(&self, route: usize) -> Result<Vec<C>, Faults> {
        let when = self.routes.get(route).map(|route| route.when.as_slice());
        self.conditions(route, when.unwrap_or_default())
    }

    /// The routes that do something themselves, decoded. They were checked when the config was loaded.
    pub fn actions<C: DeserializeOwned, A: DeserializeOwned>(
        &self,
    ) -> Result<Vec<ActionRoute<C, A>>, Faults> {
        let routes = self.actions.iter().enumerate();
        routes
            .map(|(index, route)| {
                let when = self.conditions(index, &route.when)?;
                let path = ["routes", &index.to_string(), "with"];
                let with = self.decode(route.with.clone(), &path)?;
                Ok(ActionRoute { when, with })
            })
            .collect()
    }

    fn conditions<C: DeserializeOwned>(
        &self,
        route: usize,
        when: &[Value],
    ) -> Result<Vec<C>, Faults> {
        let conditions = when.iter().enumerate();
        conditions
            .map(|(index, condition)| {
                let (route, index) = (route.to_string(), index.to_string());
                self.decode(condition.clone(), &["routes", &route, "when", &index])
            })
            .collect()
    }

    /// Targets of all exits and routes, as indices into [`Config::bindings`].
    pub fn targets(&self) -> impl Iterator<Item = usize> {
        let exits = self.exits.iter().map(|exit| exit.binding);
        exits.chain(self.routes.iter().map(|route| route.exit))
    }

    fn decode<T: DeserializeOwned>(&self, value: Value, path: &[&str]) -> Result<T, Faults> {
        decode_again(&self.name, value, path, &self.expressions)
    }
}

impl Config {
    /// Indices of the bindings in attach order: the exits of a binding come before the binding.
    pub fn exits_first(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.bindings.len());
        for index in 0..self.bindings.len() {
            self.visit(index, &mut order);
        }
        order
    }

    /// Depth-first; the config has no cycles, which was checked.
    fn visit(&self, index: usize, order: &mut Vec<usize>) {
        if order.contains(&index) {
            return;
        }
        if let Some(binding) = self.bindings.get(index) {
            for target in binding.targets() {
                self.visit(target, order);
            }
            order.push(index);
        }
    }
}
