//! Line streams: one JSON-RPC message per line, between `stdio · server` and `mcp · server`.
//!
//! The process has a single line stream. Each line of standard input is one message of the initial
//! half; each message of the reply half is one line of standard output. END of the initial half
//! means the end of standard input.

use crate::extension;

extension! {
    /// Opens the stream of standard input and output.
    pub struct LineBegin "line" {}
}

extension! {
    /// FLUSH on the initial half: a line exceeded the size limit and was skipped.
    pub struct LineOversized "oversized" {
        /// Length of the line, in bytes.
        length "length": u64 = 0,
        /// Maximum line length, in bytes.
        limit "limit": u64 = 0,
    }
}
