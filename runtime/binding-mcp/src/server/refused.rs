//! Counts the refused messages by reason.

use tidegate_engine::{Meter, MeterKind};

use crate::jsonrpc::code;

/// The codes that a refusal may have, and their words; others are counted together. A refusal without
/// a JSON-RPC error has the code of its HTTP status.
const REASONS: [(i64, &str); 14] = [
    (code::PARSE_ERROR, "parse_error"),
    (code::INVALID_REQUEST, "invalid_request"),
    (code::METHOD_NOT_FOUND, "method_not_found"),
    (code::INVALID_PARAMS, "invalid_params"),
    (code::INTERNAL_ERROR, "internal_error"),
    (code::SESSION_NOT_FOUND, "session_not_found"),
    (code::RESOURCE_NOT_FOUND, "resource_not_found"),
    (code::UNAUTHORIZED, "unauthorized"),
    (code::TOO_MANY_REQUESTS, "too_many_requests"),
    (code::HEADER_MISMATCH, "header_mismatch"),
    (
        code::UNSUPPORTED_PROTOCOL_VERSION,
        "unsupported_protocol_version",
    ),
    (405, "method_not_allowed"),
    (406, "not_acceptable"),
    (415, "unsupported_media_type"),
];

/// Number of refused messages by reason.
#[derive(Debug, Default)]
pub(super) struct Refused([u64; REASONS.len() + 1]);

impl Refused {
    /// Counts a refusal with this JSON-RPC code.
    pub(super) fn add(&mut self, code: i64) {
        let known = REASONS.iter().position(|(known, _)| *known == code);
        if let Some(count) = self.0.get_mut(known.unwrap_or(REASONS.len())) {
            *count += 1;
        }
    }

    pub(super) fn report(&self, meter: &mut dyn Meter) {
        meter.counter("mcp.server.requests.refused", self.0.iter().sum());
        let words = REASONS.iter().map(|(_, word)| *word).chain(["other"]);
        for (word, count) in words.zip(self.0) {
            let (name, labels) = ("mcp.server.refusals", [("reason", word)]);
            meter.record(MeterKind::Counter, name, &labels, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_engine::Measures;

    use super::*;

    #[test]
    fn refusals_are_counted_by_reason() {
        let mut refused = Refused::default();
        for code in [-32_600, -32_600, -32_042] {
            refused.add(code);
        }
        let mut measures = Measures::default();
        refused.report(&mut measures);
        let by = |reason| measures.labelled("", "mcp.server.refusals", reason);
        assert_eq!(
            (by("invalid_request"), by("other"), by("parse_error")),
            (2, 1, 0)
        );
        assert_eq!(measures.value("", "mcp.server.requests.refused"), 3);
        for (code, word) in REASONS {
            let mut refused = Refused::default();
            refused.add(code);
            let mut measures = Measures::default();
            refused.report(&mut measures);
            assert_eq!(
                measures.labelled("", "mcp.server.refusals", word),
                1,
                "{word}"
            );
        }
    }
}
