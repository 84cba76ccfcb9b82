//! The condition of a route: which toolkit it leads to.

use std::borrow::Cow;

use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_options::RouteFault;

/// Condition of a route: the toolkit it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Condition {
    /// Name of the toolkit. Its tools and prompts are offered as `<toolkit>__<name>`, its resources
    /// as `<toolkit>+<uri>`.
    pub toolkit: Toolkit,
}

impl tidegate_options::Condition for Condition {
    const MAX: usize = 1;

    fn check(routes: &[Vec<Self>]) -> Vec<RouteFault> {
        let mut faults = Vec::new();
        for (route, conditions) in routes.iter().enumerate() {
            let (message, help) = match conditions.first() {
                None if routes.len() > 1 => (
                    "a route without a toolkit receives every operation, so it must be the only route".into(),
                    "add one: when: [{ toolkit: plant }]".into(),
                ),
                Some(Self { toolkit }) if routes.iter().take(route).any(|it| it == conditions) => (
                    format!("toolkit '{}' already has a route", toolkit.name()),
                    "choose another name".into(),
                ),
                _ => continue,
            };
            faults.push(RouteFault {
                route,
                message,
                help,
            });
        }
        faults
    }
}

/// The name of a toolkit: `[a-z][a-z0-9-]*`, so that it can be part of a tool's name and of a URI's
/// scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolkit(ByteString);

impl Toolkit {
    /// Creates a name, if the text is valid.
    pub fn new(name: impl Into<ByteString>) -> Option<Self> {
        let name = name.into();
        let valid = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-';
        let is_name =
            name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(valid);
        is_name.then_some(Self(name))
    }

    /// The name.
    pub const fn name(&self) -> &ByteString {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Toolkit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(name.as_str()).ok_or_else(|| {
            de::Error::custom(format!(
                "invalid toolkit name '{name}'; use a letter followed by a-z, 0-9 or '-', as in plant-1"
            ))
        })
    }
}

impl Serialize for Toolkit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for Toolkit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Toolkit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-z][a-z0-9-]*$",
            "examples": ["plant"],
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_options::Condition as _;

    use super::*;

    fn check(toolkits: &[Option<&str>]) -> Vec<(usize, String)> {
        let condition = |name: &&str| Condition {
            toolkit: Toolkit::new(*name).expect("a name"),
        };
        let routes: Vec<Vec<Condition>> = toolkits
            .iter()
            .map(|toolkit| toolkit.iter().map(condition).collect())
            .collect();
        let faults = Condition::check(&routes).into_iter();
        faults.map(|fault| (fault.route, fault.message)).collect()
    }

    #[test]
    fn each_toolkit_has_one_route() {
        assert!(check(&[Some("plant"), Some("depot")]).is_empty());
        let faults = check(&[Some("plant"), Some("depot"), Some("plant")]);
        let message = "toolkit 'plant' already has a route".to_owned();
        assert_eq!(faults, [(2, message)]);
    }

    #[test]
    fn a_route_without_a_toolkit_is_alone() {
        assert!(check(&[None]).is_empty());
        let faults = check(&[Some("plant"), None]);
        assert!(
            matches!(&faults[..], [(1, message)] if message.contains("must be the only route"))
        );
    }

    #[test]
    fn names_can_be_part_of_a_scheme() {
        for name in ["", "Plant", "1a", "-a", "a_b", "a.b", "ä"] {
            assert!(Toolkit::new(name).is_none(), "{name}");
        }
        assert!(Toolkit::new("a-1").is_some());
    }
}
