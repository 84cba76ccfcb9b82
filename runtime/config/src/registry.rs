//! The kinds of bindings: what a config may say of each, and what makes it.

use schemars::{Schema, SchemaGenerator};
use serde_yaml::Value;
use tidegate_options::{Condition, Options};
use tidegate_streams::Protocol;

use crate::decode::decode;
use crate::expression::Expressions;
use crate::fault::Findings;

/// Where a kind of binding opens streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exits {
    /// Nowhere.
    None,
    /// To the binding that `exit` names.
    One(Protocol),
    /// To the bindings that `exits` names, each by its own key.
    Named(&'static [(&'static str, Protocol)]),
}

impl Exits {
    /// The name of the only exit of a kind.
    pub(crate) const ONLY: &'static str = "exit";

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, Protocol)> {
        let (one, named): (_, &[(&'static str, Protocol)]) = match *self {
            Self::None => (None, &[]),
            Self::One(protocol) => (Some((Self::ONLY, protocol)), &[]),
            Self::Named(exits) => (None, exits),
        };
        one.into_iter().chain(named.iter().copied())
    }
}

/// How the routes of a kind are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routing {
    /// How many conditions a route may have.
    pub(crate) max: usize,
    /// The schema of one condition.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks the conditions of each route, and of all together.
    pub(crate) check: fn(&[Vec<Value>], &[String], &Expressions, &mut Findings<'_>),
}

/// What a config may say of a kind of binding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) r#type: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
    pub(crate) accepts: &'static [Protocol],
    pub(crate) exits: Exits,
    pub(crate) routing: Option<Routing>,
    /// The schema of its options.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks its options.
    pub(crate) check: fn(Value, &[String], &Expressions, &mut Findings<'_>),
}

impl Shape {
    /// How people call it: `mcp · server`.
    pub(crate) fn title(&self) -> String {
        format!("{} · {}", self.r#type, self.kind)
    }

    /// Whether streams enter the engine here.
    pub(crate) fn is_entry(&self) -> bool {
        self.accepts.is_empty() && self.exits != Exits::None
    }
}

/// A kind of binding: what a config may say of it, and the factory that makes it.
///
/// The config carries the factory and never looks at it, so it knows neither the engine nor any
/// binding. A registry takes descriptors that have one: a kind that cannot be made does not compile.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor<F> {
    shape: Shape,
    factory: F,
}

impl Descriptor<()> {
    /// A kind of binding whose options are `T`. It accepts and opens no streams yet.
    pub const fn of<T: Options>(
        r#type: &'static str,
        kind: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            shape: Shape {
                r#type,
                kind,
                about,
                accepts: &[],
                exits: Exits::None,
                routing: None,
                schema: |generator| generator.subschema_for::<T>(),
                check: check_options::<T>,
            },
            factory: (),
        }
    }

    /// What makes a binding of this kind.
    pub fn made_by<F>(self, factory: F) -> Descriptor<F> {
        Descriptor {
            shape: self.shape,
            factory,
        }
    }
}

impl<F> Descriptor<F> {
    /// It accepts streams of these protocols.
    #[must_use]
    pub const fn accepts(mut self, protocols: &'static [Protocol]) -> Self {
        self.shape.accepts = protocols;
        self
    }

    /// It opens streams of this protocol towards its `exit`.
    #[must_use]
    pub const fn exit(mut self, protocol: Protocol) -> Self {
        self.shape.exits = Exits::One(protocol);
        self
    }

    /// It opens streams towards several exits, each with a name of its own: its `exits`.
    #[must_use]
    pub const fn exits(mut self, exits: &'static [(&'static str, Protocol)]) -> Self {
        self.shape.exits = Exits::Named(exits);
        self
    }

    /// It takes `routes` instead of an `exit`, with these conditions.
    #[must_use]
    pub const fn routes<C: Condition>(mut self) -> Self {
        self.shape.routing = Some(Routing {
            max: C::MAX,
            schema: |generator| generator.subschema_for::<C>(),
            check: check_routes::<C>,
        });
        self
    }

    /// How people call it: `mcp · server`.
    pub fn title(&self) -> String {
        self.shape.title()
    }

    /// What makes a binding of this kind.
    pub const fn factory(&self) -> &F {
        &self.factory
    }

    /// The protocols whose streams it accepts.
    pub const fn accepted(&self) -> &'static [Protocol] {
        self.shape.accepts
    }

    /// The exits towards which it opens streams, by name, and the protocol of each.
    pub fn opened(&self) -> impl Iterator<Item = (&'static str, Protocol)> {
        self.shape.exits.iter()
    }
}

fn check_options<T: Options>(
    value: Value,
    path: &[String],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) {
    let Some(options) = decode::<T>(value, path, expressions, findings) else {
        return;
    };
    for warning in options.warnings() {
        let at: Vec<String> = path
            .iter()
            .cloned()
            .chain([warning.key.to_owned()])
            .collect();
        findings.warn(&at, warning.message, warning.help);
    }
}

fn check_routes<C: Condition>(
    routes: &[Vec<Value>],
    path: &[String],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) {
    let below = |steps: &[&str]| -> Vec<String> {
        let steps = steps.iter().map(|step| (*step).to_owned());
        path.iter().cloned().chain(steps).collect()
    };
    let mut read: Vec<Vec<C>> = Vec::with_capacity(routes.len());
    let mut complete = true;
    for (route, conditions) in routes.iter().enumerate() {
        let route = route.to_string();
        let mut of_route = Vec::with_capacity(conditions.len());
        for (index, condition) in conditions.iter().enumerate() {
            let at = below(&[&route, "when", &index.to_string()]);
            match decode::<C>(condition.clone(), &at, expressions, findings) {
                Some(condition) => of_route.push(condition),
                None => complete = false,
            }
        }
        read.push(of_route);
    }
    if !complete {
        return;
    }
    for fault in C::check(&read) {
        findings.value_with(
            &below(&[&fault.route.to_string()]),
            fault.message,
            fault.help,
        );
    }
}

/// Every kind of binding there is.
#[derive(Debug, Clone)]
pub struct Registry<F>(Vec<Descriptor<F>>);

impl<F> Registry<F> {
    /// A registry of these kinds.
    pub const fn new(descriptors: Vec<Descriptor<F>>) -> Self {
        Self(descriptors)
    }

    /// The same registry with one more kind.
    #[must_use]
    pub fn with(mut self, descriptor: Descriptor<F>) -> Self {
        self.0.push(descriptor);
        self
    }

    /// The kinds, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Descriptor<F>> {
        self.0.iter()
    }

    /// The kind of a type and a kind.
    pub fn find(&self, r#type: &str, kind: &str) -> Option<&Descriptor<F>> {
        let is = |shape: &Shape| shape.r#type == r#type && shape.kind == kind;
        self.0.iter().find(|descriptor| is(&descriptor.shape))
    }

    /// What a config may say of each kind.
    pub(crate) fn kinds(&self) -> Kinds {
        Kinds(self.0.iter().map(|descriptor| descriptor.shape).collect())
    }
}

/// What a config may say of each kind of binding.
#[derive(Debug)]
pub(crate) struct Kinds(Vec<Shape>);

impl Kinds {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Shape> {
        self.0.iter()
    }

    pub(crate) fn find(&self, r#type: &str, kind: &str) -> Option<&Shape> {
        self.iter()
            .find(|shape| shape.r#type == r#type && shape.kind == kind)
    }

    pub(crate) fn types(&self) -> Vec<&'static str> {
        let mut types: Vec<_> = self.iter().map(|shape| shape.r#type).collect();
        types.sort_unstable();
        types.dedup();
        types
    }

    pub(crate) fn kinds_of(&self, r#type: &str) -> Vec<&'static str> {
        let of_type = self.iter().filter(|shape| shape.r#type == r#type);
        of_type.map(|shape| shape.kind).collect()
    }

    /// The kinds at which streams enter the engine.
    pub(crate) fn entries(&self) -> Vec<String> {
        let entries = self.iter().filter(|shape| shape.is_entry());
        entries.map(Shape::title).collect()
    }
}
