//! In which of the two ways a request is made, and what each obliges it to say.

use std::borrow::Cow;

use tidegate_json::Kind;

use super::caller::Caller;
use super::errors::Refusal;
use super::headers::{self, Headers};
use super::sink::Sink;
use crate::jsonrpc::{Era, LEGACY, MODERN, Message, Meta, Method, Params, Unreadable};

/// How a request is made.
#[derive(Debug)]
pub(super) enum Claim<'p> {
    /// In the modern way, with the revision that its `_meta` names, if it does.
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

/// Whether a message says of itself that it is modern.
pub(super) fn is_modern(message: &Result<Message, Unreadable>) -> bool {
    match message {
        Ok(Message::Request { params, .. } | Message::Notification { params, .. }) => params
            .meta(Meta::ProtocolVersion)
            .is_ok_and(|version| version.is_some()),
        _ => false,
    }
}

/// How a request is made.
pub(super) fn of<'p>(
    caller: &Caller<'_>,
    method: &str,
    params: &'p Params,
) -> Result<Claim<'p>, Refusal> {
    if method == "initialize" {
        return Ok(Claim::Legacy);
    }
    if let Some(version) = params.meta(Meta::ProtocolVersion)? {
        return Ok(Claim::Modern(version.text()));
    }
    let header = caller.headers.and_then(Headers::version);
    let legacy = header.is_none_or(|version| LEGACY.contains(&version));
    if caller.session.is_some()
        || (legacy && caller.headers.is_some() && method != "server/discover")
    {
        return Ok(Claim::Legacy);
    }
    Ok(Claim::Modern(None))
}

/// What every modern request must say of itself (2026-07-28, `_meta`).
pub(super) fn check_modern(
    caller: &Caller<'_>,
    name: &str,
    method: Option<Method>,
    version: Option<&str>,
    params: &Params,
) -> Result<(), Refusal> {
    let missing = |which: Meta| {
        let key = which.name();
        Refusal::invalid_params(format!("The request's params._meta must have '{key}'."))
    };
    if matches!(caller.sink, Sink::Batch(_)) {
        return Err(Refusal::invalid_request(
            "A request of 2026-07-28 cannot be part of a batch.",
        ));
    }
    let Some(version) = version else {
        let header = caller.headers.and_then(Headers::version);
        return Err(match header {
            // What else it lacks is nothing to tell a client of another revision.
            Some(version) if version != MODERN => Refusal::unsupported_version(version),
            _ => missing(Meta::ProtocolVersion),
        });
    };
    if let Some(headers) = caller.headers {
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

/// A legacy request but `initialize` belongs to a session, and says no other revision.
pub(super) fn check_legacy(caller: &Caller<'_>, name: &str) -> Result<(), Refusal> {
    if name == "initialize" {
        return Ok(());
    }
    if caller.session.is_none() {
        return Err(Refusal::invalid_request(
            "No session: send 'initialize' first and its Mcp-Session-Id with every request, or use \
             protocol version 2026-07-28.",
        ));
    }
    let header = caller.headers.and_then(Headers::version);
    // Clients are known to name another legacy revision than the one that was agreed on.
    match header {
        Some(version) if !LEGACY.contains(&version) => {
            let what = format!("Unsupported protocol version '{version}'.");
            Err(Refusal::invalid_request(what))
        }
        _ => Ok(()),
    }
}
