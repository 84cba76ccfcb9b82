//! A moment in the config: a date, or a date with time, as in RFC 3339.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY: u64 = 86_400;

/// A moment from 1970 to 9999, in whole seconds. A date alone is the start of that day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    seconds: u64,
}

impl Moment {
    /// The moment so many milliseconds after the Unix epoch, without its fraction of a second.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self {
            seconds: millis / 1_000,
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.seconds.saturating_mul(1_000)
    }

    /// Reads `2027-01-31`, `2027-01-31T08:00:00Z` or `2027-01-31T08:00:00+01:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once(['T', 't', ' ']) {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut parts = date.splitn(3, '-');
        let year = number(parts.next()?, 4, 1970, 9999)?;
        let month = number(parts.next()?, 2, 1, 12)?;
        let day = number(parts.next()?, 2, 1, days_of(year, month))?;
        let midnight = days_since_epoch(year, month, day) * DAY;
        let Some(time) = time else {
            return Some(Self { seconds: midnight });
        };
        let (clock, zone) = time.split_at_checked(8)?;
        let seconds = midnight + seconds_of(clock)?;
        if zone.eq_ignore_ascii_case("z") {
            return Some(Self { seconds });
        }
        let (sign, offset) = zone.split_at_checked(1)?;
        let (hours, minutes) = offset.split_once(':')?;
        let offset = number(hours, 2, 0, 23)? * 3_600 + number(minutes, 2, 0, 59)? * 60;
        let seconds = match sign {
            "+" => seconds.checked_sub(offset)?,
            "-" => seconds + offset,
            _ => return None,
        };
        Some(Self { seconds })
    }
}

fn seconds_of(clock: &str) -> Option<u64> {
    let mut parts = clock.splitn(3, ':');
    let hours = number(parts.next()?, 2, 0, 23)?;
    let minutes = number(parts.next()?, 2, 0, 59)?;
    let seconds = number(parts.next()?, 2, 0, 59)?;
    Some(hours * 3_600 + minutes * 60 + seconds)
}

fn number(text: &str, digits: usize, min: u64, max: u64) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse().ok())??;
    (min..=max).contains(&number).then_some(number)
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    let months: u64 = (1..month).map(|month| days_of(year, month)).sum();
    years + months + day - 1
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut days, time) = (self.seconds / DAY, self.seconds % DAY);
        let mut year = 1970;
        while days >= if is_leap(year) { 366 } else { 365 } && year < 9999 {
            days -= if is_leap(year) { 366 } else { 365 };
            year += 1;
        }
        let mut month = 1;
        while month < 12 && days >= days_of(year, month) {
            days -= days_of(year, month);
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}", days + 1)?;
        if time > 0 {
            let (hours, minutes, seconds) = (time / 3_600, time / 60 % 60, time % 60);
            write!(f, "T{hours:02}:{minutes:02}:{seconds:02}Z")?;
        }
        Ok(())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(
                "must be a date like 2027-01-31, or a date with time and zone like \
                 2027-01-31T08:00:00Z",
            )
        })
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_and_times_are_read() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2026-11-29", 1_795_910_400),
            ("2026-11-29T13:25:43Z", 1_795_958_743),
            ("2026-11-29T14:25:43+01:00", 1_795_958_743),
            ("2026-11-29t07:55:43-05:30", 1_795_958_743),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(
                Moment::parse(text).map(|it| it.seconds),
                Some(seconds),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_not() {
        for text in [
            "",
            "2027",
            "2027-13-01",
            "2027-02-29",
            "2027-1-1",
            "1969-12-31",
            "2027-01-01T",
            "2027-01-01T08:00:00",
            "2027-01-01T24:00:00Z",
            "2027-01-01T08:00:00+1",
            "1970-01-01T00:00:00+01:00",
            "2027-01-01T08:00:0é",
            "+027-01-01",
            "tomorrow",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(seconds in 0_u64..253_402_300_800) {
            let moment = Moment { seconds };
            prop_assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Moment::parse(&text);
        }
    }
}
