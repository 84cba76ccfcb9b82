//! Finds the line and column of a key or value.
//!
//! The YAML parser has no positions for values, only for errors. A location is found by parsing the
//! text again with a visitor that follows the path and fails there, so the cost arises only when a
//! fault is reported.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Location {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// Whether to locate the key or the value of the last step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Key,
    Value,
}

/// The location of the key or value at a path, or of its nearest existing ancestor.
pub(crate) fn locate(text: &str, path: &[String], target: Target) -> Location {
    let mut path = path;
    let mut target = target;
    loop {
        let probe = Probe { path, target };
        let found = probe.deserialize(serde_yaml::Deserializer::from_str(text));
        if let Some(location) = found.err().and_then(|error| error.location()) {
            return Location {
                line: location.line(),
                column: location.column(),
            };
        }
        match path.split_last() {
            Some((_, above)) => path = above,
            None => return Location::START,
        }
        target = Target::Value;
    }
}

struct Probe<'p> {
    path: &'p [String],
    target: Target,
}

/// The error whose location is the result.
fn here<T, E: Error>() -> Result<T, E> {
    Err(E::custom("here"))
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($($method:ident($type:ty)),*) => { $(
        fn $method<E: Error>(self, _: $type) -> Result<(), E> {
            here()
        }
    )* };
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the located value")
    }

    scalars!(
        visit_str(&str),
        visit_u64(u64),
        visit_i64(i64),
        visit_f64(f64),
        visit_bool(bool)
    );

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        here()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, below)) = self.path.split_first() else {
            return here();
        };
        let of_key = below.is_empty() && self.target == Target::Key;
        while let Some(found) = map.next_key_seed(KeyProbe {
            name: step,
            stops: of_key,
        })? {
            if found {
                map.next_value_seed(Probe {
                    path: below,
                    target: self.target,
                })?;
                // Not found: read the remaining entries, or the parser reports an error for this mapping.
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((step, below)) = self.path.split_first() else {
            return here();
        };
        for _ in 0..step.parse().unwrap_or(0_usize) {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Probe {
            path: below,
            target: self.target,
        })?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Compares a key with the wanted one; with `stops`, fails at it to obtain its location.
struct KeyProbe<'p> {
    name: &'p str,
    stops: bool,
}

impl<'de> DeserializeSeed<'de> for KeyProbe<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for KeyProbe<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        if key == self.name && self.stops {
            return here();
        }
        Ok(key == self.name)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}
