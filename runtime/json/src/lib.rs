//! Reads a JSON message in place, over the parts in which it came.
//!
//! A message from the network is a list of `Bytes`. [`Document::parse`] checks the whole of it,
//! strictly (RFC 8259), before anybody acts on any of it, and writes down where its values lie; a
//! [`Value`] is then a range of the message. No tree is built and no payload is copied: [`Value::parts`] and
//! [`Value::string_parts`] give slices of what came in, and only a string with escapes is copied,
//! once.
//!
//! What is written down takes at most 8 KiB, whatever the message holds: in a message of more than some
//! 500 values, those of a large container are found in the text when they are asked for. Every look at
//! a message takes time in proportion to its size, however it is made.
//!
//! ```
//! use tidegate_json::{Document, Limits, Parts};
//! let mut message = Parts::new();
//! message.push(bytes::Bytes::from_static(b"{\"name\":\"publ"));
//! message.push(bytes::Bytes::from_static(b"ish\",\"n\":1}"));
//! let document = Document::parse(message, Limits::default())?;
//! let name = document.root().get("name")?.and_then(|name| name.string());
//! assert_eq!(name.as_deref(), Some("publish"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod blocks;
mod cursor;
mod document;
mod error;
mod escape;
mod gather;
mod index;
mod listing;
mod parts;
mod scan;
mod string;
mod unescape;
mod unlisted;
mod value;
pub mod write;

pub use document::{Document, Limits, ValueId};
pub use error::{Duplicate, Error, Fault};
pub use gather::Gather;
pub use parts::{Buffers, Parts};
pub use value::{Elements, Key, Kind, Members, Picked, Value};
