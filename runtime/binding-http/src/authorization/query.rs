//! A credential in the query of a URL.

use std::borrow::Cow;

use super::denial::Denial;

const MALFORMED: Denial = Denial::Malformed("Malformed credentials in the query.");

/// The decoded value of a parameter, which may occur once.
pub(super) fn value<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Denial> {
    let mut values = query.split('&').filter_map(|pair| named(pair, name));
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(MALFORMED);
    }
    decode(first).map(Some).ok_or(MALFORMED)
}

/// The query without a parameter; `None` if it does not have it.
pub(super) fn without(query: &str, name: &str) -> Option<String> {
    let pairs = || query.split('&');
    pairs().find_map(|pair| named(pair, name))?;
    let others: Vec<&str> = pairs().filter(|pair| named(pair, name).is_none()).collect();
    Some(others.join("&"))
}

/// The value of a pair, if it has this name, which may be encoded, too.
fn named<'a>(pair: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    (decode(key)? == name).then_some(value)
}

/// Decodes `%41` and `+`; `None` if it is not UTF-8 or a code is incomplete.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_and_removed_whatever_its_encoding() {
        for (query, expected, rest) in [
            ("api_key=abc", Some("abc"), ""),
            ("a=b&api_key=a%2Bc+d&c", Some("a+c d"), "a=b&c"),
            ("%61pi_key=abc&a", Some("abc"), "a"),
            ("api_key", Some(""), ""),
        ] {
            let found = value(query, "api_key").expect("one value");
            assert_eq!(found.as_deref(), expected, "{query}");
            assert_eq!(without(query, "api_key").as_deref(), Some(rest), "{query}");
        }
        for query in ["", "a=b", "api_keys=abc", "API_KEY=abc", "a=api_key=1"] {
            assert!(
                value(query, "api_key").is_ok_and(|it| it.is_none()),
                "{query}"
            );
            assert_eq!(without(query, "api_key"), None);
        }
        for query in [
            "api_key=a&api_key=b",
            "api_key=%4",
            "api_key=%zz",
            "api_key=%ff",
        ] {
            assert!(value(query, "api_key").is_err(), "{query}");
        }
        assert_eq!(
            without("api_key=a&x&api_key=%zz", "api_key").as_deref(),
            Some("x")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics_and_nothing_of_the_name_remains(query in "[a-c=&%+0-9é]{0,40}") {
            let _ = value(&query, "a");
            let rest = without(&query, "a").unwrap_or(query);
            proptest::prop_assert!(value(&rest, "a").is_ok_and(|it| it.is_none()));
        }
    }
}
