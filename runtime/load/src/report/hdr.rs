//! HDR histogram logs of latencies, one interval per round.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::TargetReport;

/// Latencies are in nanoseconds; the maxima in the log are in milliseconds.
const DIVISOR: f64 = 1e6;

/// The log of a target.
pub(super) fn log(target: &TargetReport) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let begin = target
        .latencies
        .first()
        .map_or(UNIX_EPOCH, |first| first.began);
    let mut writer = IntervalLogWriterBuilder::new();
    let comment = format!("tidegate bench: {}, latencies in nanoseconds", target.name);
    let writer = writer
        .add_comment(&comment)
        .with_start_time(begin)
        .with_base_time(begin)
        .with_max_value_divisor(DIVISOR);
    let log = writer.begin_log_with(&mut out, &mut serializer);
    let mut log = log.map_err(|error| error.to_string())?;
    for interval in &target.latencies {
        let start = interval
            .began
            .duration_since(begin)
            .unwrap_or(Duration::ZERO);
        let written = log.write_histogram(&interval.histogram, start, interval.duration, None);
        written.map_err(|error| format!("{error:?}"))?;
    }
    Ok(out)
}
