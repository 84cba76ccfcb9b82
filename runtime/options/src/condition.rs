//! Conditions of routes (`when`).

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::guarded::{GuardReference, Guarded};

/// One element of `when`, as declared by a kind of binding.
pub trait Condition: DeserializeOwned + JsonSchema {
    /// Most elements of one `when`; a route matches if any of them does.
    const MAX: usize = usize::MAX;

    /// Whether all routes of a binding lead to the same exit: they say what is permitted, not where it
    /// goes.
    const SAME_EXIT: bool = false;

    /// Checks all routes of a binding together, such as for duplicates.
    fn check(routes: &[RouteRule<Self>]) -> Vec<RouteFault>;

    /// The guards that the condition refers to, with paths relative to the condition.
    fn guards(&self) -> Vec<GuardReference> {
        Vec::new()
    }
}

/// When a route applies, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule<C> {
    /// The route applies if one of these does, or if there are none.
    pub when: Vec<C>,
    /// The callers that may use it; `None`: everybody.
    pub guarded: Option<Guarded>,
}

/// A route that conflicts with another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFault {
    /// Index of the route, from 0.
    pub route: usize,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: String,
}
