//! `WWW-Authenticate`: what a client can do about a refusal (RFC 6750, RFC 9728).

use http::HeaderValue;
use tidegate_guard::Refusal;

use super::AskedGuard;
use super::place::Carrier;

const REALM: &str = "realm=\"mcp\"";

/// The challenges of an endpoint, without the error of a request.
pub(crate) struct Challenges {
    /// A challenge that has a place for an error comes first.
    all: Vec<Scheme>,
    resource_metadata: Option<String>,
}

/// One challenge.
struct Scheme {
    text: String,
    /// Whether it is Bearer, which has errors.
    is_bearer: bool,
}

/// What was wrong, as RFC 6750 names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BearerError {
    InvalidRequest,
    InvalidToken(&'static str),
}

impl Challenges {
    /// The challenges of these guards. `resource` is the URL of the metadata.
    pub(super) fn new(
        guards: &[AskedGuard],
        resource: Option<&str>,
        scopes: &[String],
        carriers: &[Carrier],
    ) -> Self {
        let resource_metadata = resource.map(|url| format!("resource_metadata=\"{url}\""));
        let mut all: Vec<Scheme> = Vec::new();
        let mut add = |text: String, is_bearer| {
            if !all.iter().any(|known| known.text == text) {
                all.push(Scheme { text, is_bearer });
            }
        };
        let places = || guards.iter().flat_map(|guard| &guard.places);
        let schemes = || places().filter_map(|place| place.pattern().scheme());
        if schemes().any(is_bearer) {
            let mut bearer = format!("Bearer {REALM}");
            if let Some(metadata) = &resource_metadata {
                bearer = format!("Bearer {metadata}");
                if !scopes.is_empty() {
                    for part in [", scope=\"", &scopes.join(" "), "\""] {
                        bearer.push_str(part);
                    }
                }
            }
            add(bearer, true);
        }
        for scheme in schemes().filter(|it| !is_bearer(it)) {
            add(format!("{scheme} {REALM}"), false);
        }
        let bare = places().filter(|place| place.pattern().scheme().is_none());
        for place in bare {
            let carrier = match carriers.get(place.carrier()) {
                Some(Carrier::Header(name)) => format!("header=\"{name}\""),
                Some(Carrier::Query(name)) => format!("query=\"{name}\""),
                None => continue,
            };
            add(format!("ApiKey {REALM}, {carrier}"), false);
        }
        Self {
            all,
            resource_metadata,
        }
    }

    /// The headers; none if only a client certificate helps, which no response can ask for.
    pub(super) fn values(&self, error: Option<BearerError>) -> impl Iterator<Item = HeaderValue> {
        self.all.iter().filter_map(move |scheme| {
            let mut text = scheme.text.clone();
            if scheme.is_bearer {
                match error {
                    None => {}
                    Some(BearerError::InvalidRequest) => {
                        text.push_str(", error=\"invalid_request\"");
                    }
                    Some(BearerError::InvalidToken(word)) => {
                        for part in [
                            ", error=\"invalid_token\", error_description=\"",
                            word,
                            "\"",
                        ] {
                            text.push_str(part);
                        }
                    }
                }
            }
            HeaderValue::from_str(&text).ok()
        })
    }

    /// The headers for an identity that has expired.
    pub(super) fn expired(&self) -> impl Iterator<Item = HeaderValue> {
        self.values(Some(BearerError::InvalidToken(Refusal::Expired.word())))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A challenge of a binding, with the URL of the metadata.
    pub(crate) fn announced(&self, challenge: &HeaderValue) -> Option<HeaderValue> {
        let metadata = self.resource_metadata.as_ref()?;
        let challenge = challenge.to_str().ok()?;
        HeaderValue::from_str(&format!("{challenge}, {metadata}")).ok()
    }
}

fn is_bearer(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("bearer")
}
