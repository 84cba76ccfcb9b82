//! The options of `ws · client`.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderName, HeaderValue, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_options::Bounded;

/// Longest path, in bytes.
const PATH_MAX: usize = 8 * 1024;
/// Most header fields.
const FIELDS_MAX: usize = 32;
/// Longest value of a header field, in bytes.
const VALUE_MAX: usize = 8 * 1024;

/// The options of `ws · client`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Path of the WebSocket listener, with its query.
    #[serde(deserialize_with = "path")]
    #[schemars(example = &"/mqtt")]
    pub path: String,
    /// Value of the header field Host. Absent: host and port of the exit, without port 80 or 443.
    #[serde(deserialize_with = "host", skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further header fields of the request, such as credentials for a reverse proxy. The values are
    /// never logged.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    #[schemars(extend("examples" = [{ "authorization": "${{env.PROXY_CREDENTIALS}}" }]))]
    pub headers: Headers,
    /// Subprotocol to ask for; the server must agree to it.
    #[serde(deserialize_with = "subprotocol")]
    pub subprotocol: String,
    /// Timeout for the answer on an open connection, in milliseconds.
    pub handshake_timeout: Bounded<1, 600_000>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: "/mqtt".to_owned(),
            host: None,
            headers: Headers::default(),
            subprotocol: "mqtt".to_owned(),
            handshake_timeout: Bounded::of(4_000),
        }
    }
}

impl tidegate_options::Options for Options {}

/// Header fields, in source order. `Debug` and `Serialize` do not reveal the values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| (name, "…"));
        f.debug_map().entries(names).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, _)| (name, "…")))
    }
}

impl JsonSchema for Headers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WebSocketHeaders".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "string", "maxLength": VALUE_MAX },
            "maxProperties": FIELDS_MAX,
        })
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> de::Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of header names to texts")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            if headers.len() == FIELDS_MAX {
                let why = format!("too many header fields; use at most {FIELDS_MAX}");
                return Err(de::Error::custom(why));
            }
            check_field(&name, &value).map_err(de::Error::custom)?;
            headers.push((name, value));
        }
        Ok(Headers(headers))
    }
}

/// The error does not repeat the value, which may be a credential.
fn check_field(name: &str, value: &str) -> Result<(), String> {
    let Ok(parsed) = HeaderName::try_from(name) else {
        return Err("invalid header name; use letters, digits and '-'".to_owned());
    };
    let own = [
        "host",
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
    ];
    if own.contains(&parsed.as_str()) || parsed.as_str().starts_with("sec-websocket-") {
        return Err(format!(
            "'{name}' is set by ws · client; remove it ('host' and 'subprotocol' are options)"
        ));
    }
    if value.len() > VALUE_MAX || !is_visible(value) {
        return Err(format!(
            "invalid value of '{name}'; use at most {VALUE_MAX} visible ASCII characters and spaces"
        ));
    }
    Ok(())
}

fn is_visible(value: &str) -> bool {
    value.is_ascii() && HeaderValue::try_from(value).is_ok()
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    match check_path(&path) {
        Ok(()) => Ok(path),
        Err(why) => Err(de::Error::custom(why)),
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.contains('#') {
        return Err("invalid path: '#' begins a fragment, which is not sent; write %23");
    }
    let valid = path.starts_with('/') && path.len() <= PATH_MAX && path.parse::<Uri>().is_ok();
    valid.then_some(()).ok_or(
        "invalid path; use '/' and at most 8192 bytes, with other characters than those of URLs as %XX",
    )
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let host = Option::<String>::deserialize(deserializer)?;
    match &host {
        Some(host) if host.parse::<http::uri::Authority>().is_err() || host.contains('@') => {
            Err(de::Error::custom(
                "invalid host; use a host name or address, e.g. broker.example.com:8083",
            ))
        }
        _ => Ok(host),
    }
}

fn subprotocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let subprotocol = String::deserialize(deserializer)?;
    // A subprotocol is a token, as a header name is.
    if HeaderName::try_from(&subprotocol).is_err() {
        let why = "invalid subprotocol; use letters, digits, '.' and '-', e.g. mqtt";
        return Err(de::Error::custom(why));
    }
    Ok(subprotocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Options, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_mqtt() {
        let options = read("{}").expect("all is optional");
        assert_eq!((&*options.path, &*options.subprotocol), ("/mqtt", "mqtt"));
        assert_eq!(options.handshake_timeout.get(), 4_000);
    }

    #[test]
    fn invalid_values_are_rejected_with_a_hint() {
        let many: Vec<String> = (0..=FIELDS_MAX).map(|n| format!("\"a{n}\":\"\"")).collect();
        let many = format!(r#"{{"headers":{{{}}}}}"#, many.join(","));
        let long = format!(r#"{{"path":"/{}"}}"#, "a".repeat(PATH_MAX));
        for (json, expected) in [
            (r#"{"path":"mqtt"}"#, "use '/'"),
            (r#"{"path":"/a b"}"#, "as %XX"),
            (r#"{"path":"/a#b"}"#, "write %23"),
            (r#"{"path":"/a\r\nX: y"}"#, "as %XX"),
            (&long, "at most 8192 bytes"),
            (r#"{"host":"a b"}"#, "invalid host"),
            (r#"{"host":"user@broker"}"#, "invalid host"),
            (r#"{"subprotocol":"a b"}"#, "invalid subprotocol"),
            (r#"{"headers":{"a b":"c"}}"#, "invalid header name"),
            (r#"{"headers":{"Host":"c"}}"#, "is set by ws · client"),
            (r#"{"headers":{"Sec-WebSocket-Key":"c"}}"#, "is set by ws"),
            (r#"{"headers":{"a":"b\r\nc: d"}}"#, "invalid value of 'a'"),
            (r#"{"headers":{"a":"é"}}"#, "invalid value of 'a'"),
            (&many, "use at most 32"),
            (r#"{"handshakeTimeout":0}"#, "use 1 to 600000"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_values_of_headers_are_never_shown() {
        let options = read(r#"{"headers":{"Authorization":"secret"}}"#).expect("valid");
        assert_eq!(
            options.headers.iter().next(),
            Some(("Authorization", "secret"))
        );
        assert!(!format!("{options:?}").contains("secret"));
        let json = serde_json::to_string(&options).expect("serializes");
        assert!(
            json.contains("Authorization") && !json.contains("secret"),
            "{json}"
        );
    }
}
