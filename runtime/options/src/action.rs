//! What routes do (`with`), for kinds whose routes do not select an exit.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::condition::Condition;

/// The `with` of a route, as declared by a kind of binding with named exits: what it does with what
/// matches `when`.
pub trait Action: DeserializeOwned + JsonSchema {
    /// One element of `when`.
    type Condition: Condition;

    /// Checks all routes of a binding together.
    fn check(routes: &[ActionRoute<Self::Condition, Self>]) -> Vec<ActionFault>;
}

/// A route with its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRoute<C, A> {
    /// The route applies if one of these does.
    pub when: Vec<C>,
    /// What it does.
    pub with: A,
}

/// A part of a route that does not fit the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFault {
    /// Index of the route, from 0.
    pub route: usize,
    /// Path of the faulty value below the route, such as `with`, `tool`.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: String,
}
