//! The stream vocabulary: the frames and extensions that bindings exchange, as plain Rust types.
//!
//! A stream is a pair of half-streams, *initial* (caller to callee) and *reply* (back). BEGIN,
//! DATA, END, ABORT and FLUSH travel with the flow of a half; RESET, WINDOW and CHALLENGE travel
//! against it. Each protocol adds typed *extensions* to the frames. An extension is declared once,
//! with [`extension!`], which generates its struct, printer and parser.
//!
//! This crate contains only the vocabulary and its own rules, such as topic matching. The engine
//! moves frames and the bindings interpret them.
#![forbid(unsafe_code)]

pub mod bytes_stream;
mod caller;
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
pub mod store;
mod visible;

pub use caller::{CallerValue, EXPRESSION};
pub use event::{Audit, Event, Severity};
pub use extension::{AbortEx, BeginEx, ChallengeEx, DataEx, EndEx, FlushEx, Protocol, ResetEx};
pub use field::{Extension, Field, FieldDoc, FieldError, Value};
pub use frame::{Data, DataFlags, Direction, Frame, FrameKind, Half, Role, Window};
pub use identity::{Identity, IdentityAttribute};
pub use pooled::{Pool, Poolable, Pooled};
pub use scripted::{Scripted, reference};
pub use shown::shown;
pub use visible::{Visible, is_deceptive};
