//! What goes wrong at the server, as a refusal for the caller.

use ::http::StatusCode;
use bytes::Bytes;
use tidegate_json::{Document, Limits, Parts};
use tidegate_streams::http_stream::HttpReset;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::{AbortEx, ResetEx};

use crate::jsonrpc::{Era, Error, Method, code};

/// A failure of the server or of the way to it. The sentence is completed by what is known.
pub(super) fn unavailable(what: impl AsRef<str>) -> McpReset {
    McpReset::new(McpResetKind::Unavailable, what.as_ref())
}

/// A limit of the gateway, which says nothing about the server.
pub(super) fn busy(what: impl AsRef<str>) -> McpReset {
    McpReset::new(McpResetKind::Busy, what.as_ref())
}

/// An error of the server. One about an unknown resource gets the code of the caller's era; others are
/// passed on unchanged.
pub(super) fn of_error(error: &Error, method: Option<Method>, era: Era) -> McpReset {
    let reads = matches!(
        method,
        Some(Method::ResourcesRead | Method::ResourcesSubscribe)
    );
    let unknown = match error.code() {
        code::RESOURCE_NOT_FOUND => true,
        // Servers that speak both eras use the modern code in either.
        code::INVALID_PARAMS => has_uri(error.data()),
        _ => false,
    };
    let kind = match error.code() {
        _ if reads && unknown => McpResetKind::NotFound,
        // What the era of the caller makes of these depends on its transport.
        code::HEADER_MISMATCH if era == Era::Modern => McpResetKind::HeaderMismatch,
        code::MISSING_CLIENT_CAPABILITY if era == Era::Modern => McpResetKind::MissingCapability,
        _ => McpResetKind::Relayed,
    };
    McpReset {
        kind,
        message: error.message().into(),
        data: error.data().cloned(),
        code: (kind == McpResetKind::Relayed).then(|| error.code()),
        ..McpReset::default()
    }
}

/// Whether the data of an error names a resource.
fn has_uri(data: Option<&Bytes>) -> bool {
    data.is_some_and(|data| {
        let data = Document::parse(Parts::from(data.clone()), Limits::default());
        data.is_ok_and(|data| matches!(data.root().get("uri"), Ok(Some(_))))
    })
}

/// A response that is no answer, by its status. It does not repeat the body, which may be anything.
pub(super) fn of_status(status: StatusCode) -> McpReset {
    let reason = status.canonical_reason().unwrap_or("unknown status");
    let number = status.as_u16();
    let what = match number {
        401 => "The MCP server does not accept the credentials of the gateway (401 Unauthorized); \
                set 'authorization' of its http · client."
            .to_owned(),
        403 => "The MCP server refuses the gateway (403 Forbidden); check the credentials and the \
                rights of the gateway there."
            .to_owned(),
        404 | 405 => format!(
            "The MCP server has no MCP endpoint at this path ({number} {reason}); check its URL."
        ),
        300..=399 => format!(
            "The MCP server redirects to another place ({number} {reason}), which is not followed; use \
             the URL that it redirects to."
        ),
        429 => {
            "The MCP server refuses the gateway's requests for now (429 Too Many Requests); retry \
                later."
                .to_owned()
        }
        500..=599 => format!("The MCP server failed ({number} {reason}); retry later."),
        _ => format!("The MCP server answered {number} {reason} without an MCP message."),
    };
    unavailable(what)
}

/// Why a stream to the server was reset.
pub(super) fn of_reset(reset: Option<ResetEx>) -> McpReset {
    match reset {
        Some(ResetEx::Http(reset)) => unreachable(&reset),
        Some(ResetEx::Line(reset)) => process(&reset.reason),
        _ => lost(),
    }
}

/// Why a stream of the server was aborted.
pub(super) fn of_abort(abort: Option<AbortEx>) -> McpReset {
    match abort {
        Some(AbortEx::Http(abort)) => unreachable(&abort),
        Some(AbortEx::Line(abort)) => process(&abort.reason),
        _ => lost(),
    }
}

fn unreachable(reset: &HttpReset) -> McpReset {
    let remote = if reset.remote.is_empty() {
        "MCP server"
    } else {
        &reset.remote
    };
    let what = format!("The request to {remote} failed: {}.", reset.reason);
    McpReset {
        not_sent: !reset.sent,
        ..if reset.limit {
            busy(what)
        } else {
            unavailable(what)
        }
    }
}

fn process(reason: &str) -> McpReset {
    if reason.is_empty() {
        return lost();
    }
    unavailable(format!("The MCP server is not running: {reason}."))
}

/// The connection ended without a reason.
pub(super) fn lost() -> McpReset {
    unavailable("The connection to the MCP server was closed before its answer.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_resource_is_not_found_in_either_era() {
        let legacy = Error::new(code::RESOURCE_NOT_FOUND, "no");
        let read = of_error(&legacy, Some(Method::ResourcesRead), Era::Legacy);
        assert_eq!((read.kind, read.code), (McpResetKind::NotFound, None));
        let data = Some(Bytes::from_static(b"{\"uri\":\"x\"}"));
        let modern = Error::new(code::INVALID_PARAMS, "no").with_data(data);
        let read = of_error(&modern, Some(Method::ResourcesRead), Era::Modern);
        assert_eq!(read.kind, McpResetKind::NotFound);
        for method in [Method::ToolsCall, Method::PromptsGet] {
            let relayed = of_error(&modern, Some(method), Era::Modern);
            assert_eq!(relayed.kind, McpResetKind::Relayed);
            assert_eq!(relayed.code, Some(code::INVALID_PARAMS));
            assert_eq!(relayed.data, modern.data().cloned());
        }
    }

    #[test]
    fn what_a_modern_server_misses_in_a_request_is_told_in_the_era_of_the_caller() {
        let data = Some(Bytes::from_static(
            b"{\"requiredCapabilities\":{\"sampling\":{}}}",
        ));
        for (code, kind) in [
            (code::HEADER_MISMATCH, McpResetKind::HeaderMismatch),
            (
                code::MISSING_CLIENT_CAPABILITY,
                McpResetKind::MissingCapability,
            ),
        ] {
            let error = Error::new(code, "missing").with_data(data.clone());
            let modern = of_error(&error, Some(Method::ToolsCall), Era::Modern);
            assert_eq!((modern.kind, modern.code), (kind, None));
            assert_eq!((&*modern.message, &modern.data), ("missing", &data));
            // A legacy server may use the number for something else.
            let legacy = of_error(&error, Some(Method::ToolsCall), Era::Legacy);
            assert_eq!(
                (legacy.kind, legacy.code),
                (McpResetKind::Relayed, Some(code))
            );
        }
    }

    #[test]
    fn a_status_says_what_to_do() {
        for (status, what) in [
            (401, "authorization"),
            (404, "check its URL"),
            (307, "redirects"),
            (503, "failed"),
            (418, "418"),
        ] {
            let reset = of_status(StatusCode::from_u16(status).expect("valid"));
            assert_eq!(reset.kind, McpResetKind::Unavailable);
            assert!(reset.message.contains(what), "{}", reset.message);
        }
    }
}
