//! Line streams: one JSON-RPC message a line, between `stdio · server` and `mcp · server`.
//!
//! One stream for the whole process: each line of standard input is one message of the initial
//! half, each message of the reply half is one line of standard output. END of the initial half is
//! the end of standard input.

use crate::extension;

extension! {
    /// Opens the conversation of the process with its client.
    pub struct LineBegin "line" {}
}

extension! {
    /// FLUSH on the initial half: a line was longer than the edge may buffer, and was skipped.
    pub struct LineOversized "oversized" {
        /// How long the line was, in bytes.
        length "length": u64 = 0,
        /// The longest line that is taken, in bytes.
        limit "limit": u64 = 0,
    }
}
