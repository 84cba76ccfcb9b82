//! Names of devices, properties and commands, made of what devices call themselves.

/// Most characters of an id or of a part of a name.
const LENGTH_MAX: usize = 64;

/// The words of a text in small letters, with `_` between them: `Kitchen Light` is `kitchen_light`. Only ASCII letters
/// and digits are kept.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars() {
        if slug.len() >= LENGTH_MAX {
            break;
        }
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    while slug.ends_with('_') {
        slug.pop();
    }
    slug
}

/// An id of at most 64 characters `A-Z a-z 0-9 _ -`. If `text` is something else, the id ends with a number made of it,
/// so that different texts have different ids.
pub(crate) fn id(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    if !text.is_empty() && text.len() <= LENGTH_MAX && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let shown: String = text
        .chars()
        .take(LENGTH_MAX - 9)
        .map(|it| if is_plain(it) { it } else { '_' })
        .collect();
    let number = fnv1a(text.as_bytes());
    format!("{shown}-{number:08x}")
}

/// FNV-1a, 32 bits: the same in each version and on each machine.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_letters_digits_and_underscores() {
        for (text, expected) in [
            ("Kitchen Light", "kitchen_light"),
            ("  --PM2.5-- ", "pm2_5"),
            ("Übertemperatur °C", "bertemperatur_c"),
            ("温度", ""),
        ] {
            assert_eq!(slug(text), expected);
        }
        assert_eq!(slug(&"a".repeat(1000)).len(), 64);
    }

    #[test]
    fn an_id_is_the_text_or_is_marked_as_another() {
        assert_eq!(
            id("zigbee2mqtt_0x0017880104e45553"),
            "zigbee2mqtt_0x0017880104e45553"
        );
        assert_eq!(id("02:5b:26"), "02_5b_26-a2536de2");
        assert_ne!(id("a b"), id("a/b"));
        assert_eq!(id(&"a".repeat(1000)).len(), 64);
        assert_eq!(id(""), "-811c9dc5");
    }
}
