//! The option `authorization`: who may send requests, and where credentials are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_options::{GuardReference, OptionConflict, OptionWarning};

use super::pattern::Pattern;
use super::resource::Resource;

/// Headers that say something else.
const RESERVED: &[&str] = &[
    "accept",
    "connection",
    "expect",
    "host",
    "last-event-id",
    "origin",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The guards that a client is checked by, in the order of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization(Vec<(String, Asked)>);

/// How one guard is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Asked {
    /// Where credentials for this guard are. Absent, it follows from the type of the guard: keys in
    /// `Authorization: Bearer` or `X-API-Key`, tokens in `Authorization: Bearer`, client certificates in
    /// the TLS connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<Credentials>,
    /// Announces the endpoint as a protected resource of OAuth (RFC 9728), so that clients find the
    /// authorization server. For a guard of tokens; at most one guard has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<Resource>,
}

/// Where credentials are. A request has them in one of these places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Credentials {
    /// Headers, and what is around the credential in them: `authorization: "Bearer {credentials}"`.
    #[serde(
        deserialize_with = "headers",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(extend("examples" = [{ "authorization": "Bearer {credentials}" }]))]
    pub(crate) headers: BTreeMap<String, Pattern>,
    /// Parameters of the query, such as `api_key: "{credentials}"`. URLs are logged by proxies and kept by
    /// browsers, so use headers where the client can send them.
    #[serde(deserialize_with = "query", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) query: BTreeMap<String, Pattern>,
    /// Whether the credential is the client certificate of the TLS connection.
    pub(crate) certificates: bool,
}

impl Credentials {
    /// A key: `Authorization: Bearer`, or `X-API-Key`.
    pub(crate) fn of_keys() -> Self {
        let mut credentials = Self::of_tokens();
        let bare = Pattern::bare();
        credentials.headers.insert("x-api-key".to_owned(), bare);
        credentials
    }

    /// A token: `Authorization: Bearer`.
    pub(crate) fn of_tokens() -> Self {
        let bearer = ("authorization".to_owned(), Pattern::bearer());
        Self {
            headers: BTreeMap::from([bearer]),
            ..Self::default()
        }
    }

    /// The client certificate.
    pub(crate) fn of_certificates() -> Self {
        Self {
            certificates: true,
            ..Self::default()
        }
    }

    fn is_nowhere(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty() && !self.certificates
    }
}

impl Authorization {
    /// The guards, first to last.
    pub(crate) fn guards(&self) -> impl Iterator<Item = (&str, &Asked)> {
        self.0.iter().map(|(guard, asked)| (guard.as_str(), asked))
    }

    pub(super) fn references(&self) -> Vec<GuardReference> {
        let reference = |(guard, _): &(String, Asked)| GuardReference {
            guard: guard.clone(),
            path: vec!["authorization".to_owned(), guard.clone()],
        };
        self.0.iter().map(reference).collect()
    }

    pub(super) fn warnings(&self) -> Vec<OptionWarning> {
        let in_query = |(_, asked): &&(String, Asked)| {
            let credentials = asked.credentials.as_ref();
            credentials.is_some_and(|credentials| !credentials.query.is_empty())
        };
        let warning = |(guard, _): &(String, Asked)| OptionWarning {
            key: "authorization",
            message: format!(
                "credentials for '{guard}' in the query of URLs, which proxies log and browsers keep"
            ),
            help: "use a header, if the client can send one".to_owned(),
        };
        self.0.iter().filter(in_query).map(warning).collect()
    }

    pub(super) fn conflicts(&self) -> Vec<OptionConflict> {
        let conflict = |message: String, help: &str| OptionConflict {
            key: "authorization",
            message,
            help: help.to_owned(),
        };
        let mut conflicts = Vec::new();
        for (guard, asked) in &self.0 {
            if asked
                .credentials
                .as_ref()
                .is_some_and(Credentials::is_nowhere)
            {
                conflicts.push(conflict(
                    format!("'credentials' of '{guard}' names no place"),
                    "name a header, as in headers: { authorization: \"Bearer {credentials}\" }, or \
                     remove 'credentials' to use the places of the guard's type",
                ));
            }
        }
        let resources = self.0.iter().filter(|(_, asked)| asked.resource.is_some());
        if resources.count() > 1 {
            conflicts.push(conflict(
                "several guards have a 'resource', but the endpoint is one resource".to_owned(),
                "keep one, and list the issuers of the others in its 'authorizationServers'",
            ));
        }
        conflicts
    }
}

impl Serialize for Authorization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (guard, asked) in &self.0 {
            map.serialize_entry(guard, asked)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Authorization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Keeps the order of the config: the first guard that accepts decides.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Authorization;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("guards, as in authorization: { staff: {} }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Authorization, A::Error> {
        let mut guards: Vec<(String, Asked)> = Vec::new();
        while let Some((guard, asked)) = map.next_entry::<String, Option<Asked>>()? {
            if guards.iter().any(|(known, _)| *known == guard) {
                return Err(A::Error::custom(format!("names guard '{guard}' twice")));
            }
            guards.push((guard, asked.unwrap_or_default()));
        }
        if guards.is_empty() {
            return Err(A::Error::custom(
                "names no guard; name one, as in authorization: { staff: {} }, or remove it",
            ));
        }
        Ok(Authorization(guards))
    }
}

impl JsonSchema for Authorization {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Authorization".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": generator.subschema_for::<Asked>(),
        })
    }
}

fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Pattern>, D::Error> {
    let named = BTreeMap::<String, Pattern>::deserialize(deserializer)?;
    let mut headers = BTreeMap::new();
    for (name, pattern) in named {
        let name = name.to_ascii_lowercase();
        let valid = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !valid || name.starts_with("content-") || name.starts_with("mcp-") {
            return Err(D::Error::custom(format!(
                "invalid header '{name}' for credentials"
            )));
        }
        if RESERVED.contains(&name.as_str()) {
            let message = format!("header '{name}' cannot have credentials");
            return Err(D::Error::custom(message));
        }
        if headers.insert(name.clone(), pattern).is_some() {
            return Err(D::Error::custom(format!("header '{name}' occurs twice")));
        }
    }
    Ok(headers)
}

fn query<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Pattern>, D::Error> {
    let query = BTreeMap::<String, Pattern>::deserialize(deserializer)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match query
        .keys()
        .find(|name| name.is_empty() || !name.bytes().all(is_plain))
    {
        Some(name) => Err(D::Error::custom(format!(
            "invalid parameter '{name}'; use letters, digits, '-', '.', '_' and '~'"
        ))),
        None => Ok(query),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Authorization {
        serde_json::from_str(json).expect("valid")
    }

    fn error(json: &str) -> String {
        let error = serde_json::from_str::<Authorization>(json).expect_err(json);
        error.to_string()
    }

    #[test]
    fn guards_keep_their_order_and_may_say_nothing() {
        let read =
            read(r#"{ "z": {}, "a": null, "m": { "credentials": { "certificates": true } } }"#);
        let names: Vec<&str> = read.guards().map(|(name, _)| name).collect();
        assert_eq!(names, ["z", "a", "m"]);
        let paths: Vec<String> = read
            .references()
            .iter()
            .map(|it| it.path.join("."))
            .collect();
        assert_eq!(
            paths,
            ["authorization.z", "authorization.a", "authorization.m"]
        );
        assert!(read.warnings().is_empty() && read.conflicts().is_empty());
    }

    #[test]
    fn headers_are_known_by_their_lower_case_and_reserved_ones_are_refused() {
        let read =
            read(r#"{ "a": { "credentials": { "headers": { "X-Key": "{credentials}" } } } }"#);
        let (_, asked) = read.guards().next().expect("a guard");
        let credentials = asked.credentials.as_ref().expect("credentials");
        assert!(credentials.headers.contains_key("x-key"));
        for header in ["Host", "content-type", "Mcp-Name", "a b", ""] {
            let json = format!(
                r#"{{ "a": {{ "credentials": {{ "headers": {{ "{header}": "{{credentials}}" }} }} }} }}"#
            );
            assert!(error(&json).contains("header"), "{header}");
        }
        let twice = r#"{ "a": { "credentials": { "headers": {
            "x-key": "{credentials}", "X-Key": "{credentials}" } } } }"#;
        assert!(error(twice).contains("occurs twice"));
    }

    #[test]
    fn no_guard_the_same_guard_twice_and_odd_parameters_are_refused() {
        assert!(error("{}").contains("names no guard"));
        assert!(error(r#"{ "a": {}, "a": {} }"#).contains("twice"));
        let json = r#"{ "a": { "credentials": { "query": { "a=b": "{credentials}" } } } }"#;
        assert!(error(json).contains("invalid parameter"));
        assert!(error(r#"{ "a": { "key": 1 } }"#).contains("unknown field"));
    }

    #[test]
    fn a_query_is_warned_of_and_credentials_have_a_place() {
        let read_all =
            read(r#"{ "a": { "credentials": { "query": { "api_key": "{credentials}" } } } }"#);
        let [warning] = &read_all.warnings()[..] else {
            panic!("one warning");
        };
        assert!(warning.message.contains("'a' in the query"));
        let [conflict] = &read(r#"{ "a": { "credentials": {} } }"#).conflicts()[..] else {
            panic!("one conflict");
        };
        assert!(conflict.message.contains("names no place"));
        let resource = r#"{ "resource": { "url": "https://a.example/mcp" } }"#;
        let two = read(&format!(r#"{{ "a": {resource}, "b": {resource} }}"#));
        assert!(two.conflicts()[0].message.contains("several guards"));
    }
}
