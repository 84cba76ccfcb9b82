//! The forms of values in messages of Azure `IoT` Operations: versions, content types, GUIDs and durations.

use std::fmt::Write as _;

use bytestring::ByteString;
use tidegate_engine::Duration;
use tidegate_streams::mqtt::text::check_characters;

/// The major version of the protocol.
pub(super) const MAJOR_VERSION: u16 = 1;
/// Bytes of a GUID.
pub(super) const GUID: usize = 16;
/// Most bytes of a value of an invalid property that the answer repeats.
const VALUE_MAX: usize = 256;

/// Whether a version is one of the supported major version.
pub(super) fn is_supported(version: &str) -> bool {
    let number = |part: &str| {
        let is_number = !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| is_number)
    };
    let parts = version.split_once('.');
    let version = parts.and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    version.is_some_and(|(major, _)| major == MAJOR_VERSION)
}

/// Whether a content type is JSON, with any parameters.
pub(super) fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// The 16 bytes of a GUID as text.
pub(super) fn guid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().take(GUID).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A duration of ISO 8601.
pub(super) fn iso_8601(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    match millis {
        0 => format!("PT{seconds}S"),
        _ => format!("PT{seconds}.{millis:03}S"),
    }
}

/// A value from outside, as part of an answer.
pub(super) fn shortened(value: &str) -> ByteString {
    sayable(value, VALUE_MAX)
}

/// At most this number of bytes of a text, with replacements for the characters that MQTT forbids.
pub(super) fn sayable(text: &str, max: usize) -> ByteString {
    let allowed = |it: char| check_characters(it.encode_utf8(&mut [0; 4])).is_ok();
    let replaced = |it: char| {
        if allowed(it) {
            it
        } else {
            char::REPLACEMENT_CHARACTER
        }
    };
    match check_characters(text) {
        Ok(()) => cut(text, max).into(),
        Err(_) => cut(
            &text.chars().take(max).map(replaced).collect::<String>(),
            max,
        )
        .into(),
    }
}

/// At most this number of bytes of a text.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_major_version_are_supported() {
        for version in ["1.0", "1.7"] {
            assert!(is_supported(version), "{version}");
        }
        for version in [
            "0.1", "2.0", "1", "1.", ".1", "1.0.0", "+1.0", "1.x", "", "99999.0",
        ] {
            assert!(!is_supported(version), "{version}");
        }
    }

    #[test]
    fn content_types_may_have_parameters() {
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(!is_json("application/json5"));
        assert!(!is_json(""));
    }

    #[test]
    fn values_have_the_forms_of_the_specification() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(guid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(iso_8601(Duration::from_millis(2_000)), "PT2S");
        assert_eq!(iso_8601(Duration::from_millis(1_050)), "PT1.050S");
        assert_eq!(sayable("aä", 2), "a");
        assert_eq!(sayable("a\nb\u{ffff}", 90), "a\u{fffd}b\u{fffd}");
    }
}
