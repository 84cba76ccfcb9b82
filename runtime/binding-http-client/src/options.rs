//! The options of `http · client`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Uri};
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, OptionConflict, OptionWarning};
use tidegate_tls::Version;

/// Most headers of `headers`.
const HEADERS_MAX: usize = 64;

/// The options of `http · client`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Options {
    /// Host name or IP address of the server.
    #[serde(deserialize_with = "host")]
    #[schemars(example = &"tools.example.com")]
    pub host: String,
    /// Port of the server. Absent: 443 with `tls`, 80 without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Bounded<1, 65_535>>,
    /// Encrypts the connections with TLS. Absent: they are not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Headers that each request gets, such as an API key: `{ x-api-key: "${{env.KEY}}" }`.
    #[serde(default, deserialize_with = "headers")]
    pub headers: BTreeMap<String, String>,
    /// What the gateway authorizes itself with: the header `Authorization` of each request. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// The proxy that connections go through: `environment` is the one that `HTTPS_PROXY`, `HTTP_PROXY` or
    /// `ALL_PROXY` names, unless `NO_PROXY` exempts the host or it is this machine (`localhost`, 127.0.0.0/8,
    /// `::1`); `none` is none.
    #[serde(default)]
    pub proxy: ProxyChoice,
    /// Time to open a connection, with its proxy and TLS, in milliseconds.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Bounded<1, 600_000>,
    /// Time after which an unused connection is closed, in milliseconds.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Bounded<1, 86_400_000>,
    /// Maximum number of connections in use, for each worker. Further requests wait. A stream of events that
    /// stays open takes one; such streams take three quarters of the connections at most, and a further one
    /// is refused.
    #[serde(default = "max_connections")]
    pub max_connections: Bounded<1, 100_000>,
    /// Maximum number of requests that wait for a connection, for each worker. A further one is refused.
    #[serde(default = "max_pending")]
    pub max_pending: Bounded<0, 1_000_000>,
    /// Maximum size of the body of a request, in bytes. A larger one is refused.
    #[serde(default = "max_body_size")]
    pub max_body_size: Bounded<1_024, 1_073_741_824>,
}

/// TLS towards the server.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Tls {
    /// File with the certificates of the authorities that sign the certificate of the server, in PEM.
    /// Absent: the authorities that the system trusts. Files are read at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<PathBuf>,
    /// File with the certificate that the gateway presents and its chain, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// File with the private key of the certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Host name that the certificate of the server must be for. Absent: `host`.
    #[serde(deserialize_with = "name", skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Lowest TLS version to accept.
    pub min_version: Version,
}

/// What the gateway authorizes itself with; one of its members.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Authorization {
    /// A token that does not change: `bearer: "${{env.TOKEN}}"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<String>,
    /// File with a token. It is read again when a token is older than ten seconds, or not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Tokens of an authorization server, by the OAuth 2.1 grant `client_credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ClientCredentials>,
}

/// How the gateway gets tokens from an authorization server. A token is used until shortly before it
/// expires.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClientCredentials {
    /// URL of the token endpoint, which must be https unless the host is loopback.
    #[serde(deserialize_with = "token_url")]
    pub token_url: String,
    /// The client that the gateway is there.
    pub client_id: String,
    /// Its secret: `"${{env.SECRET}}"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// File with its secret, instead of `clientSecret`. It is read for each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// The scopes to ask for. Empty: those that the authorization server chooses.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// URL of the server that the token is for (RFC 8707). Absent: it is not stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// Which proxy connections go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProxyChoice {
    /// The one that the environment names.
    #[default]
    Environment,
    /// None.
    None,
}

const fn connect_timeout() -> Bounded<1, 600_000> {
    Bounded::of(5_000)
}

const fn idle_timeout() -> Bounded<1, 86_400_000> {
    Bounded::of(60_000)
}

const fn max_connections() -> Bounded<1, 100_000> {
    Bounded::of(256)
}

const fn max_pending() -> Bounded<0, 1_000_000> {
    Bounded::of(1_024)
}

const fn max_body_size() -> Bounded<1_024, 1_073_741_824> {
    Bounded::of(16 * 1024 * 1024)
}

impl Options {
    /// The port.
    pub(crate) fn port(&self) -> u16 {
        let default = if self.tls.is_some() { 443 } else { 80 };
        self.port
            .map_or(default, |port| u16::try_from(port.get()).unwrap_or(default))
    }

    /// Host and port, without the port that the scheme implies.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let implied = if self.tls.is_some() { 443 } else { 80 };
        match self.port() {
            port if port == implied => host,
            port => format!("{host}:{port}"),
        }
    }

    /// `http` or `https`.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

impl tidegate_options::Options for Options {
    fn conflicts(&self) -> Vec<OptionConflict> {
        let mut conflicts = Vec::new();
        let mut conflict = |key: &'static str, message: &str, help: &str| {
            conflicts.push(OptionConflict {
                key,
                message: message.to_owned(),
                help: help.to_owned(),
            });
        };
        if let Some(tls) = &self.tls
            && tls.certificate.is_some() != tls.key.is_some()
        {
            let help = "set both 'certificate' and 'key', or none of them";
            conflict("tls", "a certificate needs its key", help);
        }
        if let Some(authorization) = &self.authorization {
            let given = [
                authorization.bearer.is_some(),
                authorization.file.is_some(),
                authorization.client_credentials.is_some(),
            ];
            if given.iter().filter(|given| **given).count() != 1 {
                let help = "use one of 'bearer', 'file' and 'clientCredentials'";
                conflict("authorization", "there must be one way to authorize", help);
            }
            let header = self.headers.keys();
            if header
                .into_iter()
                .any(|name| name.eq_ignore_ascii_case("authorization"))
            {
                let help = "remove the header, or 'authorization'";
                conflict("headers", "'authorization' sets this header", help);
            }
            if let Some(of) = &authorization.client_credentials
                && of.client_secret.is_some() == of.client_secret_file.is_some()
            {
                let help = "use one of 'clientSecret' and 'clientSecretFile'";
                conflict("authorization", "the client needs one secret", help);
            }
        }
        conflicts
    }

    fn warnings(&self) -> Vec<OptionWarning> {
        let has_secret = self.authorization.is_some() || !self.headers.is_empty();
        if self.tls.is_some() || !has_secret || is_loopback(&self.host) {
            return Vec::new();
        }
        vec![OptionWarning {
            key: "host",
            message: "credentials are sent over a connection that is not encrypted".to_owned(),
            help: "add 'tls: {}'".to_owned(),
        }]
    }
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let host = String::deserialize(deserializer)?;
    match ServerName::try_from(host.as_str()) {
        Ok(_) => Ok(host),
        Err(_) => Err(de::Error::custom(
            "invalid host; use a host name or an IP address without scheme, port and path, e.g. tools.example.com",
        )),
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    match ServerName::try_from(name.as_str()) {
        Ok(_) => Ok(Some(name)),
        Err(_) => Err(de::Error::custom(
            "invalid host name; use a name as in the server's certificate, e.g. tools.example.com",
        )),
    }
}

/// Headers that the protocol itself sets.
const OWN: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "accept",
    "content-type",
    "mcp-session-id",
    "mcp-protocol-version",
    "expect",
];

fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let headers = BTreeMap::<String, String>::deserialize(deserializer)?;
    if headers.len() > HEADERS_MAX {
        let why = format!("too many headers; use at most {HEADERS_MAX}");
        return Err(de::Error::custom(why));
    }
    for (name, value) in &headers {
        let own = OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
        if HeaderName::try_from(name.as_str()).is_err() || own {
            let why = format!("'{name}' cannot be set as a header");
            return Err(de::Error::custom(why));
        }
        // The value may be a secret, and is not repeated.
        if HeaderValue::try_from(value.as_str()).is_err() {
            let why = format!("the value of '{name}' has characters that a header cannot have");
            return Err(de::Error::custom(why));
        }
    }
    Ok(headers)
}

fn token_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let uri: Option<Uri> = text.parse().ok();
    let valid = uri.is_some_and(|uri| {
        let host = uri.host().unwrap_or_default();
        let plain = uri.scheme_str() == Some("http") && is_loopback(host);
        !host.is_empty() && !text.contains('@') && (uri.scheme_str() == Some("https") || plain)
    });
    if valid {
        Ok(text)
    } else {
        Err(de::Error::custom(
            "invalid URL of a token endpoint; use https://HOST/PATH, or http:// on a loopback address",
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_options::Options as _;

    use super::*;

    fn read(options: Value) -> Result<Options, String> {
        serde_json::from_value(options).map_err(|error| error.to_string())
    }

    #[test]
    fn the_port_is_that_of_the_scheme() {
        for (options, port, authority) in [
            (json!({ "host": "a" }), 80, "a"),
            (json!({ "host": "a", "tls": {} }), 443, "a"),
            (json!({ "host": "::1", "port": 8080 }), 8080, "[::1]:8080"),
            (json!({ "host": "a", "port": 443 }), 443, "a:443"),
        ] {
            let options = read(options).expect("valid");
            assert_eq!((options.port(), &*options.authority()), (port, authority));
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_its_secret() {
        for (options, why) in [
            (json!({ "host": "http://a" }), "invalid host"),
            (json!({ "host": "" }), "invalid host"),
            (
                json!({ "host": "a", "headers": { "Host": "b" } }),
                "'Host' cannot be set",
            ),
            (
                json!({ "host": "a", "headers": { "x": "secret\n" } }),
                "the value of 'x'",
            ),
            (
                json!({ "host": "a", "authorization": { "clientCredentials": {
                    "tokenUrl": "http://b/token", "clientId": "c" } } }),
                "token endpoint",
            ),
        ] {
            let error = read(options).expect_err(why);
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn there_is_one_way_to_authorize() {
        let conflicts = |options: Value| -> Vec<&str> {
            let options = read(options).expect("readable");
            options.conflicts().iter().map(|it| it.key).collect()
        };
        let both = json!({ "host": "a", "authorization": { "bearer": "x", "file": "y" } });
        assert_eq!(conflicts(both), ["authorization"]);
        let header = json!({ "host": "a", "headers": { "Authorization": "x" }, "authorization": { "bearer": "x" } });
        assert_eq!(conflicts(header), ["headers"]);
        let secret = json!({ "host": "a", "authorization": { "clientCredentials": {
            "tokenUrl": "https://b/token", "clientId": "c" } } });
        assert_eq!(conflicts(secret), ["authorization"]);
        let key = json!({ "host": "a", "tls": { "key": "k" } });
        assert_eq!(conflicts(key), ["tls"]);
    }

    #[test]
    fn a_secret_in_the_clear_is_warned_of() {
        let warned = |host: &str, tls: bool| {
            let mut options = json!({ "host": host, "headers": { "x-api-key": "k" } });
            if tls {
                options["tls"] = json!({});
            }
            !read(options).expect("valid").warnings().is_empty()
        };
        assert!(warned("tools.example.com", false));
        assert!(!warned("tools.example.com", true));
        assert!(!warned("localhost", false) && !warned("127.0.0.1", false));
    }
}
