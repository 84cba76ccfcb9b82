//! Where credentials are in a request.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use super::denial::Denial;
use super::query;
use crate::options::{Credentials, Pattern};

/// A header or a parameter of the query that may have a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carrier {
    Header(HeaderName),
    Query(String),
}

/// A carrier, and what is around a credential of one guard in it.
pub(super) struct Place {
    carrier: usize,
    pattern: Pattern,
}

impl Place {
    /// The credential, if it is here and in the form of this guard.
    pub(super) fn credential<'a>(&self, presented: &'a Presented<'_>) -> Option<&'a str> {
        let here = presented.carrier == self.carrier;
        let text = here.then(|| std::str::from_utf8(presented.bytes()).ok())??;
        let credential = self.pattern.credential(text)?;
        // What is not a token68 (RFC 9110, section 11.2) is no credential of a scheme.
        let scheme = self.pattern.scheme().is_some();
        let valid = !credential.is_empty() && (!scheme || !credential.contains(' '));
        valid.then_some(credential)
    }

    pub(super) const fn carrier(&self) -> usize {
        self.carrier
    }

    pub(super) const fn pattern(&self) -> &Pattern {
        &self.pattern
    }
}

/// A carrier that a request has.
pub(super) struct Presented<'a> {
    pub(super) carrier: usize,
    text: Text<'a>,
}

enum Text<'a> {
    Header(&'a HeaderValue),
    Query(Cow<'a, str>),
}

impl Presented<'_> {
    /// The whole value.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.text {
            Text::Header(value) => value.as_bytes(),
            Text::Query(value) => value.as_bytes(),
        }
    }
}

/// The places of a guard. Adds their carriers, which guards share.
pub(super) fn of(credentials: &Credentials, carriers: &mut Vec<Carrier>) -> Vec<Place> {
    let headers = credentials.headers.iter().filter_map(|(name, pattern)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((Carrier::Header(name), pattern))
    });
    let query = credentials.query.iter();
    let query = query.map(|(name, pattern)| (Carrier::Query(name.clone()), pattern));
    let mut place = |(carrier, pattern): (Carrier, &Pattern)| {
        let known = carriers.iter().position(|it| *it == carrier);
        let carrier = known.unwrap_or_else(|| {
            carriers.push(carrier);
            carriers.len() - 1
        });
        Place {
            carrier,
            pattern: pattern.clone(),
        }
    };
    headers.chain(query).map(&mut place).collect()
}

/// The one carrier that a request has, if it has any.
pub(super) fn find<'a>(
    carriers: &[Carrier],
    head: &'a Parts,
) -> Result<Option<Presented<'a>>, Denial> {
    let mut found = None;
    for (carrier, place) in carriers.iter().enumerate() {
        let text = match place {
            Carrier::Header(name) => {
                let mut values = head.headers.get_all(name).iter();
                let first = values.next().map(Text::Header);
                if values.next().is_some() {
                    return Err(Denial::Malformed("Duplicate header with credentials."));
                }
                first
            }
            Carrier::Query(name) => {
                query::value(head.uri.query().unwrap_or_default(), name)?.map(Text::Query)
            }
        };
        let Some(text) = text else { continue };
        let presented = Presented { carrier, text };
        if found.replace(presented).is_some() {
            return Err(Denial::Malformed(
                "Credentials in two places; send them in one.",
            ));
        }
    }
    Ok(found)
}

/// Why a carrier has no credential of any guard.
pub(super) fn unmatched(carriers: &[Carrier], presented: &Presented<'_>) -> Denial {
    match carriers.get(presented.carrier) {
        Some(Carrier::Header(name)) if *name == AUTHORIZATION => {
            if has_other_scheme(presented.bytes()) {
                // The challenge says which schemes are accepted.
                Denial::Missing
            } else {
                Denial::Malformed(
                    "Malformed Authorization header; send the scheme, a space and the credential.",
                )
            }
        }
        _ => Denial::Malformed("Malformed credentials."),
    }
}

/// Whether an `Authorization` header has a scheme other than Bearer and credentials of it.
fn has_other_scheme(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let Some((scheme, rest)) = text.split_once(' ') else {
        return false;
    };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let valid = !scheme.is_empty() && scheme.bytes().all(is_token) && !rest.trim().is_empty();
    valid && !scheme.eq_ignore_ascii_case("bearer")
}

/// Removes what may have a credential.
pub(super) fn strip(carriers: &[Carrier], head: &mut Parts) {
    for carrier in carriers {
        match carrier {
            Carrier::Header(name) => while head.headers.remove(name).is_some() {},
            Carrier::Query(name) => {
                let Some(rest) = query::without(head.uri.query().unwrap_or_default(), name) else {
                    continue;
                };
                let path = head.uri.path();
                let target = if rest.is_empty() {
                    path.to_owned()
                } else {
                    format!("{path}?{rest}")
                };
                // Parts of a valid target are one; otherwise nothing of it is passed on.
                let target = PathAndQuery::try_from(target);
                head.uri = target.map_or_else(|_| Uri::default(), Uri::from);
            }
        }
    }
}
