//! The URLs that keys are fetched from: https, or http on loopback.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use http::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest URL, in bytes.
const URL_MAX: usize = 2_048;

/// An https URL, or an http URL of a loopback host, without user and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// As it was written: an issuer is compared byte by byte.
    text: String,
    uri: Uri,
}

impl Url {
    /// Reads a URL; says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > URL_MAX {
            return Err("a URL has at most 2048 bytes");
        }
        let uri: Uri = text.parse().map_err(|_| "not a URL")?;
        let authority = uri.authority().ok_or("not an absolute URL")?;
        if authority.as_str().contains('@') || text.contains('#') {
            return Err("a URL with user or fragment cannot be used here");
        }
        let url = Self {
            text: text.to_owned(),
            uri,
        };
        match url.uri.scheme_str() {
            Some("https") => Ok(url),
            Some("http") if url.is_loopback() => Ok(url),
            Some("http") => Err("http is only allowed on loopback; use https"),
            _ => Err("use https"),
        }
    }

    fn is_loopback(&self) -> bool {
        let host = self.host().trim_end_matches('.');
        let address = host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
        address || host.eq_ignore_ascii_case("localhost")
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the connection uses TLS.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Host name or address, without brackets.
    pub fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        let default = if self.is_https() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default)
    }

    /// Host and port as in the header `Host`.
    pub fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
    }

    /// Where an issuer's metadata may be, in the order of MCP's authorization: RFC 8414, `OpenID` Connect
    /// with the path behind the well-known part, and in front of it.
    pub(crate) fn metadata(&self) -> Vec<Self> {
        let origin = format!(
            "{}://{}",
            self.uri.scheme_str().unwrap_or("https"),
            self.authority()
        );
        let path = self.uri.path().trim_end_matches('/');
        let texts = [
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
            format!("{origin}/.well-known/openid-configuration{path}"),
            format!("{origin}{path}/.well-known/openid-configuration"),
        ];
        let mut urls: Vec<Self> = Vec::new();
        for url in texts.iter().filter_map(|text| Self::parse(text).ok()) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Url {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_and_loopback_are_allowed() {
        let url = Url::parse("https://id.example/keys?a=b").expect("a URL");
        assert_eq!(
            (url.host(), url.port(), url.target()),
            ("id.example", 443, "/keys?a=b")
        );
        let url = Url::parse("http://[::1]:81").expect("a URL");
        assert_eq!((url.host(), url.port(), url.target()), ("::1", 81, "/"));
        assert_eq!(url.authority(), "[::1]:81");
        assert!(
            Url::parse("http://localhost/").is_ok() && Url::parse("http://127.0.0.1:1/").is_ok()
        );
        for text in [
            "http://id.example/",
            "http://127.0.0.1.example/",
            "ftp://localhost/",
            "/keys",
            "",
            "https://a:b@id.example/",
            "https://id.example/#a",
            "https://id.example/ x",
            &format!("https://id.example/{}", "x".repeat(2_048)),
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn metadata_is_looked_for_in_order() {
        let urls = |text| {
            let urls = Url::parse(text).expect("a URL").metadata();
            urls.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let of_a = [
            "https://id.example/.well-known/oauth-authorization-server/a",
            "https://id.example/.well-known/openid-configuration/a",
            "https://id.example/a/.well-known/openid-configuration",
        ];
        assert_eq!(urls("https://id.example/a/"), of_a);
        let of_root = [
            "https://id.example/.well-known/oauth-authorization-server",
            "https://id.example/.well-known/openid-configuration",
        ];
        assert_eq!(urls("https://id.example"), of_root);
    }
}
