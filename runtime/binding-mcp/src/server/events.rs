//! What `mcp · server` tells operators.

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_streams::{event, words};

/// Who a handler works for, as events name it.
pub(super) fn caller(cx: &Context<'_>) -> ByteString {
    let identity = cx.identity();
    identity.map_or_else(ByteString::new, |identity| identity.subject.clone())
}

event! {
    /// A legacy session has begun: the exit has answered `initialize`.
    pub struct SessionBegun "binding.mcp.session.begun" Debug
        "session {session} begun in protocol version {version} (client '{client}')"
    {
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// The revision of MCP that was agreed on.
        version "version": ByteString = ByteString::new(),
        /// The client's name, as it says in `clientInfo`.
        client "client": ByteString = ByteString::new(),
    }
}

event! {
    /// A legacy session was ended because it had neither a request nor an open event stream for too long.
    pub struct SessionExpired "binding.mcp.session.expired" Info
        "session {session} expired after {idle} ms without a request (client '{client}')"
    {
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// The client's name, as it says in `clientInfo`.
        client "client": ByteString = ByteString::new(),
        /// For how long there was nothing, in milliseconds.
        idle "idle": u64 = 0,
    }
}

event! {
    /// A legacy session has ended, for another reason than that it expired.
    pub struct SessionEnded "binding.mcp.session.ended" Debug
        "session {session} ended by the {by} (client '{client}')"
    {
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// The client's name, as it says in `clientInfo`.
        client "client": ByteString = ByteString::new(),
        /// Who ended it: `client`, `exit` or `gateway`.
        by "by": ByteString = ByteString::new(),
    }
}

event! {
    /// A subscription of a legacy session was lost. MCP has no message that would tell the client.
    pub struct SubscriptionLost "binding.mcp.subscription.lost" Warn
        "subscription to '{uri}' lost: {reason}; the client of session {session} is not told of changes until it subscribes again"
    {
        /// The resource.
        uri "uri": ByteString = ByteString::new(),
        /// The first characters of the session's id.
        session "session": ByteString = ByteString::new(),
        /// Why.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A message of a client was refused before anything was done for it.
    pub struct RequestRefused "binding.mcp.request.refused" Debug
        "request refused with {code}: {reason}"
    {
        /// The authenticated caller; empty for an anonymous one.
        identity "identity": ByteString = ByteString::new(),
        /// The code of the JSON-RPC error.
        code "code": i64 = 0,
        /// The sentence that the client is told.
        reason "reason": ByteString = ByteString::new(),
    }
}

event! {
    /// A call that was passed on is over: it is answered, or cancelled.
    pub struct CallCompleted "binding.mcp.call.completed" Debug
        "{method} '{target}': {outcome} in {duration} ms (client '{client}')"
    {
        /// The JSON-RPC method.
        method "method": ByteString = ByteString::new(),
        /// The tool, prompt or resource; empty for a list.
        target "target": ByteString = ByteString::new(),
        /// The client's name, as it says in `clientInfo`; empty where it does not.
        client "client": ByteString = ByteString::new(),
        /// The authenticated caller; empty for an anonymous one.
        identity "identity": ByteString = ByteString::new(),
        /// `ok`, `tool_error`, `input_required`, `error`, `timed_out` or `cancelled`.
        outcome "outcome": ByteString = ByteString::new(),
        /// The code of the JSON-RPC error, where it is one.
        code "code": i64 = 0,
        /// From the request to the end of its answer, in milliseconds.
        duration "duration": u64 = 0,
    }
}

words! {
    /// How a call came out.
    pub enum CallOutcome {
        /// With a result.
        Ok "ok",
        /// With a result that says that the tool failed.
        ToolError "tool_error",
        /// With a result that asks the client for something first.
        InputRequired "input_required",
        /// With an error.
        Error "error",
        /// Without an answer in time.
        TimedOut "timed_out",
        /// The client cancelled it, or went away.
        Cancelled "cancelled",
    }
}
