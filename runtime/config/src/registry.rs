//! What the config needs to know of each kind of binding.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use tidegate_streams::Protocol;

use crate::decode::decode;
use crate::fault::Findings;

/// Where a binding sends its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward {
    /// Nowhere: `exit` and `routes` are faults.
    Nowhere,
    /// To one `exit`; `routes` are a fault.
    Exit,
    /// To one `exit`, or to `routes`.
    ExitOrRoutes,
}

/// One kind of binding.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    pub(crate) r#type: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
    pub(crate) accepts: &'static [Protocol],
    pub(crate) produces: Option<Protocol>,
    pub(crate) onward: Onward,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    check: Check,
}

type Check = fn(Value, &[String], &[Vec<String>], &mut Findings<'_>);

impl Descriptor {
    /// A kind of binding whose options are `T`. It accepts and produces nothing yet.
    pub const fn of<T: DeserializeOwned + JsonSchema>(
        r#type: &'static str,
        kind: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            r#type,
            kind,
            about,
            accepts: &[],
            produces: None,
            onward: Onward::Nowhere,
            schema: |generator| generator.subschema_for::<T>(),
            check: |value, path, environment, findings| {
                decode::<T>(value, path, environment, findings);
            },
        }
    }

    /// It accepts streams of these protocols.
    #[must_use]
    pub const fn accepts(self, accepts: &'static [Protocol]) -> Self {
        Self { accepts, ..self }
    }

    /// It opens streams of this protocol.
    #[must_use]
    pub const fn produces(self, produces: Protocol, onward: Onward) -> Self {
        Self {
            produces: Some(produces),
            onward,
            ..self
        }
    }

    /// How people call it: `mcp · server`.
    pub fn title(&self) -> String {
        format!("{} · {}", self.r#type, self.kind)
    }

    /// The protocols whose streams it accepts.
    pub const fn accepted(&self) -> &'static [Protocol] {
        self.accepts
    }

    /// The protocol whose streams it opens.
    pub const fn produced(&self) -> Option<Protocol> {
        self.produces
    }

    /// Whether streams enter the engine here.
    pub(crate) const fn is_entry(&self) -> bool {
        self.accepts.is_empty() && self.produces.is_some()
    }

    pub(crate) fn check_options(
        &self,
        value: Value,
        path: &[String],
        from_environment: &[Vec<String>],
        findings: &mut Findings<'_>,
    ) {
        (self.check)(value, path, from_environment, findings);
    }
}

/// Every kind of binding there is.
#[derive(Debug, Clone, Default)]
pub struct Registry(Vec<Descriptor>);

impl Registry {
    /// A registry of these kinds.
    pub const fn new(descriptors: Vec<Descriptor>) -> Self {
        Self(descriptors)
    }

    /// The kinds, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Descriptor> {
        self.0.iter()
    }

    /// The kind of a type and a kind.
    pub fn find(&self, r#type: &str, kind: &str) -> Option<&Descriptor> {
        self.0
            .iter()
            .find(|descriptor| descriptor.r#type == r#type && descriptor.kind == kind)
    }

    pub(crate) fn types(&self) -> Vec<&'static str> {
        let mut types: Vec<_> = self.0.iter().map(|descriptor| descriptor.r#type).collect();
        types.dedup();
        types
    }

    pub(crate) fn kinds(&self, r#type: &str) -> Vec<&'static str> {
        let of_type = self
            .0
            .iter()
            .filter(|descriptor| descriptor.r#type == r#type);
        of_type.map(|descriptor| descriptor.kind).collect()
    }
}
