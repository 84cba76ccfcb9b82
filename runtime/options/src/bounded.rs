//! Integer options with bounds that are part of the type.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// An integer from `MIN` to `MAX`; other values fail to deserialize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// For constants such as defaults: a value out of bounds fails to compile when evaluated in a
    /// constant, and panics otherwise.
    pub const fn of(value: u64) -> Self {
        assert!(value >= MIN && value <= MAX, "value out of bounds");
        Self(value)
    }

    /// `None` if the value is out of bounds.
    pub const fn new(value: u64) -> Option<Self> {
        if value < MIN || value > MAX {
            return None;
        }
        Some(Self(value))
    }

    /// The value; at least `MIN` and at most `MAX`.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The value as a count or size; saturates at `usize::MAX`.
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Visitor)
    }
}

struct Visitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> de::Visitor<'_> for Visitor<MIN, MAX> {
    type Value = Bounded<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Bounded::new(value).ok_or_else(|| out_of_range(value, MIN, MAX))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        let within = u64::try_from(value).ok().and_then(Bounded::new);
        within.ok_or_else(|| out_of_range(value, MIN, MAX))
    }
}

fn out_of_range<E: de::Error>(value: impl fmt::Display, min: u64, max: u64) -> E {
    E::custom(format!("{value} is out of range; use {min} to {max}"))
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Bounded<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("From{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<u64, String> {
        let bounded = serde_json::from_str::<Bounded<2, 70_000>>(json);
        bounded.map(Bounded::get).map_err(|error| error.to_string())
    }

    #[test]
    fn both_bounds_are_within() {
        for (json, expected) in [("2", 2), ("70000", 70_000)] {
            assert_eq!(read(json), Ok(expected));
        }
        assert_eq!(Bounded::<2, 5>::of(5).size(), 5);
    }

    #[test]
    fn a_refusal_names_the_bounds() {
        for json in ["1", "70001", "-1"] {
            let error = read(json).expect_err(json);
            let expected = format!("{json} is out of range; use 2 to 70000");
            assert!(error.contains(&expected), "{error}");
        }
        let error = read("\"many\"").expect_err("text");
        assert!(
            error.contains("expected an integer from 2 to 70000"),
            "{error}"
        );
    }

    #[test]
    fn the_schema_has_the_bounds() {
        let schema = schemars::schema_for!(Bounded<2, 5>).to_value();
        assert_eq!(
            (&schema["minimum"], &schema["maximum"]),
            (&2.into(), &5.into())
        );
    }
}
