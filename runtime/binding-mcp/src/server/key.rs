//! Encodes the part and the entry that a stream or timer belongs to as a token.

use tidegate_engine::Token;

/// The meaning of a token. The part is in the upper four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Http(usize),
    Line(usize),
    Request(usize),
    Session(usize),
    Subscription(usize),
    Batch(usize),
    Capabilities(usize),
    Listen(usize),
}

const SHIFT: u32 = 28;

impl Key {
    pub(super) fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Http(index) => (0, index),
            Self::Line(index) => (1, index),
            Self::Request(index) => (2, index),
            Self::Session(index) => (3, index),
            Self::Subscription(index) => (4, index),
            Self::Batch(index) => (5, index),
            Self::Capabilities(index) => (6, index),
            Self::Listen(index) => (7, index),
        };
        // A worker has far fewer streams than 2^28.
        Token(kind << SHIFT | u32::try_from(index).unwrap_or(u32::MAX) & ((1 << SHIFT) - 1))
    }

    pub(super) const fn of(token: Token) -> Self {
        let index = (token.0 & ((1 << SHIFT) - 1)) as usize;
        match token.0 >> SHIFT {
            0 => Self::Http(index),
            1 => Self::Line(index),
            2 => Self::Request(index),
            3 => Self::Session(index),
            4 => Self::Subscription(index),
            5 => Self::Batch(index),
            6 => Self::Capabilities(index),
            _ => Self::Listen(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_what_it_was_made_of() {
        for key in [
            Key::Http(0),
            Key::Line(1),
            Key::Request(2),
            Key::Session((1 << SHIFT) - 1),
            Key::Subscription(4),
            Key::Batch(5),
            Key::Capabilities(6),
            Key::Listen(7),
        ] {
            assert_eq!(Key::of(key.token()), key);
        }
    }
}
