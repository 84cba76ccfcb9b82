//! The stream vocabulary: what the bindings say to each other, as plain Rust types.
//!
//! A stream is a pair of half-streams, *initial* (caller to callee) and *reply* (back). Frames travel
//! on a half: BEGIN, DATA, END, ABORT and FLUSH with its flow; RESET, WINDOW and CHALLENGE against
//! it. Each protocol adds typed *extensions* to the frames; every extension is declared once, with
//! [`extension!`], and its struct, its printed form and its parsed form all come from that.
//!
//! This crate holds no behaviour beyond the vocabulary's own rules (topic matching among them): the
//! engine moves frames, the bindings give them meaning.
#![forbid(unsafe_code)]

pub mod bytes_stream;
mod event;
mod extension;
mod field;
mod frame;
pub mod http_stream;
mod identity;
pub mod line;
pub mod mcp;
pub mod mqtt;
mod pooled;
mod scripted;
mod shown;

pub use event::{Event, Severity};
pub use extension::{AbortEx, BeginEx, ChallengeEx, DataEx, EndEx, FlushEx, Protocol, ResetEx};
pub use field::{Extension, Field, FieldDoc, FieldError, Value};
pub use frame::{Data, DataFlags, Direction, Frame, FrameKind, Half, Role, Window};
pub use identity::{Identity, IdentityAttribute};
pub use pooled::{Pool, Poolable, Pooled};
pub use scripted::{Scripted, reference};
pub use shown::shown;
