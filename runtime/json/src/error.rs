//! Errors found in a message.

use thiserror::Error;

/// The message is not valid JSON, or exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{fault} at byte {offset}")]
pub struct Error {
    /// Offset in bytes from the start of the message.
    pub offset: usize,
    /// The kind of error.
    pub fault: Fault,
}

/// The kind of error at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The message ends too early.
    #[error("the JSON text ends too early")]
    Incomplete,
    /// A character that is not allowed at this position.
    #[error("unexpected character")]
    Unexpected,
    /// More text follows the value.
    #[error("unexpected text after the JSON value")]
    Trailing,
    /// An unescaped control character in a string.
    #[error("a control character in a string must be escaped")]
    Control,
    /// An invalid escape, or half of a surrogate pair.
    #[error("invalid escape in a string")]
    Escape,
    /// A string that is not valid UTF-8.
    #[error("a string is not valid UTF-8")]
    Utf8,
    /// An invalid number.
    #[error("invalid number")]
    Number,
    /// A message of 4 GiB or more.
    #[error("the message is 4 GiB or longer")]
    Size,
    /// Nesting exceeds the limit.
    #[error("arrays and objects are nested too deeply")]
    Depth,
    /// An array that is the whole message exceeds the element limit.
    #[error("the array has too many elements")]
    Elements,
}

/// An object has the same member twice, so the member is ambiguous.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the member '{0}' occurs twice")]
pub struct Duplicate(pub String);
