//! What the claims of a verified token must say, and the identity they give.

use bytestring::ByteString;
use serde_json::{Map, Value};
use tidegate_streams::{Identity, IdentityAttribute};

use super::options::{Audience, Options};
use crate::check::Refusal;

/// Longest identity, role and attribute, in bytes.
const TEXT_MAX: usize = 1_024;
/// Most roles of a token.
const ROLES_MAX: usize = 256;
/// The last second of the year 9999: later times are mistakes, and would overflow.
const TIME_MAX: f64 = 253_402_300_799.0;

/// The rules of a guard.
pub(crate) struct Rules {
    guard: ByteString,
    pub(crate) issuer: String,
    audience: Audience,
    roles: String,
    identity: String,
    attributes: Vec<(ByteString, String)>,
    /// Milliseconds.
    leeway: u64,
    pub(crate) step_up: bool,
}

impl Rules {
    pub(crate) fn new(name: &str, options: &Options) -> Self {
        let attributes = options.attributes.iter();
        Self {
            guard: name.into(),
            issuer: options.issuer().as_str().to_owned(),
            audience: options.audience.clone(),
            roles: options.roles.clone(),
            identity: options.identity.clone(),
            attributes: attributes
                .map(|(name, claim)| (name.as_str().into(), claim.clone()))
                .collect(),
            leeway: options.leeway.get() * 1_000,
            step_up: options.roles_are_scopes(),
        }
    }

    /// The identity that the claims give at a time in milliseconds since the Unix epoch.
    pub(crate) fn identity(
        &self,
        claims: &Map<String, Value>,
        now: u64,
    ) -> Result<Identity, Refusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Refusal::Untrusted("wrong issuer"));
        }
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => self.audience.is(one),
            Some(Value::Array(all)) => all
                .iter()
                .filter_map(Value::as_str)
                .any(|it| self.audience.is(it)),
            _ => false,
        };
        if !audience {
            return Err(Refusal::Untrusted("wrong audience"));
        }
        let expires = self.times(claims, now)?;
        let subject = member(claims, &self.identity).and_then(Value::as_str);
        let subject = subject.filter(|subject| !subject.is_empty() && subject.len() <= TEXT_MAX);
        let subject = subject.ok_or(Refusal::Untrusted("no valid identity claim"))?;
        Ok(Identity {
            subject: subject.into(),
            guard: self.guard.clone(),
            roles: self.roles_of(claims)?,
            attributes: self.attributes_of(claims)?,
            expires,
            step_up: self.step_up,
        })
    }

    /// Checks the times; returns the expiry with its leeway.
    fn times(&self, claims: &Map<String, Value>, now: u64) -> Result<u64, Refusal> {
        let invalid = Refusal::Untrusted("a time in its claims is invalid");
        let time = |name: &str| {
            claims
                .get(name)
                .map(|value| millis(value).ok_or(invalid))
                .transpose()
        };
        let expires = time("exp")?.ok_or(Refusal::Untrusted("it has no expiry (exp)"))?;
        let expires = expires.saturating_add(self.leeway);
        if expires <= now {
            return Err(Refusal::Expired);
        }
        let latest = now.saturating_add(self.leeway);
        let future = |time: Option<u64>| time.is_some_and(|time| time > latest);
        if future(time("nbf")?) || future(time("iat")?) {
            return Err(Refusal::NotYetValid);
        }
        Ok(expires)
    }

    fn roles_of(&self, claims: &Map<String, Value>) -> Result<Vec<ByteString>, Refusal> {
        let invalid = Refusal::Untrusted("its roles are neither a string nor a list of strings");
        let roles: Vec<&str> = match member(claims, &self.roles) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(all)) => {
                let all: Option<_> = all.iter().map(Value::as_str).collect();
                all.ok_or(invalid)?
            }
            Some(_) => return Err(invalid),
        };
        if roles.len() > ROLES_MAX || roles.iter().any(|role| role.len() > TEXT_MAX) {
            return Err(Refusal::Untrusted("too many roles, or one is too long"));
        }
        Ok(roles.into_iter().map(ByteString::from).collect())
    }

    fn attributes_of(
        &self,
        claims: &Map<String, Value>,
    ) -> Result<Vec<IdentityAttribute>, Refusal> {
        let mut attributes = Vec::new();
        for (name, claim) in &self.attributes {
            let value = match member(claims, claim) {
                Some(Value::String(text)) => ByteString::from(text.as_str()),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string().into(),
                _ => continue,
            };
            if value.len() > TEXT_MAX {
                return Err(Refusal::Untrusted("an attribute is too long"));
            }
            attributes.push(IdentityAttribute {
                name: name.clone(),
                value,
            });
        }
        Ok(attributes)
    }
}

/// The claim of a name, or else the member that the name leads to with dots. Names with dots exist, such
/// as `https://id.example/roles`.
fn member<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(claim) = claims.get(name) {
        return Some(claim);
    }
    let mut steps = name.split('.');
    let first = claims.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

/// A `NumericDate` in milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is in range"
)]
fn millis(value: &Value) -> Option<u64> {
    let seconds = value.as_f64()?;
    let valid = (0.0..=TIME_MAX).contains(&seconds);
    valid.then_some((seconds * 1_000.0) as u64)
}
