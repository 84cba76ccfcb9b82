//! Determines the era of a request, and checks what the era requires.

use std::borrow::Cow;

use tidegate_json::Kind;

use super::errors::Refusal;
use super::headers::{self, Headers};
use super::sink::Sink;
use super::source::Source;
use crate::jsonrpc::{Era, LEGACY, MODERN, Message, Meta, Method, Params, Unreadable};

/// The era of a request.
#[derive(Debug)]
pub(super) enum Claim<'p> {
    /// Modern, with the revision named in `_meta`, if any.
    Modern(Option<Cow<'p, str>>),
    Legacy,
}

impl Claim<'_> {
    pub(super) const fn era(&self) -> Era {
        match self {
            Self::Modern(_) => Era::Modern,
            Self::Legacy => Era::Legacy,
        }
    }
}

/// The word for an era in events.
pub(super) const fn word(era: Era) -> &'static str {
    match era {
        Era::Modern => "modern",
        Era::Legacy => "legacy",
    }
}

/// Whether a message declares itself modern.
pub(super) fn is_modern(message: &Result<Message, Unreadable>) -> bool {
    match message {
        Ok(Message::Request { params, .. } | Message::Notification { params, .. }) => params
            .meta(Meta::ProtocolVersion)
            .is_ok_and(|version| version.is_some()),
        _ => false,
    }
}

/// Determines the era of a message.
pub(super) fn of<'p>(
    source: &Source<'_>,
    method: &str,
    params: &'p Params,
) -> Result<Claim<'p>, Refusal> {
    if let Some(version) = params.meta(Meta::ProtocolVersion)? {
        return Ok(Claim::Modern(version.text()));
    }
    if method == "initialize" {
        return Ok(Claim::Legacy);
    }
    let header = source.headers.and_then(Headers::version);
    let legacy = header.is_none_or(|version| LEGACY.contains(&version));
    if source.session.is_some()
        || (legacy && source.headers.is_some() && method != "server/discover")
    {
        return Ok(Claim::Legacy);
    }
    Ok(Claim::Modern(None))
}

/// Checks the members required in every modern request (2026-07-28, `_meta`).
pub(super) fn check_modern(
    source: &Source<'_>,
    name: &str,
    method: Option<Method>,
    version: Option<&str>,
    params: &Params,
) -> Result<(), Refusal> {
    let missing = |which: Meta| {
        let key = which.name();
        Refusal::invalid_params(format!("The request's params._meta must have '{key}'."))
    };
    if matches!(source.sink, Sink::Batch(_)) {
        return Err(Refusal::invalid_request(
            "A request of 2026-07-28 cannot be part of a batch.",
        ));
    }
    let Some(version) = version else {
        let header = source.headers.and_then(Headers::version);
        return Err(match header {
            // Do not report further missing members to a client of another revision.
            Some(version) if version != MODERN => Refusal::unsupported_version(version),
            _ => missing(Meta::ProtocolVersion),
        });
    };
    if let Some(headers) = source.headers {
        headers::check(headers, version, name, method, params)?;
    }
    if version != MODERN {
        return Err(Refusal::unsupported_version(version));
    }
    let capabilities = params.meta(Meta::ClientCapabilities)?;
    if !capabilities.is_some_and(|told| told.kind() == Kind::Object) {
        return Err(missing(Meta::ClientCapabilities));
    }
    Ok(())
}

/// A legacy request other than `initialize` must belong to a session and must not name another
/// revision.
pub(super) fn check_legacy(source: &Source<'_>, name: &str) -> Result<(), Refusal> {
    if name == "initialize" {
        return Ok(());
    }
    if source.session.is_none() {
        return Err(Refusal::invalid_request(
            "No session: send 'initialize' first and its Mcp-Session-Id with every request, or use \
             protocol version 2026-07-28.",
        ));
    }
    let header = source.headers.and_then(Headers::version);
    // Some clients name another legacy revision than the negotiated one; accept that.
    match header {
        Some(version) if !LEGACY.contains(&version) => {
            let what = format!("Unsupported protocol version '{version}'.");
            Err(Refusal::invalid_request(what))
        }
        _ => Ok(()),
    }
}
