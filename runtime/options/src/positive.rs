//! Integers that must not be 0: with a limit of 0 nothing could be served.

use serde::{Deserialize, Deserializer, de};

/// Deserializes a number of at least 1, for `deserialize_with`.
pub fn positive<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de> + Default + PartialEq,
{
    not_zero(N::deserialize(deserializer)?)
}

/// Deserializes an optional number of at least 1, for `deserialize_with` together with `default`.
pub fn positive_or_absent<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de> + Default + PartialEq,
{
    Option::<N>::deserialize(deserializer)?
        .map(not_zero)
        .transpose()
}

fn not_zero<N: Default + PartialEq, E: de::Error>(number: N) -> Result<N, E> {
    if number == N::default() {
        return Err(E::custom("must be at least 1"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, U64Deserializer};

    use super::*;

    #[test]
    fn zero_is_refused() {
        let number = |value: u64| -> U64Deserializer<Error> { value.into_deserializer() };
        assert_eq!(positive(number(1)), Ok(1_u64));
        let refused = positive::<_, usize>(number(0)).map_err(|error| error.to_string());
        assert_eq!(refused, Err("must be at least 1".to_owned()));
    }

    #[test]
    fn nothing_is_not_zero() {
        let read = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            positive_or_absent::<_, u64>(&mut json).map_err(|error| error.to_string())
        };
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read("5"), Ok(Some(5)));
        assert!(read("0").is_err_and(|error| error.contains("at least 1")));
    }
}
