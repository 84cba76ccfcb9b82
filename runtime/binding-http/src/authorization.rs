//! Who is calling: finds the credential of a request and asks the guards of `authorization`.
//!
//! - Guards are asked in the order of the config; the first that accepts its credential decides.
//! - A request has one credential in a header or in the query. Two are answered with 400, because
//!   nobody could say which is meant, as is a header that has no credential in the expected form.
//! - A credential that is not accepted is answered with 401, one that cannot be checked now with 503.
//!   Neither response, event nor log has anything of a credential, and it is not passed on.
//! - The last credential that was accepted on a connection is known by comparison (`tidegate_guard::Memo`),
//!   so that a client that keeps its connection costs little.
//!
//! Bounds: credentials are in the head of a request (64 KiB). Guards bound what they do for it.

mod challenge;
mod denial;
mod failures;
mod metadata;
mod place;
mod query;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use tidegate_guard::{Challenge, Credential, Guard, Guards, Memo, Refusal};
use tidegate_streams::Identity;

use crate::client::Client;
use crate::options::{ClientCertificates, Credentials, Options, Resource};
pub(crate) use challenge::Challenges;
pub(crate) use denial::Denial;
pub(crate) use failures::Failures;
pub(crate) use metadata::Metadata;
use place::{Carrier, Place, Presented};

/// What checks the credentials of requests.
pub(crate) struct Authorizer {
    guards: Vec<AskedGuard>,
    /// The headers and parameters that may have a credential.
    carriers: Vec<Carrier>,
    anonymous: bool,
    challenges: Challenges,
    metadata: Option<Metadata>,
}

/// A guard, and where its credentials are.
struct AskedGuard {
    name: ByteString,
    guard: Arc<dyn Guard>,
    kind: Kind,
    places: Vec<Place>,
    certificates: bool,
}

/// What a guard takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Keys,
    Tokens,
    Certificates,
}

impl Kind {
    const fn of(challenge: &Challenge) -> Self {
        match challenge {
            Challenge::Key => Self::Keys,
            Challenge::Token { .. } => Self::Tokens,
            Challenge::Connection => Self::Certificates,
        }
    }

    fn credentials(self) -> Credentials {
        match self {
            Self::Keys => Credentials::of_keys(),
            Self::Tokens => Credentials::of_tokens(),
            Self::Certificates => Credentials::of_certificates(),
        }
    }
}

/// What was accepted last on a connection: where it was, and whose it is.
#[derive(Debug)]
pub(crate) struct LastAccepted {
    /// Index of the carrier; `None` for the client certificate alone.
    carrier: Option<usize>,
    memo: Memo,
}

/// Why no guard has accepted a request.
struct Refused {
    guard: ByteString,
    kind: Kind,
    why: Refusal,
}

impl Authorizer {
    /// `None` without `authorization`.
    ///
    /// # Errors
    ///
    /// Options and guards do not fit together; the text says which and what to do.
    pub(crate) fn new(options: &Options, guards: &Guards) -> Result<Option<Self>, String> {
        let Some(authorization) = &options.authorization else {
            return Ok(None);
        };
        let mut carriers = Vec::new();
        let mut found = Vec::new();
        let mut announced: Option<(&Resource, String)> = None;
        for (name, asked) in authorization.guards() {
            let guard = guards.get(name);
            let guard = guard.ok_or_else(|| format!("authorization: unknown guard '{name}'"))?;
            let challenge = guard.challenge();
            let kind = Kind::of(&challenge);
            let usual = kind.credentials();
            let credentials = asked.credentials.as_ref().unwrap_or(&usual);
            fits(name, kind, credentials, options)?;
            if let Some(resource) = &asked.resource {
                announced = Some((resource, issuer(name, &challenge)?));
            }
            found.push(AskedGuard {
                name: name.into(),
                guard: Arc::clone(guard),
                kind,
                places: place::of(credentials, &mut carriers),
                certificates: credentials.certificates,
            });
        }
        let metadata = announced.map(|(it, issuer)| Metadata::new(it, &issuer, &options.path));
        let resource = metadata.as_ref().map(Metadata::url);
        let scopes = authorization
            .guards()
            .find_map(|(_, it)| it.resource.as_ref());
        let scopes = scopes.map_or(&[][..], |it| &it.scopes);
        Ok(Some(Self {
            challenges: Challenges::new(&found, resource, scopes, &carriers),
            guards: found,
            carriers,
            anonymous: options.anonymous,
            metadata,
        }))
    }

    /// The pages that announce the endpoint, if it is a resource of OAuth.
    pub(crate) const fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The challenges of refusals.
    pub(crate) const fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// The identity of a client whose credential is the one that was accepted last.
    pub(crate) fn known(&self, client: &Client, head: &Parts) -> Option<Arc<Identity>> {
        let last = client.accepted.borrow();
        let LastAccepted { carrier, memo } = last.as_ref()?;
        let presented = place::find(&self.carriers, head).ok()?;
        if presented.as_ref().map(|it| it.carrier) != *carrier {
            return None;
        }
        let text = presented.as_ref().map_or(&[][..], Presented::bytes);
        memo.identity(text, now()).map(Arc::clone)
    }

    /// Asks the guards. `None` is an anonymous client.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        head: &Parts,
    ) -> Result<Option<Arc<Identity>>, Denial> {
        let presented = place::find(&self.carriers, head)?;
        let mut refused: Option<Refused> = None;
        for asked in &self.guards {
            let Some(credential) = asked.credential(client, presented.as_ref()) else {
                continue;
            };
            let now = now();
            match asked.guard.check(credential, now).answer().await {
                Ok(identity) => {
                    let last = LastAccepted {
                        carrier: presented.as_ref().map(|it| it.carrier),
                        memo: Memo::new(
                            presented.as_ref().map_or(&[][..], Presented::bytes),
                            Arc::clone(&identity),
                            now,
                        ),
                    };
                    client.accepted.replace(Some(last));
                    return Ok(Some(identity));
                }
                Err(why) => {
                    let refusal = Refused {
                        guard: asked.name.clone(),
                        kind: asked.kind,
                        why,
                    };
                    refused = Some(match refused.take() {
                        Some(first) if weight(first.why) >= weight(why) => first,
                        _ => refusal,
                    });
                }
            }
        }
        match (refused, presented) {
            (Some(Refused { guard, kind, why }), _) => Err(Denial::Refused { guard, kind, why }),
            (None, Some(presented)) => Err(place::unmatched(&self.carriers, &presented)),
            (None, None) if self.anonymous => Ok(None),
            (None, None) => Err(Denial::Missing),
        }
    }

    /// Adds to a response what a client needs to get other credentials.
    pub(crate) fn announce(&self, status: StatusCode, headers: &mut HeaderMap) {
        if status == StatusCode::FORBIDDEN
            && let Some(challenge) = headers.get(WWW_AUTHENTICATE)
            && let Some(announced) = self.challenges.announced(challenge)
        {
            headers.insert(WWW_AUTHENTICATE, announced);
        }
        // The identity expired after the edge had accepted it.
        if status == StatusCode::UNAUTHORIZED && !headers.contains_key(WWW_AUTHENTICATE) {
            for challenge in self.challenges.expired() {
                headers.append(WWW_AUTHENTICATE, challenge);
            }
        }
    }

    /// Removes every credential from a head: nothing behind the edge parses one.
    pub(crate) fn strip(&self, head: &mut Parts) {
        place::strip(&self.carriers, head);
    }
}

impl AskedGuard {
    /// What the guard is asked about, if there is something for it.
    fn credential<'a>(
        &self,
        client: &'a Client,
        presented: Option<&'a Presented<'_>>,
    ) -> Option<Credential<'a>> {
        let certificate = client.certificates.first().filter(|_| self.certificates);
        if let Some(certificate) = certificate {
            return Some(Credential::Certificate(certificate));
        }
        let presented = presented?;
        let mut places = self.places.iter();
        let text = places.find_map(|place| place.credential(presented))?;
        Some(Credential::Text(text))
    }
}

/// Which of two refusals a client is told: that its credential may be accepted later, or the one of the
/// guard whose credentials have this form.
const fn weight(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Busy | Refusal::Unavailable(_) => 2,
        Refusal::Malformed(_) => 0,
        _ => 1,
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// Whether a guard can be asked about credentials in these places.
fn fits(
    name: &str,
    kind: Kind,
    credentials: &Credentials,
    options: &Options,
) -> Result<(), String> {
    let has_text = !credentials.headers.is_empty() || !credentials.query.is_empty();
    if kind != Kind::Certificates {
        return if credentials.certificates {
            Err(format!(
                "authorization.{name}: the guard '{name}' does not take certificates; use a guard of \
                 type x509"
            ))
        } else {
            Ok(())
        };
    }
    if has_text {
        return Err(format!(
            "authorization.{name}: the guard '{name}' takes client certificates; remove 'headers' and \
             'query'"
        ));
    }
    let mode = options.tls.as_ref().map(|tls| tls.client_certificates);
    match mode {
        Some(ClientCertificates::Requested | ClientCertificates::Required) => Ok(()),
        _ => Err(format!(
            "authorization.{name}: no client is asked for the certificate that the guard '{name}' \
             checks; set 'tls' with 'clientCertificates: required' or 'requested'"
        )),
    }
}

/// The issuer of a guard that has a `resource`.
fn issuer(name: &str, challenge: &Challenge) -> Result<String, String> {
    match challenge {
        Challenge::Token { issuer, .. } => Ok(issuer.to_string()),
        _ => Err(format!(
            "authorization.{name}: 'resource' announces where to get tokens, and the guard '{name}' \
             takes none; remove it, or use a guard of type jwt"
        )),
    }
}
