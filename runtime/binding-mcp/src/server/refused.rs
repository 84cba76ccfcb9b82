//! Counts the refused messages by reason.

use tidegate_engine::{Meter, MeterKind};

/// The codes that a refusal may have, and their words; others are counted together.
const REASONS: [(i64, &str); 9] = [
    (-32_700, "parse_error"),
    (-32_600, "invalid_request"),
    (-32_601, "method_not_found"),
    (-32_602, "invalid_params"),
    (-32_603, "internal_error"),
    (-32_000, "unavailable"),
    (-32_002, "resource_not_found"),
    (-32_003, "unauthorized"),
    (-32_004, "too_many_requests"),
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
    }
}
