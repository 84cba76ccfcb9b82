//! What can be wrong with a message.

use thiserror::Error;

/// A message that is no JSON, or more than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{fault} at byte {offset}")]
pub struct Error {
    /// Where, in bytes from the start of the message.
    pub offset: usize,
    /// What.
    pub fault: Fault,
}

/// What is wrong at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The message ends too early.
    #[error("the JSON text ends too early")]
    Incomplete,
    /// A character that cannot stand there.
    #[error("unexpected character")]
    Unexpected,
    /// Something follows the value.
    #[error("more text behind the JSON value")]
    Trailing,
    /// A control character in a string.
    #[error("a control character in a string must be escaped")]
    Control,
    /// A backslash in front of something that is no escape, or half a surrogate pair.
    #[error("invalid escape in a string")]
    Escape,
    /// A string that is no UTF-8.
    #[error("a string is not valid UTF-8")]
    Utf8,
    /// A number that is none.
    #[error("invalid number")]
    Number,
    /// A message of 4 GiB or more.
    #[error("the message is too long")]
    Size,
    /// Arrays and objects within each other beyond the limit.
    #[error("arrays and objects are nested too deep")]
    Depth,
    /// An array that is the whole text has more elements than are read.
    #[error("the array has too many elements")]
    Elements,
}

/// An object has a member twice, so that it is not clear which one is meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the member '{0}' occurs twice")]
pub struct Duplicate(pub String);
