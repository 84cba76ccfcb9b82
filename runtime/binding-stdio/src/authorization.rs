//! Who the client is: the credential in the config, since a child process gets it from its environment.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_options::GuardReference;

/// A guard and the credential that it checks at start. Neither `Debug` nor `Serialize` has the
/// credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    guard: String,
    credentials: String,
}

impl Authorization {
    /// Name of the guard.
    pub fn guard(&self) -> &str {
        &self.guard
    }

    /// The credential, a secret.
    pub fn credentials(&self) -> &str {
        &self.credentials
    }

    pub(crate) fn reference(&self) -> GuardReference {
        GuardReference {
            guard: self.guard.clone(),
            path: vec!["authorization".to_owned(), self.guard.clone()],
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorization({})", self.guard)
    }
}

impl Serialize for Authorization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.guard, &())?;
        map.end()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Presented {
    credentials: String,
}

impl<'de> Deserialize<'de> for Authorization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneGuard)
    }
}

struct OneGuard;

impl<'de> Visitor<'de> for OneGuard {
    type Value = Authorization;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one guard with its credentials, as in staff: { credentials: … }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Authorization, A::Error> {
        let first = map.next_entry::<String, Presented>()?;
        let (guard, presented) = first.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom(
                "names several guards; the client has one identity, so name one guard",
            ));
        }
        Ok(Authorization {
            guard,
            credentials: presented.credentials,
        })
    }
}

impl JsonSchema for Authorization {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Authorization".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["credentials"],
                "additionalProperties": false,
                "properties": {
                    "credentials": {
                        "type": "string",
                        "description": "The credential: a key, or a token.",
                    },
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_options::Options as _;

    use crate::Options;

    #[test]
    fn one_guard_has_the_credential_which_no_text_has() {
        let json = r#"{"authorization":{"staff":{"credentials":"sesame"}}}"#;
        let options: Options = serde_json::from_str(json).expect("options");
        let authorization = options.authorization.clone().expect("authorization");
        assert_eq!(
            (authorization.guard(), authorization.credentials()),
            ("staff", "sesame")
        );
        let texts = [
            format!("{options:?}"),
            serde_json::to_string(&options).expect("JSON"),
        ];
        assert!(
            texts.iter().all(|text| !text.contains("sesame")),
            "{texts:?}"
        );
        let [reference] = options.guards().try_into().expect("one guard");
        assert_eq!(reference.guard, "staff");
        assert_eq!(reference.path, ["authorization", "staff"]);
        assert!(Options::default().guards().is_empty());
    }

    #[test]
    fn none_several_and_other_keys_are_refused() {
        for (json, error) in [
            ("{}", "one guard with its credentials"),
            (
                r#"{"a":{"credentials":"x"},"b":{"credentials":"y"}}"#,
                "names several guards",
            ),
            (r#"{"a":{"credential":"x"}}"#, "unknown field"),
            (r#"{"a":{}}"#, "missing field"),
        ] {
            let json = format!(r#"{{"authorization":{json}}}"#);
            let found = serde_json::from_str::<Options>(&json).expect_err(error);
            assert!(found.to_string().contains(error), "{found}");
        }
    }
}
