//! The audit log: one line of JSON for each call, refusal, session and start, in files whose lines
//! are chained by their hashes.
//!
//! - [`Audit`] takes the audited events of all workers ([`tidegate_driver::Export`]) and returns at
//!   once: it copies them into a bounded queue. A thread of its own joins the events of a call,
//!   hashes payloads, and writes the file.
//! - The line, the chain, the join, the rotation and the verification do no I/O and know no clock;
//!   only [`Audit`], the thread behind it and [`verify_files`] do.
//! - While the file cannot be written, records are dropped and counted, and a line reports the gap
//!   when writing works again; or, with `onFailure: refuse`, they are kept and new calls are refused.
//!
//! What the chain shows, and what it cannot show, is said in `docs/audit.md`.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "the thread that writes the file measures real time"
)]

mod audit;
mod chain;
mod entry;
mod file;
mod files;
mod hash;
mod join;
mod json;
mod options;
mod queue;
mod record;
mod redact;
mod rotation;
mod timestamp;
mod verify;
mod writer;

pub use audit::{Audit, StartError, Started};
pub use chain::{LINE_MAX, Line, LineFault, parse};
pub use files::{VerifyError, verify_files};
pub use hash::Hash;
pub use options::{OnFailure, Options, Sync};
pub use redact::{JsonPath, PathFault};
pub use verify::{Fault, Finding, Report, Verifier};
