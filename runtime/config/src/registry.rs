//! The registry of binding kinds: the config keys of each kind, and its factory.

use schemars::{Schema, SchemaGenerator};
use serde_yaml::Value;
use tidegate_options::{
    Action, ActionRoute, Condition, GuardReference, Options, OwnFile, RouteRule,
};
use tidegate_streams::Protocol;

use crate::attachment::Attachment;
use crate::decode::decode;
use crate::expression::Expressions;
use crate::fault::Findings;
use crate::fit::CheckBinding;
use crate::preset::Preset;
use crate::section::MemberType;
use crate::shorthand::Shorthand;

/// The exits of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exits {
    /// Opens no streams.
    None,
    /// A single exit, named by `exit`.
    One(Protocol),
    /// A single exit, which accepts one of these protocols.
    Any(&'static [Protocol]),
    /// Several exits, each a key of `exits`.
    Named(&'static [(&'static str, Protocol)]),
}

impl Exits {
    /// Name of the exit of a kind with a single exit.
    pub(crate) const ONLY: &'static str = "exit";

    /// Each exit and the protocol of its streams; an exit of several protocols comes once for each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, Protocol)> {
        let (one, any, named): (_, &[Protocol], &[(&'static str, Protocol)]) = match *self {
            Self::None => (None, &[], &[]),
            Self::One(protocol) => (Some((Self::ONLY, protocol)), &[], &[]),
            Self::Any(protocols) => (None, protocols, &[]),
            Self::Named(exits) => (None, &[], exits),
        };
        let any = any.iter().map(|protocol| (Self::ONLY, *protocol));
        one.into_iter().chain(any).chain(named.iter().copied())
    }
}

/// What options refer to outside of their binding.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// Guards, with paths below the binding.
    pub(crate) guards: Vec<GuardReference>,
    /// Files that no other binding may have.
    pub(crate) own_files: Vec<OwnFile>,
}

/// Checks the options at a path. Returns what they refer to.
type CheckOptions = fn(Value, &[String], &Expressions, &mut Findings<'_>) -> References;

/// Checks the routes at a path. Returns the guards that their conditions refer to, with paths below the
/// binding.
type CheckRoutes =
    fn(&[RouteRule<Value>], &[String], &Expressions, &mut Findings<'_>) -> Vec<GuardReference>;

/// Checks what routes do: conditions and `with` of each, at a path.
type CheckActions = fn(&[ActionRoute<Value, Value>], &[String], &Expressions, &mut Findings<'_>);

/// What the routes of a kind do, which have no exit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actions {
    /// JSON Schema of `with`.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks `with` of each route, and of all together.
    pub(crate) check: CheckActions,
}

/// How the routes of a kind are decoded and checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routing {
    /// Most conditions of a route.
    pub(crate) max: usize,
    /// Whether all routes lead to the same exit.
    pub(crate) same_exit: bool,
    /// JSON Schema of one condition.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Checks the conditions of each route, and of all together.
    pub(crate) check: CheckRoutes,
    /// What the routes do, if they do not lead to an exit.
    pub(crate) actions: Option<Actions>,
}

impl Routing {
    const fn of<C: Condition>() -> Self {
        Self {
            max: C::MAX,
            same_exit: C::SAME_EXIT,
            schema: |generator| generator.subschema_for::<C>(),
            check: check_routes::<C>,
            actions: None,
        }
    }
}

/// The config side of a kind: everything but its factory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) r#type: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
    pub(crate) accepts: &'static [Protocol],
    pub(crate) exits: Exits,
    /// An option that says which of the protocols of its exit it has.
    pub(crate) exit_choice: Option<ExitChoice>,
    pub(crate) routing: Option<Routing>,
    pub(crate) shorthands: &'static [Shorthand],
    pub(crate) preset: Option<Preset>,
    pub(crate) attachment: Option<Attachment>,
    /// The guard of the identities that it gives callers, which no config declares.
    pub(crate) guard: Option<&'static str>,
    /// JSON Schema of the options.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Decodes the options and records their faults and warnings.
    pub(crate) check: CheckOptions,
    /// Checks options, routes and exits together.
    pub(crate) check_whole: Option<CheckBinding>,
}

/// An option whose values stand for protocols of the exit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExitChoice {
    key: &'static str,
    values: &'static [(&'static str, Protocol)],
}

impl ExitChoice {
    /// The protocol that options choose, if they do.
    pub(crate) fn of(self, options: &Value) -> Option<Protocol> {
        let chosen = options.get(self.key)?.as_str()?;
        let mut values = self.values.iter();
        values
            .find(|(value, _)| *value == chosen)
            .map(|(_, protocol)| *protocol)
    }
}

impl Shape {
    /// Display name, such as `mcp · server`.
    pub(crate) fn title(&self) -> String {
        format!("{} · {}", self.r#type, self.kind)
    }

    /// Whether it accepts streams of one of these protocols.
    pub(crate) fn accepts_any(&self, protocols: &[Protocol]) -> bool {
        protocols.iter().any(|it| self.accepts.contains(it))
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
                exit_choice: None,
                routing: None,
                shorthands: &[],
                preset: None,
                attachment: None,
                guard: None,
                schema: |generator| generator.subschema_for::<T>(),
                check: check_options::<T>,
                check_whole: None,
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

    /// Opens streams to its `exit`, of one of these protocols: the first one that it accepts.
    #[must_use]
    pub const fn exit_of_any(mut self, protocols: &'static [Protocol]) -> Self {
        self.shape.exits = Exits::Any(protocols);
        self
    }

    /// With an option that says which of these protocols the exit must accept. Without it, each will do.
    #[must_use]
    pub const fn exit_chosen_by(
        mut self,
        key: &'static str,
        values: &'static [(&'static str, Protocol)],
    ) -> Self {
        self.shape.exit_choice = Some(ExitChoice { key, values });
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
        self.shape.routing = Some(Routing::of::<C>());
        self
    }

    /// Requires `routes` with conditions and an action each (`with`), beside named exits.
    #[must_use]
    pub const fn actions<A: Action>(mut self) -> Self {
        self.shape.routing = Some(Routing {
            actions: Some(Actions {
                schema: |generator| generator.subschema_for::<A>(),
                check: check_actions::<A>,
            }),
            ..Routing::of::<A::Condition>()
        });
        self
    }

    /// Allows options that stand for a chain of exits instead of `exit`; a binding has at most one.
    #[must_use]
    pub const fn shorthands(mut self, shorthands: &'static [Shorthand]) -> Self {
        self.shape.shorthands = shorthands;
        self
    }

    /// Allows an option that stands for values of others.
    #[must_use]
    pub const fn preset(mut self, preset: Preset) -> Self {
        self.shape.preset = Some(preset);
        self
    }

    /// Allows an option that stands for a binding at a named exit, which need not be there.
    #[must_use]
    pub const fn attachment(mut self, attachment: Attachment) -> Self {
        self.shape.attachment = Some(attachment);
        self
    }

    /// Gives callers identities of this guard, which is known while the config has a binding of the kind.
    #[must_use]
    pub const fn guard(mut self, name: &'static str) -> Self {
        self.shape.guard = Some(name);
        self
    }

    /// Checks what options, routes and the bindings at the exits must fulfil together. Each of them is valid
    /// then.
    #[must_use]
    pub const fn checked_by(mut self, check: CheckBinding) -> Self {
        self.shape.check_whole = Some(check);
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
) -> References {
    let Some(options) = decode::<T>(value, path, expressions, findings) else {
        return References::default();
    };
    let at = |key: &str| -> Vec<String> { path.iter().cloned().chain([key.to_owned()]).collect() };
    for conflict in options.conflicts() {
        findings.value_with(&at(conflict.key), conflict.message, conflict.help);
    }
    for warning in options.warnings() {
        findings.warn(&at(warning.key), warning.message, warning.help);
    }
    References {
        guards: below(&["options"], options.guards()).collect(),
        own_files: options.own_files(),
    }
}

/// The references with `steps` in front of their paths.
fn below(steps: &[&str], references: Vec<GuardReference>) -> impl Iterator<Item = GuardReference> {
    references.into_iter().map(move |reference| {
        let steps = steps.iter().map(|step| (*step).to_owned());
        GuardReference {
            path: steps.chain(reference.path).collect(),
            guard: reference.guard,
        }
    })
}

fn check_routes<C: Condition>(
    routes: &[RouteRule<Value>],
    path: &[String],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Vec<GuardReference> {
    let at = |steps: &[&str]| -> Vec<String> {
        let steps = steps.iter().map(|step| (*step).to_owned());
        path.iter().cloned().chain(steps).collect()
    };
    let mut read: Vec<RouteRule<C>> = Vec::with_capacity(routes.len());
    let mut guards = Vec::new();
    let mut complete = true;
    for (index, rule) in routes.iter().enumerate() {
        let route = index.to_string();
        let mut when = Vec::with_capacity(rule.when.len());
        for (index, condition) in rule.when.iter().enumerate() {
            let index = index.to_string();
            let at = at(&[&route, "when", &index]);
            match decode::<C>(condition.clone(), &at, expressions, findings) {
                Some(condition) => {
                    let steps = ["routes", &route, "when", &index];
                    guards.extend(below(&steps, condition.guards()));
                    when.push(condition);
                }
                None => complete = false,
            }
        }
        let guarded = rule.guarded.clone();
        read.push(RouteRule { when, guarded });
    }
    if !complete {
        return guards;
    }
    for fault in C::check(&read) {
        findings.value_with(&at(&[&fault.route.to_string()]), fault.message, fault.help);
    }
    guards
}

fn check_actions<A: Action>(
    routes: &[ActionRoute<Value, Value>],
    path: &[String],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) {
    let mut read = Vec::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        let at = |step: &str| -> Vec<String> {
            let steps = [index.to_string(), step.to_owned()];
            path.iter().cloned().chain(steps).collect()
        };
        let with = decode::<A>(route.with.clone(), &at("with"), expressions, findings);
        // Faults of conditions were recorded with the conditions.
        let when = route.when.iter().map(|it| {
            let mut recorded = Findings::new("", "");
            decode::<A::Condition>(it.clone(), &at("when"), expressions, &mut recorded)
        });
        if let (Some(with), Some(when)) = (with, when.collect::<Option<Vec<_>>>()) {
            read.push(ActionRoute { when, with });
        }
    }
    if read.len() < routes.len() {
        return;
    }
    for fault in A::check(&read) {
        let steps = [fault.route.to_string()].into_iter().chain(fault.path);
        let at: Vec<String> = path.iter().cloned().chain(steps).collect();
        findings.value_with(&at, fault.message, fault.help);
    }
}

/// The known kinds of bindings, and types of guards and exporters.
#[derive(Debug, Clone)]
pub struct Registry<F> {
    kinds: Vec<Descriptor<F>>,
    guards: Vec<MemberType>,
    exporters: Vec<MemberType>,
}

impl<F> Registry<F> {
    /// Creates a registry of these kinds.
    pub const fn new(kinds: Vec<Descriptor<F>>) -> Self {
        Self {
            kinds,
            guards: Vec::new(),
            exporters: Vec::new(),
        }
    }

    /// Adds a type of guards.
    #[must_use]
    pub fn with_guard(mut self, guard: MemberType) -> Self {
        self.guards.push(guard);
        self
    }

    pub(crate) fn guards(&self) -> &[MemberType] {
        &self.guards
    }

    /// Adds a type of exporters.
    #[must_use]
    pub fn with_exporter(mut self, exporter: MemberType) -> Self {
        self.exporters.push(exporter);
        self
    }

    pub(crate) fn exporters(&self) -> &[MemberType] {
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
