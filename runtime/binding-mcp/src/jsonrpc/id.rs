//! Ids of requests.

use smallvec::SmallVec;
use tidegate_json::{Kind, Value};

use super::error::Error;

/// The longest id that is taken, in bytes: it is kept for as long as its request runs.
pub const ID_MAX: usize = 1_024;

/// A JSON-RPC id, as its JSON text: `7` or `"seven"`. It is echoed as it came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(SmallVec<[u8; 22]>);

impl Id {
    /// The id of an answer to a message whose id could not be read.
    #[must_use]
    pub fn null() -> Self {
        Self(SmallVec::from_slice(b"null"))
    }

    /// An id of our own.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self(SmallVec::from_slice(number.to_string().as_bytes()))
    }

    /// Reads an id: a string or a whole number.
    pub fn read(value: &Value<'_>) -> Result<Self, Error> {
        let whole = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        let long = value.range().len() > ID_MAX;
        let legal = match value.kind() {
            Kind::String => true,
            Kind::Number => long || whole(&value.raw()),
            _ => false,
        };
        if !legal {
            return Err(Error::invalid_request(
                "The member 'id' must be a string or a whole number.",
            ));
        }
        if long {
            let what = format!("The member 'id' is longer than {ID_MAX} bytes.");
            return Err(Error::invalid_request(what));
        }
        // The buffer it came in is large, and need not live as long as the request does.
        Ok(Self(SmallVec::from_slice(&value.raw())))
    }

    /// Its JSON text.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}
