//! Line streams: one JSON-RPC message per line, from `stdio · server` to `mcp · server`, and from
//! `mcp · client` to `stdio · client`.
//!
//! At `stdio · server`, the process has a single line stream. Each line of standard input is one message
//! of the initial half; each message of the reply half is one line of standard output. END of the initial
//! half means the end of standard input.
//!
//! At `stdio · client`, each stream is a child process: its standard input is the initial half, and its
//! standard output the reply half. A RESET says why it could not be started, or how it ended.

use bytestring::ByteString;

use crate::extension;

extension! {
    /// Opens the stream of standard input and output; at `stdio · client`, starts the process. Its reply
    /// follows once the process runs.
    pub struct LineBegin "line" {}
}

extension! {
    /// FLUSH on the half of the reader: a line exceeded the size limit and was skipped.
    pub struct LineOversized "oversized" {
        /// Length of the line, in bytes.
        length "length": u64 = 0,
        /// Maximum line length, in bytes.
        limit "limit": u64 = 0,
    }
}

extension! {
    /// Why a process could not be started, or how it ended.
    pub struct LineReset "line" {
        /// Reason in words: `the process ended with exit status 1`.
        reason "reason": ByteString = ByteString::new(),
    }
}
