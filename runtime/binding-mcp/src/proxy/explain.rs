//! Explains what the routes decide, with the code that decides it.

use tidegate_streams::Identity;

use super::names::Kind;
use super::routing::{Decision, Route, Routing};

/// What the routes decide about a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation<X> {
    /// The route leads to the exit, which knows the tool by this name.
    Permitted {
        /// Index of the route.
        route: usize,
        /// The exit.
        exit: X,
        /// Name of the tool at the exit.
        name: String,
    },
    /// The caller may ask for scopes.
    StepUp {
        /// Index of the route that they would permit.
        route: usize,
        /// The scopes.
        scopes: Vec<String>,
    },
    /// The tool does not exist for the caller.
    Unknown {
        /// Index of the first route that leads to it, for other callers.
        route: Option<usize>,
    },
}

/// The routes of an `mcp · proxy`.
#[derive(Debug)]
pub struct Explainer<X>(Routing<X>);

impl<X: Copy + PartialEq> Explainer<X> {
    /// Explains these routes.
    pub fn new(routes: Vec<Route<X>>) -> Self {
        Self(Routing::new(routes))
    }

    /// What is decided about a tool, by its name as the caller states it.
    pub fn tool(&self, caller: Option<&Identity>, name: &str) -> Explanation<X> {
        match self.0.decide(caller, Kind::Tool, name) {
            Decision::Permitted { upstream, route } => {
                let Some(upstream) = self.0.get(upstream) else {
                    return Explanation::Unknown { route: None };
                };
                let rest = name.strip_prefix(&*upstream.prefixes.name);
                Explanation::Permitted {
                    route,
                    exit: upstream.exit,
                    name: rest.unwrap_or(name).to_owned(),
                }
            }
            Decision::StepUp { scopes, route } => Explanation::StepUp {
                route,
                scopes: scopes.to_vec(),
            },
            Decision::Unknown { refusing } => Explanation::Unknown { route: refusing },
        }
    }

    /// The names under which the toolkits offer a tool, to whichever caller. `name` is its name at an exit.
    pub fn names(&self, name: impl Fn(X) -> String) -> Vec<String> {
        let upstreams = (0..self.0.len()).filter_map(|index| self.0.get(index));
        let mut names: Vec<String> = upstreams
            .map(|upstream| format!("{}{}", upstream.prefixes.name, name(upstream.exit)))
            .collect();
        names.dedup();
        names
    }
}
