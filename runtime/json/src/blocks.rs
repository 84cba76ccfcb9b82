//! Searching text in blocks and words instead of byte by byte.

/// Block size in bytes.
const WIDTH: usize = 64;

/// Length of the prefix, in whole blocks, that contains no special byte.
///
/// The loop over a block has no early exit, so the compiler vectorises it, provided `is_special`
/// has none either (use `|`, not `||`).
#[inline]
pub(crate) fn passed(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    let has_none = |block: &&[u8; WIDTH]| {
        !block
            .iter()
            .fold(false, |found, byte| found | is_special(*byte))
    };
    let (blocks, _) = bytes.as_chunks::<WIDTH>();
    WIDTH * blocks.iter().take_while(has_none).count()
}

/// Position of the first special byte.
#[inline]
pub(crate) fn position(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> Option<usize> {
    let passed = passed(bytes, &is_special);
    let rest = bytes.get(passed..)?;
    let at = rest.iter().position(|byte| is_special(*byte))?;
    Some(passed + at)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES * 0x80;

/// Position of the first occurrence of `byte` in eight bytes.
#[inline]
pub(crate) const fn first_of(word: [u8; 8], byte: u8) -> Option<usize> {
    let word = u64::from_le_bytes(word) ^ (ONES * byte as u64);
    // The subtraction borrows from the high bit of each zero byte. Bits above the first zero byte
    // may be wrong.
    first(word.wrapping_sub(ONES) & !word & HIGHS)
}

/// Position of the first of eight bytes that is not plain: see [`is_plain`].
#[inline]
pub(crate) const fn first_special(word: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    first((to_escape(word) | word) & HIGHS)
}

/// Position of the first of eight bytes that must be escaped: see [`needs_escape`].
#[inline]
pub(crate) const fn first_unwritable(word: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    first(to_escape(word) & !word & HIGHS)
}

/// Index of the byte that holds the lowest set high bit.
#[inline]
const fn first(highs: u64) -> Option<usize> {
    if highs == 0 {
        return None;
    }
    Some(highs.trailing_zeros() as usize / 8)
}

/// High bits of the ASCII bytes that are control characters, quotes or backslashes. Bits above the
/// lowest set one may be wrong.
const fn to_escape(word: u64) -> u64 {
    // Flipping the second bit places the quote right after the control characters.
    let quotes_and_controls = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslashes = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    quotes_and_controls | backslashes
}

/// Whether a byte represents itself in a string: ASCII except control characters, quote and
/// backslash.
#[allow(
    clippy::needless_bitwise_bool,
    reason = "no early exit, so that the loop is vectorised"
)]
#[inline]
pub(crate) const fn is_plain(byte: u8) -> bool {
    // As signed numbers, bytes beyond ASCII are below the control characters, and flipping the second bit
    // places the quote right after these, so one comparison covers all three.
    ((byte ^ 0x02).cast_signed() > 0x20) & (byte != b'\\')
}

/// Whether a byte must be escaped in a string.
#[allow(
    clippy::needless_bitwise_bool,
    reason = "no early exit, so that the loop is vectorised"
)]
#[inline]
pub(crate) const fn needs_escape(byte: u8) -> bool {
    ((byte ^ 0x02) < 0x21) | (byte == b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_of_eight_is_found() {
        fn first(word: [u8; 8], is: impl Fn(u8) -> bool) -> Option<usize> {
            word.into_iter().position(is)
        }
        for others in 0..=255 {
            for byte in 0..=255 {
                for at in 0..8 {
                    let mut word = [others; 8];
                    word[at] = byte;
                    assert_eq!(first_of(word, b'\\'), first(word, |byte| byte == b'\\'));
                    assert_eq!(first_special(word), first(word, |byte| !is_plain(byte)));
                    assert_eq!(first_unwritable(word), first(word, needs_escape));
                }
            }
        }
    }

    #[test]
    fn bytes_are_told_apart() {
        for byte in 0..=u8::MAX {
            let escaped = byte < 0x20 || byte == b'"' || byte == b'\\';
            assert_eq!(needs_escape(byte), escaped, "{byte:#04x}");
            assert_eq!(is_plain(byte), byte.is_ascii() && !escaped, "{byte:#04x}");
        }
    }

    #[test]
    fn a_special_byte_is_found_at_any_position() {
        for length in [0, 1, 63, 64, 65, 127, 128, 200] {
            let plain = vec![b'x'; length];
            assert_eq!(position(&plain, |byte| byte == b'y'), None);
            assert_eq!(passed(&plain, |byte| byte == b'y'), length / WIDTH * WIDTH);
            for at in 0..length {
                let mut text = plain.clone();
                text[at..].fill(b'y');
                assert_eq!(position(&text, |byte| byte == b'y'), Some(at));
                assert_eq!(passed(&text, |byte| byte == b'y'), at / WIDTH * WIDTH);
            }
        }
    }
}
