//! Reads JSON messages in place, across the buffers in which they were received.
//!
//! A message from the network is a list of `Bytes`. [`Document::parse`] validates all of it,
//! strictly (RFC 8259), and records the positions of its values; a [`Value`] is then a range of the
//! message. No tree is built and no payload is copied: [`Value::parts`] and [`Value::string_parts`]
//! return slices of the received buffers, and only a string with escapes is copied, once.
//!
//! The recorded positions take at most 8 KiB, whatever the message holds. In a message of more than
//! about 500 values, those of a large container are found by scanning the text. Every access takes
//! at most time linear in the message size.
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
