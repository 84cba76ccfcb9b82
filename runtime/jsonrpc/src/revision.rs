//! The supported MCP revisions.

/// The modern revision.
pub const MODERN: &str = "2026-07-28";
/// The legacy revisions, newest first.
pub const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// The only legacy revision with batches.
pub const BATCHING: &str = "2025-03-26";

/// Every supported revision, newest first.
pub fn supported_versions() -> impl Iterator<Item = &'static str> {
    std::iter::once(MODERN).chain(LEGACY)
}
