//! The options of `tls · client`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_options::{Bounded, OptionConflict};
use tidegate_tls::Version;

/// Most files of `trust`.
const TRUST_MAX: usize = 64;
/// Most entries of `certificates`.
const CERTIFICATES_MAX: usize = 1_000;
/// Most protocols of `alpn`.
const ALPN_MAX: usize = 16;

/// The options of `tls · client`. Files that change are used for further connections within a few
/// seconds; a file that cannot be used is logged, and the last good one stays in use. A relative path
/// starts at the working directory.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// File, or list of files, with the certificates of the authorities that sign the certificate of
    /// the broker, in PEM. Absent: the authorities that the system trusts, read at the start.
    #[serde(deserialize_with = "paths", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMore", extend("examples" = ["/etc/tidegate/ca.crt"]))]
    pub trust: Vec<PathBuf>,
    /// File with the certificate that the gateway presents and its chain, in PEM, for brokers that ask
    /// for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["/etc/tidegate/client.crt"]))]
    pub certificate: Option<PathBuf>,
    /// File with the private key of the certificate, in PEM (PKCS #8, PKCS #1 or SEC 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["/etc/tidegate/client.key"]))]
    pub key: Option<PathBuf>,
    /// Further certificates that the gateway presents, each with its key, by name: for the accounts of an
    /// `mqtt · client` that name one (`certificate`).
    #[serde(
        deserialize_with = "certificates",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(extend("examples" = [{ "line-1": { "certificate": "/etc/tidegate/line-1.crt", "key": "/etc/tidegate/line-1.key" } }]))]
    pub certificates: BTreeMap<String, ClientCertificate>,
    /// Host name that the certificate of the broker must be for, which is also sent to it (SNI). Absent:
    /// the host of the exit.
    #[serde(deserialize_with = "name", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"broker.example.com")]
    pub sni: Option<String>,
    /// Protocols to offer by ALPN, in order of preference.
    #[serde(deserialize_with = "protocols", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [["x-amzn-mqtt-ca"]]))]
    pub alpn: Vec<String>,
    /// Lowest TLS version to accept.
    pub min_version: Version,
    /// Timeout for the handshake on an open connection, in milliseconds.
    pub handshake_timeout: Bounded<1, 600_000>,
}

/// A certificate to present, and its key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClientCertificate {
    /// File with the certificate and its chain, in PEM.
    pub certificate: PathBuf,
    /// File with its private key, in PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trust: Vec::new(),
            certificate: None,
            key: None,
            certificates: BTreeMap::new(),
            sni: None,
            alpn: Vec::new(),
            min_version: Version::default(),
            handshake_timeout: Bounded::of(4_000),
        }
    }
}

impl tidegate_options::Options for Options {
    fn conflicts(&self) -> Vec<OptionConflict> {
        let (key, without) = match (&self.certificate, &self.key) {
            (Some(_), None) => ("certificate", "key"),
            (None, Some(_)) => ("key", "certificate"),
            _ => return Vec::new(),
        };
        vec![OptionConflict {
            key,
            message: format!("'{key}' needs '{without}'"),
            help: format!("set '{without}' to the file that belongs to it, or remove '{key}'"),
        }]
    }
}

/// One path, or several.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there for its schema")]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    deserializer.deserialize_any(Paths)
}

struct Paths;

impl<'de> de::Visitor<'de> for Paths {
    type Value = Vec<PathBuf>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file or a list of files")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Self::Value, E> {
        Ok(vec![path.into()])
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = items.next_element()? {
            paths.push(path);
            if paths.len() > TRUST_MAX {
                let why = format!("too many files; use at most {TRUST_MAX}");
                return Err(de::Error::custom(why));
            }
        }
        if paths.is_empty() {
            let why = "no file; name one, or remove 'trust' to trust what the system trusts";
            return Err(de::Error::custom(why));
        }
        Ok(paths)
    }
}

fn certificates<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, ClientCertificate>, D::Error> {
    let certificates = BTreeMap::<String, ClientCertificate>::deserialize(deserializer)?;
    if certificates.len() > CERTIFICATES_MAX {
        let why = format!("too many certificates; use at most {CERTIFICATES_MAX}");
        return Err(de::Error::custom(why));
    }
    if certificates.keys().any(String::is_empty) {
        return Err(de::Error::custom("a certificate without a name; name it"));
    }
    Ok(certificates)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    match ServerName::try_from(name.as_str()) {
        Ok(_) => Ok(Some(name)),
        Err(_) => Err(de::Error::custom(
            "invalid host name; use a name as in the broker's certificate, e.g. broker.example.com",
        )),
    }
}

fn protocols<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let protocols = Vec::<String>::deserialize(deserializer)?;
    if protocols.len() > ALPN_MAX {
        let why = format!("too many protocols; use at most {ALPN_MAX}");
        return Err(de::Error::custom(why));
    }
    let valid = |protocol: &String| (1..=255).contains(&protocol.len());
    if !protocols.iter().all(valid) {
        return Err(de::Error::custom(
            "invalid protocol; use 1 to 255 bytes, e.g. mqtt",
        ));
    }
    Ok(protocols)
}

#[cfg(test)]
mod tests {
    use tidegate_options::Options as _;

    use super::*;

    fn read(json: &str) -> Result<Options, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_is_optional() {
        let options = read("{}").expect("valid options");
        assert!(options.trust.is_empty() && options.conflicts().is_empty());
        assert_eq!(options.handshake_timeout.get(), 4_000);
    }

    #[test]
    fn trust_is_one_file_or_a_list() {
        for json in [r#"{"trust":"a"}"#, r#"{"trust":["a"]}"#] {
            assert_eq!(read(json).expect("valid").trust, [PathBuf::from("a")]);
        }
    }

    #[test]
    fn invalid_values_are_rejected_with_a_hint() {
        let many = format!(r#"{{"alpn":{:?}}}"#, ["a"; ALPN_MAX + 1]);
        let files = format!(r#"{{"trust":{:?}}}"#, ["a"; TRUST_MAX + 1]);
        for (json, expected) in [
            (r#"{"trust":[]}"#, "remove 'trust' to trust what the system"),
            (r#"{"trust":7}"#, "expected a file or a list of files"),
            (&files, "use at most 64"),
            (r#"{"sni":"a b"}"#, "invalid host name"),
            (r#"{"sni":""}"#, "invalid host name"),
            (r#"{"alpn":[""]}"#, "use 1 to 255 bytes"),
            (&many, "use at most 16"),
            (r#"{"minVersion":"1.1"}"#, "unsupported TLS version"),
            (r#"{"handshakeTimeout":0}"#, "use 1 to 600000"),
            (r#"{"insecure":true}"#, "unknown field `insecure`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        for (json, expected) in [
            (r#"{"certificate":"c"}"#, "'certificate' needs 'key'"),
            (r#"{"key":"k"}"#, "'key' needs 'certificate'"),
        ] {
            let conflicts = read(json).expect("valid values").conflicts();
            assert_eq!(conflicts[0].message, expected);
        }
        let both = read(r#"{"certificate":"c","key":"k"}"#).expect("valid values");
        assert!(both.conflicts().is_empty());
    }
}
