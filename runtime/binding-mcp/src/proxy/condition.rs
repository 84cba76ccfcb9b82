//! The condition of a route: a toolkit, and which of its tools, prompts and resources.

use std::borrow::Cow;

use bytestring::ByteString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_options::{Glob, RouteFault, RouteRule};

/// Condition of a route: the toolkit that it leads to, and what may be used there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schemars(inline)]
pub struct Condition {
    /// Name of the toolkit. Its tools and prompts are offered as `<toolkit>__<name>`, its resources
    /// as `<toolkit>+<uri>`. Absent: names and URIs are those of the exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolkit: Option<Toolkit>,
    /// Tools that may be used, by their name without the toolkit; `*` stands for any text. With a
    /// `tool`, `prompt` or `resource`, the route leads to nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Glob>,
    /// Prompts that may be used, by their name without the toolkit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Glob>,
    /// Resources that may be used, by their URI without the toolkit. A template is offered if the
    /// glob matches its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Glob>,
}

impl Condition {
    /// The condition of a toolkit with all that it has.
    pub const fn of(toolkit: Toolkit) -> Self {
        Self {
            toolkit: Some(toolkit),
            tool: None,
            prompt: None,
            resource: None,
        }
    }

    /// Whether it leads to all operations of its toolkit.
    pub(super) const fn is_whole(&self) -> bool {
        self.tool.is_none() && self.prompt.is_none() && self.resource.is_none()
    }

    fn toolkit_name(&self) -> Option<&str> {
        self.toolkit.as_ref().map(|toolkit| &**toolkit.name())
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let condition = Self::deserialize(deserializer)?;
        if condition.toolkit.is_none() && condition.is_whole() {
            return Err(de::Error::custom(
                "an empty condition; use one of toolkit, tool, prompt and resource, or remove 'when'",
            ));
        }
        Ok(condition)
    }
}

impl tidegate_options::Condition for Condition {
    const MAX: usize = 1_000;

    fn check(routes: &[RouteRule<Self>]) -> Vec<RouteFault> {
        let with_toolkit = |rule: &RouteRule<Self>| rule.when.iter().any(|it| it.toolkit.is_some());
        let any_toolkit = routes.iter().any(with_toolkit);
        let faults = routes.iter().enumerate().filter_map(|(route, rule)| {
            let (earlier, _) = routes.split_at_checked(route)?;
            let (message, help) = fault(rule, earlier, any_toolkit)?;
            Some(RouteFault {
                route,
                message,
                help,
            })
        });
        faults.collect()
    }
}

/// What is wrong with a route, and how to fix it.
fn fault(
    rule: &RouteRule<Condition>,
    earlier: &[RouteRule<Condition>],
    any_toolkit: bool,
) -> Option<(String, String)> {
    if any_toolkit && (rule.when.is_empty() || rule.when.iter().any(|it| it.toolkit.is_none())) {
        let message = "a route without a toolkit cannot be used beside routes with one";
        let help = "add one: when: [{ toolkit: plant }]";
        return Some((message.into(), help.into()));
    }
    // A route that everybody may use leaves nothing for later ones.
    let taken = |name: Option<&str>| {
        let mut open = earlier.iter().filter(|route| route.guarded.is_none());
        open.any(|route| {
            route.when.is_empty()
                || route
                    .when
                    .iter()
                    .any(|it| it.is_whole() && it.toolkit_name() == name)
        })
    };
    if rule.when.is_empty() {
        return taken(None).then(|| {
            let message = "an earlier route receives every operation";
            let help = "remove it, or say who may use the earlier one (guarded)";
            (message.into(), help.into())
        });
    }
    let mut names = rule.when.iter().map(Condition::toolkit_name);
    let name = names.find(|name| taken(*name))?;
    let message = match name {
        Some(name) => format!("toolkit '{name}' already has a route"),
        None => "an earlier route receives every operation".to_owned(),
    };
    let help = if name.is_some() {
        "choose another name, or say who or what the earlier route is for (guarded, tool)"
    } else {
        "remove it, or say who may use the earlier one (guarded)"
    };
    Some((message, help.to_owned()))
}

/// Maximum length of a toolkit's name, which leaves room for the name of a tool behind it.
const TOOLKIT_MAX: usize = 32;

/// The name of a toolkit: `[a-z][a-z0-9-]*`, so that it can be part of a tool's name and of a URI's
/// scheme; at most 32 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolkit(ByteString);

impl Toolkit {
    /// Creates a name, if the text is valid.
    pub fn new(name: impl Into<ByteString>) -> Option<Self> {
        let name = name.into();
        let valid = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || each == '-';
        let is_name = name.len() <= TOOLKIT_MAX
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(valid);
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
                "invalid toolkit name '{name}'; use a letter followed by a-z, 0-9 or '-', as in plant-1, and at most {TOOLKIT_MAX} characters"
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
            "maxLength": TOOLKIT_MAX,
            "examples": ["plant"],
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_options::Condition as _;
    use tidegate_options::Guarded;

    use super::*;

    /// Routes as in a config; `guarded` says which are.
    fn check(routes: &[(&str, bool)]) -> Vec<(usize, String)> {
        let rule = |(when, guarded): &(&str, bool)| RouteRule {
            when: serde_json::from_str(when).expect("conditions"),
            guarded: guarded
                .then(|| Guarded::new([("staff".to_owned(), Vec::new())]).expect("a guard")),
        };
        let rules: Vec<RouteRule<Condition>> = routes.iter().map(rule).collect();
        let faults = Condition::check(&rules).into_iter();
        faults.map(|fault| (fault.route, fault.message)).collect()
    }

    const PLANT: &str = r#"[{"toolkit":"plant"}]"#;
    const DEPOT: &str = r#"[{"toolkit":"depot"}]"#;

    #[test]
    fn a_toolkit_has_one_route_for_everything_and_everybody() {
        assert!(check(&[(PLANT, false), (DEPOT, false)]).is_empty());
        let faults = check(&[(PLANT, false), (DEPOT, false), (PLANT, false)]);
        let message = "toolkit 'plant' already has a route".to_owned();
        assert_eq!(faults, [(2, message)]);
        assert!(check(&[(PLANT, true), (PLANT, false)]).is_empty());
        let some = r#"[{"toolkit":"plant","tool":"get_*"}]"#;
        assert!(check(&[(some, false), (PLANT, true)]).is_empty());
        assert_eq!(check(&[(PLANT, false), (some, true)]).len(), 1);
    }

    #[test]
    fn a_route_without_a_toolkit_is_not_beside_toolkits() {
        assert!(check(&[("[]", false)]).is_empty());
        let faults = check(&[(PLANT, false), ("[]", false)]);
        assert!(matches!(&faults[..], [(1, message)] if message.contains("cannot be used beside")));
        let tool = r#"[{"tool":"get_*"}]"#;
        assert_eq!(check(&[(PLANT, false), (tool, false)]).len(), 1);
        assert!(check(&[(tool, false), ("[]", true)]).is_empty());
        assert!(check(&[("[]", true), ("[]", false)]).is_empty());
        assert_eq!(check(&[("[]", false), ("[]", true)]).len(), 1);
        assert_eq!(check(&[("[]", false), (tool, true)]).len(), 1);
    }

    #[test]
    fn names_can_be_part_of_a_scheme() {
        for name in ["", "Plant", "1a", "-a", "a_b", "a.b", "ä"] {
            assert!(Toolkit::new(name).is_none(), "{name}");
        }
        assert!(Toolkit::new("a-1").is_some() && Toolkit::new("a".repeat(32)).is_some());
        assert!(Toolkit::new("a".repeat(33)).is_none());
    }

    #[test]
    fn an_empty_condition_and_an_empty_glob_are_refused() {
        for (json, expected) in [
            ("{}", "an empty condition"),
            (r#"{"tool":""}"#, "invalid glob"),
        ] {
            let error = serde_json::from_str::<Condition>(json).expect_err(json);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
