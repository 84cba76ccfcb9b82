//! JSON-RPC request ids.

use smallvec::SmallVec;
use tidegate_json::{Kind, Value};

use super::error::Error;

/// Maximum length of an id, in bytes: ids are kept while their requests run.
pub const ID_MAX: usize = 1_024;

/// A JSON-RPC id as JSON text: `7` or `"seven"`. It is echoed unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(SmallVec<[u8; 22]>);

impl Id {
    /// The id of a response to a message whose id could not be read.
    #[must_use]
    pub fn null() -> Self {
        Self(SmallVec::from_slice(b"null"))
    }

    /// A numeric id, for requests of our own.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self(SmallVec::from_slice(number.to_string().as_bytes()))
    }

    /// Reads an id: a string or an integer.
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
                "The member 'id' must be a string or an integer.",
            ));
        }
        if long {
            let what = format!("The member 'id' exceeds {ID_MAX} bytes.");
            return Err(Error::invalid_request(what));
        }
        // Copied, because the id would otherwise keep its large buffer alive while the request
        // runs.
        Ok(Self(SmallVec::from_slice(&value.raw())))
    }

    /// The JSON text.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}
