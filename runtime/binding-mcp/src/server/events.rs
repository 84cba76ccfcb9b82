//! The events of `mcp · server`.

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_streams::{event, words};

/// Name of the authenticated caller, for events.
pub(super) fn caller(cx: &Context<'_>) -> ByteString {
    let identity = cx.identity();
    identity.map_or_else(ByteString::new, |identity| identity.subject.clone())
}

event! {
    /// A legacy session has begun: the exit has accepted it.
    pub struct SessionBegun "binding.mcp.session.begun" Debug audit(line)
        "session {session} begun in protocol version {version} (client '{client}')"
    {
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// Negotiated protocol version.
        version "version": ByteString = ByteString::new(),
        /// Client name from `clientInfo`.
        client "client": ByteString = ByteString::new(),
        /// Client version from `clientInfo`.
        client_version "clientVersion": ByteString = ByteString::new(),
        /// Address and port of the client; empty where there is none.
        address "address": ByteString = ByteString::new(),
    }
}

event! {
    /// A legacy session expired: it had neither a request nor an open event stream for the session
    /// timeout.
    pub struct SessionExpired "binding.mcp.session.expired" Info audit(line)
        "session {session} expired after {idle} ms without a request (client '{client}')"
    {
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// Client name from `clientInfo`.
        client "client": ByteString = ByteString::new(),
        /// Idle time, in milliseconds.
        idle "idle": u64 = 0,
    }
}

event! {
    /// A legacy session has ended, other than by expiry.
    pub struct SessionEnded "binding.mcp.session.ended" Debug audit(line)
        "session {session} ended by the {by} (client '{client}')"
    {
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// Client name from `clientInfo`.
        client "client": ByteString = ByteString::new(),
        /// Who ended it: `client`, `exit` or `gateway`.
        by "by": ByteString = ByteString::new(),
    }
}

event! {
    /// A subscription was refused, by the policy or by the broker. The client of `resources/subscribe`
    /// gets the reason as an error, that of `subscriptions/listen` with the acknowledgement.
    pub struct SubscriptionRefused "binding.mcp.subscription.refused" Info
        "subscription to '{uri}' refused: {reason}"
    {
        /// Resource URI.
        uri "uri": ByteString = ByteString::new(),
        /// Reason, as the client gets it.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// Several subscriptions of one `subscriptions/listen` were refused.
    pub struct SubscriptionsRefused "binding.mcp.subscriptions.refused" Info
        "{count} subscriptions refused, to {uris}; the reason of the first: {reason}"
    {
        /// Number of refused subscriptions.
        count "count": u64 = 0,
        /// URIs of the first few.
        uris "uris": ByteString = ByteString::new(),
        /// Reason of the first, as the client gets it.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A subscription of a legacy session was lost. MCP has no message to inform the client.
    pub struct SubscriptionLost "binding.mcp.subscription.lost" Warn
        "subscription to '{uri}' lost: {reason}; the client of session {session} receives no updates until it subscribes again"
    {
        /// Resource URI.
        uri "uri": ByteString = ByteString::new(),
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// Reason.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A client's message was refused before it was processed.
    pub struct RequestRefused "binding.mcp.request.refused" Debug audit(line)
        "request refused with {code}: {reason}"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// JSON-RPC method, shortened; empty if the message is none of a request.
        method "method": ByteString = ByteString::new(),
        /// Tool, prompt or resource; empty if there is none.
        target "target": ByteString = ByteString::new(),
        /// Client name from `clientInfo`; empty if not given.
        client "client": ByteString = ByteString::new(),
        /// Client version from `clientInfo`; empty if not given.
        client_version "clientVersion": ByteString = ByteString::new(),
        /// `modern` or `legacy`; empty if that is not known.
        era "era": ByteString = ByteString::new(),
        /// The first characters of the session's id; empty without a session.
        session "session": ByteString = ByteString::new(),
        /// Address and port of the client; empty where there is none.
        address "address": ByteString = ByteString::new(),
        /// The option that refuses: `rate` or `concurrency`; empty if none does.
        rule "rule": ByteString = ByteString::new(),
        /// JSON-RPC error code, or the HTTP status of a response without a message.
        code "code": i64 = 0,
        /// Error message sent to the client, or why it got only a status.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A call has been answered or cancelled, or a subscription confirmed or refused.
    pub struct CallCompleted "binding.mcp.call.completed" Debug audit(call)
        "{method} '{target}': {outcome} in {duration} ms (client '{client}')"
    {
        /// JSON-RPC method.
        method "method": ByteString = ByteString::new(),
        /// Tool, prompt or resource; empty for a list.
        target "target": ByteString = ByteString::new(),
        /// Client name from `clientInfo`; empty if not given.
        client "client": ByteString = ByteString::new(),
        /// Client version from `clientInfo`; empty if not given.
        client_version "clientVersion": ByteString = ByteString::new(),
        /// `modern` or `legacy`.
        era "era": ByteString = ByteString::new(),
        /// The first characters of the session's id; empty without a session.
        session "session": ByteString = ByteString::new(),
        /// Address and port of the client; empty where there is none.
        address "address": ByteString = ByteString::new(),
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// `ok`, `tool_error`, `input_required`, `error`, `timed_out` or `cancelled`.
        outcome "outcome": ByteString = ByteString::new(),
        /// JSON-RPC error code, if the outcome is an error.
        code "code": i64 = 0,
        /// Time from the request to the end of its response, in milliseconds.
        duration "duration": u64 = 0,
        /// The same in microseconds.
        duration_micros "durationMicros": u64 = 0,
    }
}

words! {
    /// Outcome of a call.
    pub enum CallOutcome {
        /// A result.
        Ok "ok",
        /// A result with `isError`.
        ToolError "tool_error",
        /// A result that requests input from the client.
        InputRequired "input_required",
        /// An error.
        Error "error",
        /// No answer within the timeout.
        TimedOut "timed_out",
        /// Cancelled by the client, or the client disconnected.
        Cancelled "cancelled",
    }
}
