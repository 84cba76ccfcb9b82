//! A config that was checked.

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use crate::decode::decode;
use crate::expression::Expressions;
use crate::fault::{Fault, Faults, Findings};

/// A config without faults.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What the deployment is called.
    pub name: String,
    /// How many workers; absent: one for each core.
    pub workers: Option<u16>,
    /// How long a stop waits for what is under way, in milliseconds.
    pub shutdown_timeout: u64,
    /// The bindings, in the order of the text.
    pub bindings: Vec<Binding>,
    /// What is valid and yet likely to be a mistake, in the order of the text.
    pub warnings: Vec<Fault>,
}

/// One binding.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Its type: `mcp_mqtt`.
    pub r#type: String,
    /// Its kind: `proxy`.
    pub kind: String,
    /// Where its streams go.
    pub exits: Vec<Exit>,
    /// Where its streams go under conditions.
    pub routes: Vec<Route>,
    pub(crate) options: Value,
    /// The expressions in it; their paths begin below the binding.
    pub(crate) expressions: Expressions,
}

/// One exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its name; `exit` where the kind has only one.
    pub name: &'static str,
    /// Where to, as an index into [`Config::bindings`].
    pub binding: usize,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where to, as an index into [`Config::bindings`].
    pub exit: usize,
    pub(crate) when: Vec<Value>,
}

impl Binding {
    /// The options. They were checked when the config was loaded, so only the wrong type fails.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, Faults> {
        self.decode(self.options.clone(), &["options"])
    }

    /// The conditions of the route of this index. They were checked when the config was loaded, so
    /// only the wrong type fails.
    pub fn when<C: DeserializeOwned>(&self, route: usize) -> Result<Vec<C>, Faults> {
        let when = self.routes.get(route).map(|route| route.when.as_slice());
        let conditions = when.unwrap_or_default().iter().enumerate();
        conditions
            .map(|(index, condition)| {
                let (route, index) = (route.to_string(), index.to_string());
                self.decode(condition.clone(), &["routes", &route, "when", &index])
            })
            .collect()
    }

    /// The bindings where its streams go, by their indices in [`Config::bindings`].
    pub fn targets(&self) -> impl Iterator<Item = usize> {
        let exits = self.exits.iter().map(|exit| exit.binding);
        exits.chain(self.routes.iter().map(|route| route.exit))
    }

    fn decode<T: DeserializeOwned>(&self, value: Value, path: &[&str]) -> Result<T, Faults> {
        let mut findings = Findings::new(&self.name, "");
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        decode(value, &path, &self.expressions, &mut findings).ok_or_else(|| findings.into_faults())
    }
}

impl Config {
    /// The indices of the bindings, each behind its exits: the order in which they can be attached.
    pub fn exits_first(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.bindings.len());
        for index in 0..self.bindings.len() {
            self.place(index, &mut order);
        }
        order
    }

    /// The config has no circle of exits: that was checked.
    fn place(&self, index: usize, order: &mut Vec<usize>) {
        if order.contains(&index) {
            return;
        }
        if let Some(binding) = self.bindings.get(index) {
            for target in binding.targets() {
                self.place(target, order);
            }
            order.push(index);
        }
    }
}
