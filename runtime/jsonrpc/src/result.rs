//! What the modern revision has in results beside those of the operation.

use bytes::BytesMut;
use tidegate_json::write::push_number;
use tidegate_streams::mcp::{McpCacheScope, McpEnd, McpMethod as Method, McpOutcome};

/// The members of a modern result (2026-07-28, `Result` and `CacheableResult`).
pub fn additions(out: &mut BytesMut, method: Method, end: &McpEnd) {
    let complete = end.outcome != McpOutcome::InputRequired;
    out.extend_from_slice(if complete {
        b"\"resultType\":\"complete\""
    } else {
        b"\"resultType\":\"input_required\""
    });
    if method.is_cacheable() && complete {
        let scope = end.cache_scope.unwrap_or(McpCacheScope::Private);
        out.extend_from_slice(b",\"ttlMs\":");
        push_number(out, end.ttl_ms.unwrap_or(0));
        out.extend_from_slice(b",\"cacheScope\":\"");
        out.extend_from_slice(scope.word().as_bytes());
        out.extend_from_slice(b"\"");
    }
    // A second `_meta` would make the result ambiguous; who the server is may be left out.
    if !end.meta {
        out.extend_from_slice(b",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":");
        push_server_info(out);
        out.extend_from_slice(b"}");
    }
}

/// Appends who the server is.
pub fn push_server_info(out: &mut BytesMut) {
    // A version consists of digits, letters, points and signs, which JSON does not escape.
    const INFO: &str = concat!(
        "{\"name\":\"tidegate\",\"version\":\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    );
    out.extend_from_slice(INFO.as_bytes());
}
