//! The option `resource` of a guard: the endpoint as a protected resource of OAuth (RFC 9728).

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_guard::jwt::Url;

/// What clients are told of the endpoint. `Debug` and the metadata have the same: nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Resource {
    /// URL of the endpoint as clients use it, such as `https://gate.example.com/mcp`: https, or http on
    /// loopback. It is also what clients ask tokens for, so the guard's `audience` should be the same. It
    /// is never taken from a request.
    #[serde(deserialize_with = "url")]
    pub(crate) url: Url,
    /// Issuers of the authorization servers. Absent: the issuer of the guard.
    #[serde(
        default,
        deserialize_with = "urls",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) authorization_servers: Vec<Url>,
    /// The scopes that a client asks for first: those without which nothing works. Scopes for more are
    /// named when a call needs them.
    #[serde(
        default,
        deserialize_with = "scopes",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) scopes: Vec<String>,
    /// Name of the endpoint, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// URL of a page about the endpoint, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) documentation: Option<Url>,
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let url = Url::deserialize(deserializer)?;
    // It is written between quotes in WWW-Authenticate, and a path follows its origin.
    if url.as_str().contains(['"', '\\', '?']) {
        return Err(de::Error::custom(
            "must be a URL without query, quotes and backslashes, as in https://gate.example.com/mcp",
        ));
    }
    Ok(url)
}

fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Url>, D::Error> {
    let urls = Vec::deserialize(deserializer)?;
    if urls.is_empty() {
        return Err(de::Error::custom(
            "names no authorization server; name one, or remove it to use the guard's issuer",
        ));
    }
    Ok(urls)
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let scopes = Vec::<String>::deserialize(deserializer)?;
    let is_valid = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    match scopes
        .iter()
        .find(|it| it.is_empty() || !it.bytes().all(is_valid))
    {
        Some(scope) => Err(de::Error::custom(format!(
            "invalid scope '{}'; a scope has no spaces, quotes and backslashes",
            scope.escape_debug()
        ))),
        None => Ok(scopes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_scopes_can_stand_in_a_header() {
        let read = |json: &str| serde_json::from_str::<Resource>(json).map_err(|it| it.to_string());
        assert!(read(r#"{ "url": "https://a.example/mcp", "scopes": ["a:b", "c"] }"#).is_ok());
        for (json, expected) in [
            (r#"{ "url": "http://a.example/mcp" }"#, "use https"),
            (r#"{ "url": "https://a.example/mcp?a=b" }"#, "without query"),
            (r#"{ "url": "https://a.example/m\"cp" }"#, "without query"),
            (
                r#"{ "url": "https://a.example/", "scopes": ["a b"] }"#,
                "invalid scope",
            ),
            (
                r#"{ "url": "https://a.example/", "scopes": [""] }"#,
                "invalid scope",
            ),
            (
                r#"{ "url": "https://a.example/", "authorizationServers": [] }"#,
                "names no auth",
            ),
            ("{}", "missing field"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }
}
