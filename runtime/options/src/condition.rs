//! The conditions of routes.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// One element of a route's `when`, as a kind of binding declares it.
pub trait Condition: DeserializeOwned + JsonSchema {
    /// How many elements a `when` may have; they are alternatives.
    const MAX: usize = usize::MAX;

    /// What is wrong with the routes of a binding as a whole; `routes` holds the conditions of each.
    fn check(routes: &[Vec<Self>]) -> Vec<RouteFault>;
}

/// A route that does not go with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFault {
    /// Which route, from 0.
    pub route: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}
