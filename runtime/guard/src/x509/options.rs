//! Options of the guard `x509`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tidegate_options::Glob;

use super::certificate::Certificate;

/// Options of the guard `x509`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The field with the identity; a certificate must have exactly one, in ASCII or UTF-8. One of `subject.cn`,
    /// `subject.dn`, `subject.o`, `subject.ou`, `san.uri`, `san.dns`, `san.email`.
    pub identity: Field,
    /// Roles, and the certificates that have each: a list of rules, of which one suffices. A rule is a
    /// mapping of fields to patterns, all of which must match, in which `*` stands for any text. Fields are
    /// those of `identity`, and `issuer.cn`, `issuer.dn`, `issuer.o`, `issuer.ou`.
    #[schemars(extend("examples" = [{ "operator": [{ "subject.cn": "operator-*" }] }]))]
    pub roles: BTreeMap<String, Vec<Rule>>,
    /// Attributes of the identity by name, and the field of each, such as `subject.o`. The first value
    /// counts; an absent field is an absent attribute.
    pub attributes: BTreeMap<String, Field>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            identity: Field::SubjectCn,
            roles: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }
}

impl tidegate_options::Options for Options {}

/// A field of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Field {
    /// Common name.
    #[serde(rename = "subject.cn")]
    SubjectCn,
    /// The whole name (RFC 4514).
    #[serde(rename = "subject.dn")]
    SubjectDn,
    /// Organization.
    #[serde(rename = "subject.o")]
    SubjectO,
    /// Organizational unit.
    #[serde(rename = "subject.ou")]
    SubjectOu,
    /// Common name of the authority.
    #[serde(rename = "issuer.cn")]
    IssuerCn,
    /// Its whole name (RFC 4514).
    #[serde(rename = "issuer.dn")]
    IssuerDn,
    /// Its organization.
    #[serde(rename = "issuer.o")]
    IssuerO,
    /// Its organizational unit.
    #[serde(rename = "issuer.ou")]
    IssuerOu,
    /// Alternative name: a URI.
    #[serde(rename = "san.uri")]
    SanUri,
    /// Alternative name: a DNS name.
    #[serde(rename = "san.dns")]
    SanDns,
    /// Alternative name: an email address.
    #[serde(rename = "san.email")]
    SanEmail,
}

impl JsonSchema for Field {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": [
            "subject.cn", "subject.dn", "subject.o", "subject.ou", "issuer.cn", "issuer.dn", "issuer.o",
            "issuer.ou", "san.uri", "san.dns", "san.email",
        ] })
    }
}

/// Fields and the patterns that they must match.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<Field, Glob>")]
pub struct Rule(BTreeMap<Field, Glob>);

impl TryFrom<BTreeMap<Field, Glob>> for Rule {
    type Error = &'static str;

    fn try_from(fields: BTreeMap<Field, Glob>) -> Result<Self, Self::Error> {
        if fields.is_empty() {
            return Err("a rule without fields would give the role to every certificate");
        }
        Ok(Self(fields))
    }
}

impl Rule {
    pub(crate) fn matches(&self, certificate: &Certificate) -> bool {
        self.0.iter().all(|(field, glob)| {
            let values = certificate.values(*field);
            values.iter().flatten().any(|value| glob.matches(value))
        })
    }
}

impl JsonSchema for Rule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": { "type": "string" },
        })
    }
}
