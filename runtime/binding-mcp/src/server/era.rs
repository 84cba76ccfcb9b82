//! In which of the two ways a request is made, and what each obliges it to say.

use super::errors::Refusal;
use super::headers::{self, Headers};
use super::http::Caller;
use super::output::Sink;
use crate::jsonrpc::{Era, LEGACY, MODERN, Method};
use crate::jsonrpc::{Message, Meta, Params, Unreadable};

/// Whether a message says of itself that it is modern.
pub(super) fn is_modern(message: &Result<Message, Unreadable>) -> bool {
    match message {
        Ok(Message::Request { params, .. } | Message::Notification { params, .. }) => params
            .meta(Meta::ProtocolVersion)
            .is_ok_and(|version| version.is_some()),
        _ => false,
    }
}

/// In which era a request is made.
pub(super) fn of(caller: &Caller<'_>, method: &str, params: &Params) -> Result<Era, Refusal> {
    if method == "initialize" {
        return Ok(Era::Legacy);
    }
    if params.meta(Meta::ProtocolVersion)?.is_some() {
        return Ok(Era::Modern);
    }
    let header = caller.headers.and_then(Headers::version);
    let legacy = header.is_none_or(|version| LEGACY.contains(&version));
    if caller.session.is_some()
        || (legacy && caller.headers.is_some() && method != "server/discover")
    {
        return Ok(Era::Legacy);
    }
    Ok(Era::Modern)
}

/// What every modern request must say of itself (2026-07-28, `_meta`).
pub(super) fn check_modern(
    caller: &Caller<'_>,
    name: &str,
    method: Option<Method>,
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
    let version = params
        .meta(Meta::ProtocolVersion)?
        .and_then(|version| version.text());
    let Some(version) = version else {
        let header = caller.headers.and_then(Headers::version);
        return Err(match header {
            // What else it lacks is nothing to tell a client of another revision.
            Some(version) if version != MODERN => Refusal::unsupported_version(version),
            _ => missing(Meta::ProtocolVersion),
        });
    };
    if let Some(headers) = caller.headers {
        headers::check(headers, &version, name, method, params)?;
    }
    if version != MODERN {
        return Err(Refusal::unsupported_version(&version));
    }
    let capabilities = params.meta(Meta::ClientCapabilities)?;
    let is_object = |value: &tidegate_json::Value<'_>| value.kind() == tidegate_json::Kind::Object;
    if !capabilities.is_some_and(|told| is_object(&told)) {
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
            "The request belongs to no session: send 'initialize' first and its \
             Mcp-Session-Id with every request, or speak 2026-07-28.",
        ));
    }
    let header = caller.headers.and_then(Headers::version);
    // Clients are known to name another legacy revision than the one that was agreed on.
    match header {
        Some(version) if !LEGACY.contains(&version) => {
            let what = format!("The revision '{version}' is not spoken here.");
            Err(Refusal::invalid_request(&what))
        }
        _ => Ok(()),
    }
}
