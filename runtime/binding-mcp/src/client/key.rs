//! Encodes what a stream or timer belongs to as a token.

use tidegate_engine::Token;

/// The meaning of a token. What it is is in the upper four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// An operation of a caller.
    Call(usize),
    /// A connection with the server.
    Link(usize),
    /// An HTTP request.
    Post(usize),
    /// A message that is published over MQTT.
    Publication(usize),
    /// The subscription over MQTT.
    Wire,
}

const SHIFT: u32 = 28;

impl Key {
    pub(super) fn token(self) -> Token {
        let (kind, index) = match self {
            Self::Call(index) => (0, index),
            Self::Link(index) => (1, index),
            Self::Post(index) => (2, index),
            Self::Publication(index) => (3, index),
            Self::Wire => (4, 0),
        };
        // A worker has far fewer streams than 2^28.
        Token(kind << SHIFT | u32::try_from(index).unwrap_or(u32::MAX) & ((1 << SHIFT) - 1))
    }

    pub(super) const fn of(token: Token) -> Self {
        let index = (token.0 & ((1 << SHIFT) - 1)) as usize;
        match token.0 >> SHIFT {
            0 => Self::Call(index),
            1 => Self::Link(index),
            2 => Self::Post(index),
            3 => Self::Publication(index),
            _ => Self::Wire,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_what_it_was_made_of() {
        for key in [
            Key::Call(0),
            Key::Link(1),
            Key::Post((1 << SHIFT) - 1),
            Key::Publication(2),
            Key::Wire,
        ] {
            assert_eq!(Key::of(key.token()), key);
        }
    }
}
