//! The registry of binding kinds: the config keys of each kind, and its factory.

use schemars::{Schema, SchemaGenerator};
use serde_yaml::Value;
use tidegate_options::{Condition, Options};
use tidegate_streams::Protocol;

use crate::decode::decode;
use crate::exporters::ExporterType;
use crate::expression::Expressions;
use crate::fault::Findings;

/// The exits of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exits {
    /// Opens no streams.
    None,
    /// A single exit, named by `exit`.
    One(Protocol),
    /// Several exits, each a key of `exits`.
    Named(&'static [(&'static str, Protocol)]),
}

impl Exits {
    /// Name of the exit of a kind with a single exit.
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

/// Decodes the options at a path, and records their faults and warnings.
pub(crate) type CheckOptions = fn(Value, &[String], &Expressions, &mut Findings<'_>);

/// How the routes of a kind are decoded and checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routing {
    /// Most conditions of a route.
    pub(crate) max: usize,
    /// JSON Schema of one condition.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks the conditions of each route, and of all together.
    pub(crate) check: fn(&[Vec<Value>], &[String], &Expressions, &mut Findings<'_>),
}

/// The config side of a kind: everything but its factory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) r#type: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
    pub(crate) accepts: &'static [Protocol],
    pub(crate) exits: Exits,
    pub(crate) routing: Option<Routing>,
    /// JSON Schema of the options.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) check: CheckOptions,
}

impl Shape {
    /// Display name, such as `mcp · server`.
    pub(crate) fn title(&self) -> String {
        format!("{} · {}", self.r#type, self.kind)
    }

    /// Whether clients connect here: it opens streams and accepts none.
    pub(crate) fn is_entry(&self) -> bool {
        self.accepts.is_empty() && self.exits != Exits::None
    }
}

/// A kind of binding: its config and the factory that creates it.
///
/// This crate only carries the factory, so it depends neither on the engine nor on a binding. A
/// registry accepts only descriptors with a factory: a kind without one does not compile.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor<F> {
    shape: Shape,
    factory: F,
}

impl Descriptor<()> {
    /// A kind with options of type `T`. Streams and exits are added by the methods below.
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

    /// Sets the factory.
    pub fn made_by<F>(self, factory: F) -> Descriptor<F> {
        Descriptor {
            shape: self.shape,
            factory,
        }
    }
}

impl<F> Descriptor<F> {
    /// Accepts streams of these protocols.
    #[must_use]
    pub const fn accepts(mut self, protocols: &'static [Protocol]) -> Self {
        self.shape.accepts = protocols;
        self
    }

    /// Opens streams of this protocol to its `exit`.
    #[must_use]
    pub const fn exit(mut self, protocol: Protocol) -> Self {
        self.shape.exits = Exits::One(protocol);
        self
    }

    /// Opens streams to several named exits (`exits`).
    #[must_use]
    pub const fn exits(mut self, exits: &'static [(&'static str, Protocol)]) -> Self {
        self.shape.exits = Exits::Named(exits);
        self
    }

    /// Allows `routes` with these conditions instead of `exit`.
    #[must_use]
    pub const fn routes<C: Condition>(mut self) -> Self {
        self.shape.routing = Some(Routing {
            max: C::MAX,
            schema: |generator| generator.subschema_for::<C>(),
            check: check_routes::<C>,
        });
        self
    }

    /// Display name, such as `mcp · server`.
    pub fn title(&self) -> String {
        self.shape.title()
    }

    /// The factory.
    pub const fn factory(&self) -> &F {
        &self.factory
    }

    /// Protocols of the accepted streams.
    pub const fn accepted(&self) -> &'static [Protocol] {
        self.shape.accepts
    }

    /// The exits, and the protocol of the streams opened to each.
    pub fn opened(&self) -> impl Iterator<Item = (&'static str, Protocol)> {
        self.shape.exits.iter()
    }
}

pub(crate) fn check_options<T: Options>(
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

/// The known kinds of bindings and types of exporters.
#[derive(Debug, Clone)]
pub struct Registry<F> {
    kinds: Vec<Descriptor<F>>,
    exporters: Vec<ExporterType>,
}

impl<F> Registry<F> {
    /// Creates a registry of these kinds.
    pub const fn new(kinds: Vec<Descriptor<F>>) -> Self {
        Self {
            kinds,
            exporters: Vec::new(),
        }
    }

    /// Adds a type of exporters.
    #[must_use]
    pub fn with_exporter(mut self, exporter: ExporterType) -> Self {
        self.exporters.push(exporter);
        self
    }

    pub(crate) fn exporters(&self) -> &[ExporterType] {
        &self.exporters
    }

    /// Adds a kind.
    #[must_use]
    pub fn with(mut self, descriptor: Descriptor<F>) -> Self {
        self.kinds.push(descriptor);
        self
    }

    /// The kinds, in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &Descriptor<F>> {
        self.kinds.iter()
    }

    /// Looks up a kind by `type` and `kind`.
    pub fn find(&self, r#type: &str, kind: &str) -> Option<&Descriptor<F>> {
        let is = |shape: &Shape| shape.r#type == r#type && shape.kind == kind;
        self.kinds.iter().find(|descriptor| is(&descriptor.shape))
    }

    /// The config side of each kind.
    pub(crate) fn kinds(&self) -> Kinds {
        let shapes = self.kinds.iter().map(|descriptor| descriptor.shape);
        Kinds(shapes.collect())
    }
}

/// The config side of a registry.
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

    /// Titles of the kinds that clients connect to.
    pub(crate) fn entries(&self) -> Vec<String> {
        let entries = self.iter().filter(|shape| shape.is_entry());
        entries.map(Shape::title).collect()
    }
}
