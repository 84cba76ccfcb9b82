//! `store · file`: keeps the records of a store stream in a file, so that they outlive the process.
//!
//! | store | file |
//! |---|---|
//! | BEGIN | the records are read, and sent |
//! | a message | a write: puts or removes a record |
//! | FLUSH `stored` | the writes so far are on the disk |
//!
//! Guarantees:
//! - a worker never waits for the disk: a thread of its own reads and writes the file, all writes that wait
//!   in one transaction with one `fsync`;
//! - what was reported as stored outlives a crash of the process and of the machine;
//! - a file has one process at a time; one that is damaged beyond repair, or is not a store, is refused at the
//!   start;
//! - only the user of the gateway may read it: it contains what devices ask.
//!
//! Bounds: writes that wait are bounded by the credit of the stream; the records are bounded by their
//! owner, which is told `maxSize`.
#![forbid(unsafe_code)]

mod edge;
mod file;
mod options;
#[cfg(test)]
mod tests;
mod writer;

pub use edge::attach;
pub use file::FileError;
pub use options::Options;
