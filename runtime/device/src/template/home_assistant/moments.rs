//! Filters that convert between Unix time stamps and texts. The time zone is UTC, and no clock is read.

use minijinja::{Environment, Error, ErrorKind, Value};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime, Time, format_description as description};

use super::number;

/// Most bytes of a format.
const FORMAT_MAX: usize = 128;

pub(super) fn extend(environment: &mut Environment<'static>) {
    environment.add_filter("timestamp_custom", timestamp_custom);
    environment.add_filter("timestamp_local", timestamp_utc);
    environment.add_filter("timestamp_utc", timestamp_utc);
    environment.add_filter("as_timestamp", as_timestamp);
    environment.add_function("as_timestamp", as_timestamp);
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// The moment of a time stamp in seconds.
fn moment(value: &Value) -> Option<OffsetDateTime> {
    let seconds = number(value)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "casts of floating-point numbers saturate"
    )]
    let microseconds = (seconds * 1e6).round() as i128;
    OffsetDateTime::from_unix_timestamp_nanos(microseconds.saturating_mul(1_000)).ok()
}

/// `timestamp_custom(format, local, default)`, the format being that of `strftime`.
fn timestamp_custom(
    value: &Value,
    format: &str,
    _local: Option<bool>,
    default: Option<Value>,
) -> Result<Value, Error> {
    let written = moment(value).and_then(|moment| {
        let format = (format.len() <= FORMAT_MAX).then_some(format)?;
        let items = description::parse_strftime_borrowed(format).ok()?;
        moment.format(&items).ok()
    });
    match (written, default) {
        (Some(text), _) => Ok(Value::from(text)),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(invalid("timestamp_custom: invalid time stamp or format")),
    }
}

/// As in `2026-11-29T20:00:00+00:00`.
fn timestamp_utc(value: &Value, default: Option<Value>) -> Result<Value, Error> {
    let written = moment(value).and_then(|moment| moment.format(&Rfc3339).ok());
    match (written, default) {
        (Some(text), _) => Ok(Value::from(text.replace('Z', "+00:00"))),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(invalid("not a time stamp, and no default is given")),
    }
}

/// Seconds since the Unix epoch, of a number or of a text as in `2026-11-29T20:00:00Z` or `2026-11-29 20:00:00`.
fn as_timestamp(value: &Value, default: Option<Value>) -> Result<Value, Error> {
    let seconds = match value.as_str() {
        Some(text) => parse(text.trim()),
        None => number(value),
    };
    match (seconds, default) {
        (Some(seconds), _) => Ok(Value::from(seconds)),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(invalid("as_timestamp: not a moment")),
    }
}

fn parse(text: &str) -> Option<f64> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(seconds(moment));
    }
    let plain = text.replacen('T', " ", 1);
    for format in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"] {
        let items = description::parse_strftime_borrowed(format).ok()?;
        if let Ok(moment) = PrimitiveDateTime::parse(&plain, &items) {
            return Some(seconds(moment.assume_utc()));
        }
    }
    let items = description::parse_strftime_borrowed("%Y-%m-%d").ok()?;
    let date = time::Date::parse(text, &items).ok()?;
    Some(seconds(date.with_time(Time::MIDNIGHT).assume_utc()))
}

/// With a resolution of a microsecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of the years 0 to 9999 are below 2^53 * 32"
)]
fn seconds(moment: OffsetDateTime) -> f64 {
    (moment.unix_timestamp_nanos() / 1_000) as f64 / 1e6
}
