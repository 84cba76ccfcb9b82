//! The option `accessControl`: cross-origin requests of browsers (CORS).

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_options::OptionConflict;

/// Any origin.
pub(crate) const ANY: &str = "*";

/// Cross-origin requests of browsers. Pages of every allowed origin may send requests and read the
/// responses: of `origins`, of `allowedOrigins`, and on a loopback address of this machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AccessControl {
    /// Allowed origins, in addition to `allowedOrigins`; `*` allows all.
    #[schemars(extend("examples" = [["https://app.example.com"]]))]
    pub origins: Vec<String>,
    /// Methods that pages may use.
    #[serde(deserialize_with = "methods")]
    pub methods: Vec<String>,
    /// Headers that pages may send.
    #[serde(deserialize_with = "names")]
    pub headers: Vec<String>,
    /// Response headers that pages may read.
    #[serde(deserialize_with = "names")]
    pub exposed_headers: Vec<String>,
    /// How long browsers may remember the answer to a preflight request, in seconds.
    pub max_age: u32,
    /// Whether pages may send cookies and client certificates.
    pub credentials: bool,
}

impl Default for AccessControl {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            origins: Vec::new(),
            methods: owned(&["GET", "POST", "DELETE"]),
            headers: owned(&[
                "Accept",
                "Authorization",
                "Content-Type",
                "Last-Event-ID",
                "Mcp-Method",
                "Mcp-Name",
                "MCP-Protocol-Version",
                "Mcp-Session-Id",
                "X-API-Key",
            ]),
            exposed_headers: owned(&[
                "Mcp-Session-Id",
                "MCP-Protocol-Version",
                "Retry-After",
                "WWW-Authenticate",
            ]),
            max_age: 3_600,
            credentials: false,
        }
    }
}

impl AccessControl {
    pub(super) fn conflict(&self) -> Option<OptionConflict> {
        let any = self.origins.iter().any(|origin| origin == ANY);
        (any && self.credentials).then(|| OptionConflict {
            key: "accessControl",
            message: "'credentials' with the origin '*' would let every site act for its visitors"
                .to_owned(),
            help: "list the origins, or remove 'credentials'".to_owned(),
        })
    }
}

fn methods<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    valid(deserializer, "method", |text| {
        Method::from_bytes(text.as_bytes()).is_ok()
    })
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    valid(deserializer, "header name", |text| {
        HeaderName::from_bytes(text.as_bytes()).is_ok()
    })
}

fn valid<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    is_valid: fn(&str) -> bool,
) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(deserializer)?;
    match list.iter().find(|text| !is_valid(text)) {
        Some(text) => Err(serde::de::Error::custom(format!("invalid {what} '{text}'"))),
        None => Ok(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_need_named_origins() {
        let read = |json: &str| serde_json::from_str::<AccessControl>(json).expect("valid");
        let named = read(r#"{ "origins": ["https://a.example"], "credentials": true }"#);
        assert!(named.conflict().is_none());
        let any = read(r#"{ "origins": ["*"] }"#);
        assert!(any.conflict().is_none());
        let both = read(r#"{ "origins": ["*"], "credentials": true }"#);
        assert!(both.conflict().is_some());
    }

    #[test]
    fn methods_and_headers_are_tokens() {
        for json in [r#"{ "methods": ["GE T"] }"#, r#"{ "headers": ["a: b"] }"#] {
            assert!(
                serde_json::from_str::<AccessControl>(json).is_err(),
                "{json}"
            );
        }
    }
}
