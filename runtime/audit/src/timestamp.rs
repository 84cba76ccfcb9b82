//! Times as RFC 3339 text in UTC with microseconds: `2026-11-29T13:33:36.000123Z`.

/// Length of the text.
pub(crate) const LENGTH: usize = 27;

const DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01, in the calendar whose years begin in March.
const EPOCH: u64 = 719_468;
/// Days of 400 years.
const ERA: u64 = 146_097;

/// The last microsecond of the year 9999: years have four digits.
const LAST: u64 = 253_402_300_799_999_999;

/// The text of a time in microseconds since the Unix epoch. A later one than the year 9999, of a clock
/// that is wrong, is its end.
pub(crate) fn text(unix_micros: u64) -> String {
    let unix_micros = unix_micros.min(LAST);
    let (seconds, micros) = (unix_micros / 1_000_000, unix_micros % 1_000_000);
    let (days, second) = (seconds / DAY, seconds % DAY);
    // Counted from March, a leap day is the last day of its year, and months have a regular length.
    let shifted = days + EPOCH;
    let (era, day) = (shifted / ERA, shifted % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Reads such a text.
pub(crate) fn parse(text: &str) -> Option<u64> {
    if text.len() != LENGTH {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        let all = digits.bytes().all(|digit| digit.is_ascii_digit());
        all.then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let days = era * ERA + of_era - EPOCH;
    let seconds = days * DAY + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1_000_000 + number(20, 26)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
            (1_767_225_600_000_000, "2026-01-01T00:00:00.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (LAST, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(text(micros), expected);
            assert_eq!(parse(expected), Some(micros));
        }
        assert_eq!(text(u64::MAX), text(LAST));
        for wrong in [
            "",
            "1969-12-31T23:59:59.000000Z",
            "2026-13-01T00:00:00.000000Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_read_back(micros in 0_u64..200_000_000_000_000_000) {
            let text = text(micros);
            prop_assert_eq!(text.len(), LENGTH);
            prop_assert_eq!(parse(&text), Some(micros));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
