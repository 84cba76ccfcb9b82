//! Arguments as mcpMQTT accepts them: numbers may be texts, and a time is in seconds.

use tidegate_engine::Duration;
use tidegate_json::{Kind, Value};

use crate::arguments::{Arguments, TIMEOUT_MAX};
use crate::refusal::{Refusal, out_of_range, wrong};

/// Longest time, in seconds.
const SECONDS_MAX: u64 = TIMEOUT_MAX / 1_000;

/// A number, or the text of one.
fn number(value: &Value<'_>) -> Option<f64> {
    match value.kind() {
        Kind::Number => value.as_f64(),
        Kind::String => value.text()?.trim().parse().ok(),
        _ => None,
    }
}

fn refused(name: &str, value: &Value<'_>, allowed: &str) -> Refusal {
    if number(value).is_some() {
        out_of_range(name, value, allowed)
    } else {
        wrong(name, allowed, value)
    }
}

/// The argument at `which`, a time in seconds; at least a millisecond is waited.
pub(super) fn seconds<const N: usize>(
    arguments: &Arguments<'_, N>,
    which: usize,
    default: u64,
) -> Result<Duration, Refusal> {
    let Some(value) = arguments.get(which)? else {
        return Ok(Duration::from_secs(default));
    };
    let seconds =
        number(&value).and_then(|number| std::time::Duration::try_from_secs_f64(number).ok());
    let seconds = seconds.filter(|time| *time <= std::time::Duration::from_secs(SECONDS_MAX));
    let Some(seconds) = seconds else {
        let allowed = format!("a number of seconds from 0 to {SECONDS_MAX}");
        return Err(refused(arguments.name(which), &value, &allowed));
    };
    let millis = u64::try_from(seconds.as_millis()).unwrap_or(TIMEOUT_MAX);
    Ok(Duration::from_millis(millis.max(1)))
}

/// The argument at `which`, a whole number; `None` if it is absent.
pub(super) fn whole<const N: usize>(
    arguments: &Arguments<'_, N>,
    which: usize,
    (min, max): (u32, u32),
) -> Result<Option<u32>, Refusal> {
    let Some(value) = arguments.get(which)? else {
        return Ok(None);
    };
    let whole = number(&value).filter(|number| number.fract() == 0.0);
    let whole = whole.filter(|number| (f64::from(min)..=f64::from(max)).contains(number));
    let Some(whole) = whole else {
        let allowed = format!("a whole number from {min} to {max}");
        return Err(refused(arguments.name(which), &value, &allowed));
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number between two of this type"
    )]
    Ok(Some(whole as u32))
}

/// The argument at one of two places: mcpMQTT's README and its code have different names for it.
pub(super) fn either<const N: usize>(
    arguments: &Arguments<'_, N>,
    (one, other): (usize, usize),
) -> Result<usize, Refusal> {
    let (first, second) = (arguments.text(one)?, arguments.text(other)?);
    match (first, second) {
        (Some(first), Some(second)) if first != second => Err(format!(
            "'{}' and '{}' differ; send one of them.",
            arguments.name(one),
            arguments.name(other)
        )
        .into()),
        (None, Some(_)) => Ok(other),
        _ => Ok(one),
    }
}
