//! `guarded`: which callers are permitted.
//!
//! `guarded: { staff: [operator], partners: [] }` permits an identity of the guard `staff` that has the
//! role `operator`, and every identity of the guard `partners`. One entry suffices; of an entry, all
//! roles are needed. An anonymous caller is never permitted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_streams::Identity;

/// The callers that are permitted: for each guard, the roles that its identities need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Guarded(BTreeMap<String, Vec<String>>);

impl Guarded {
    /// Returns `None` without entries: nobody could be permitted.
    pub fn new(entries: impl IntoIterator<Item = (String, Vec<String>)>) -> Option<Self> {
        let entries: BTreeMap<_, _> = entries.into_iter().collect();
        (!entries.is_empty()).then_some(Self(entries))
    }

    /// Whether a caller is permitted.
    pub fn permits(&self, caller: Option<&Identity>) -> bool {
        caller.is_some_and(|caller| {
            self.roles(caller)
                .is_some_and(|roles| roles.iter().all(|role| caller.has_role(role)))
        })
    }

    /// The roles that a caller needs; `None` if no role would permit it, because it was authenticated
    /// by another guard.
    pub fn roles(&self, caller: &Identity) -> Option<&[String]> {
        self.0.get(&*caller.guard).map(Vec::as_slice)
    }

    /// The scopes that would permit a caller that lacks some of them and can ask for them. They are all
    /// that are needed, including those it has, because a client asks for them at once.
    pub fn step_up(&self, caller: &Identity) -> Option<&[String]> {
        let roles = self.roles(caller).filter(|_| caller.step_up)?;
        let lacks = roles.iter().any(|role| !caller.has_role(role));
        lacks.then_some(roles)
    }

    /// Whether it names a guard.
    pub fn names(&self, guard: &str) -> bool {
        self.0.contains_key(guard)
    }

    /// Its guards, for the check that they exist. `path` leads to it.
    pub fn references(&self, path: &[&str]) -> Vec<GuardReference> {
        let reference = |guard: &String| {
            let steps = path.iter().copied().chain([guard.as_str()]);
            GuardReference {
                guard: guard.clone(),
                path: steps.map(str::to_owned).collect(),
            }
        };
        self.0.keys().map(reference).collect()
    }
}

impl fmt::Display for Guarded {
    /// As it is written in the config: `{ staff: [operator] }`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (guard, roles)) in self.0.iter().enumerate() {
            let before = if index > 0 { "," } else { "{" };
            write!(f, "{before} {guard}: [{}]", roles.join(", "))?;
        }
        f.write_str(" }")
    }
}

/// A guard that a binding refers to, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardReference {
    /// Name of the guard.
    pub guard: String,
    /// Keys and indexes that lead to the reference.
    pub path: Vec<String>,
}

impl<'de> Deserialize<'de> for Guarded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = BTreeMap::deserialize(deserializer)?;
        Self::new(entries).ok_or_else(|| {
            de::Error::custom(
                "'guarded' names no guard, so nobody would be permitted; name one, as in \
                 guarded: { staff: [operator] }, or remove 'guarded' to permit everybody",
            )
        })
    }
}

impl JsonSchema for Guarded {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Guarded".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": { "type": "array", "items": { "type": "string" } },
            "description": "Who is permitted: for each guard, the roles that its identities need. One \
                            guard suffices; of a guard, all roles are needed. An empty list permits \
                            every identity of the guard. Absent: everybody.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(json: &str) -> Guarded {
        serde_json::from_str(json).expect("guarded")
    }

    fn identity(guard: &str, roles: &[&str]) -> Identity {
        Identity {
            subject: "alice".into(),
            guard: guard.into(),
            roles: roles.iter().map(|role| (*role).into()).collect(),
            ..Identity::default()
        }
    }

    #[test]
    fn one_guard_suffices_and_of_a_guard_all_roles_are_needed() {
        let guarded = guarded(r#"{"staff":["operator","night"],"partners":[]}"#);
        let permits = |guard, roles| guarded.permits(Some(&identity(guard, roles)));
        assert!(permits("staff", &["night", "x", "operator"]));
        assert!(!permits("staff", &["operator"]));
        assert!(permits("partners", &[]));
        assert!(!permits("", &["operator", "night"]));
        assert!(!permits("other", &["operator", "night"]));
        assert!(!guarded.permits(None));
    }

    #[test]
    fn the_scopes_are_those_of_the_callers_guard_and_only_if_it_can_ask_for_them() {
        let guarded = guarded(r#"{"staff":["operator","night"],"partners":[]}"#);
        let step_up = |guard, roles: &[&str], step_up| {
            let caller = Identity {
                step_up,
                ..identity(guard, roles)
            };
            guarded.step_up(&caller).map(<[String]>::to_vec)
        };
        let scopes = vec!["operator".to_owned(), "night".to_owned()];
        assert_eq!(step_up("staff", &["night"], true), Some(scopes));
        assert_eq!(step_up("staff", &["night"], false), None);
        assert_eq!(step_up("staff", &["night", "operator"], true), None);
        assert_eq!(step_up("partners", &[], true), None);
        assert_eq!(step_up("other", &[], true), None);
    }

    #[test]
    fn without_a_guard_nobody_would_be_permitted() {
        let error = serde_json::from_str::<Guarded>("{}").expect_err("empty");
        assert!(error.to_string().contains("'guarded' names no guard"));
        assert!(serde_json::from_str::<Guarded>(r#"{"staff":"operator"}"#).is_err());
    }

    #[test]
    fn references_lead_to_the_guard() {
        let guarded = guarded(r#"{"b":[],"a":["x"]}"#);
        assert_eq!(guarded.to_string(), "{ a: [x], b: [] }");
        let paths: Vec<String> = guarded
            .references(&["publish", "0", "guarded"])
            .into_iter()
            .map(|reference| format!("{}={}", reference.path.join("."), reference.guard))
            .collect();
        assert_eq!(paths, ["publish.0.guarded.a=a", "publish.0.guarded.b=b"]);
    }
}
