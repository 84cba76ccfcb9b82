//! Metrics as text for Prometheus (exposition format 0.0.4).
//!
//! Dots in names become underscores; a counter ends with `_total`, and a duration is in seconds and
//! ends with `_seconds`. Each series of a binding has the label `binding`. Names and label values come
//! from the code and the config, so their number is bounded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidegate_engine::{Duration, Histogram, Measure, Measures, MeterKind};

use crate::help::help;

/// The text of all metrics. Workers whose numbers are in `silent` have not reported in time.
pub fn exposition(measures: &Measures, workers: u16, silent: &[u16]) -> String {
    let mut families: BTreeMap<String, Vec<&Measure>> = BTreeMap::new();
    for measure in measures.iter() {
        families.entry(name(measure)).or_default().push(measure);
    }
    let mut page = String::new();
    for (name, series) in &families {
        family(&mut page, name, series);
    }
    head(
        &mut page,
        "engine_worker_up",
        "Whether a worker answers.",
        "gauge",
    );
    for worker in 0..workers {
        let up = u8::from(!silent.contains(&worker));
        let _ = writeln!(page, "engine_worker_up{{worker=\"{worker}\"}} {up}");
    }
    page
}

fn head(page: &mut String, name: &str, help: &str, kind: &str) {
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn family(page: &mut String, name: &str, series: &[&Measure]) {
    let Some(first) = series.first() else {
        return;
    };
    let kind = match first.kind {
        MeterKind::Counter => "counter",
        MeterKind::Gauge => "gauge",
        MeterKind::Histogram => "histogram",
    };
    // A text without a line feed or backslash needs no escape.
    head(page, name, help(first.name).unwrap_or(first.name), kind);
    for measure in series {
        let labels = labels(measure);
        match &measure.histogram {
            Some(histogram) => distribution(page, name, &labels, histogram),
            None => sample(page, name, &labels, None, &measure.value.to_string()),
        }
    }
}

fn distribution(page: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let bucket = format!("{name}_bucket");
    for (bound, count) in histogram.cumulative() {
        sample(
            page,
            &bucket,
            labels,
            Some(&seconds(bound)),
            &count.to_string(),
        );
    }
    let count = histogram.count().to_string();
    sample(page, &bucket, labels, Some("+Inf"), &count);
    sample(
        page,
        &format!("{name}_sum"),
        labels,
        None,
        &seconds(histogram.sum()),
    );
    sample(page, &format!("{name}_count"), labels, None, &count);
}

fn sample(page: &mut String, name: &str, labels: &str, bound: Option<&str>, value: &str) {
    let _ = match (labels, bound) {
        ("", None) => writeln!(page, "{name} {value}"),
        ("", Some(bound)) => writeln!(page, "{name}{{le=\"{bound}\"}} {value}"),
        (labels, None) => writeln!(page, "{name}{{{labels}}} {value}"),
        (labels, Some(bound)) => writeln!(page, "{name}{{{labels},le=\"{bound}\"}} {value}"),
    };
}

/// The name of a metric in Prometheus' spelling.
fn name(measure: &Measure) -> String {
    let name = measure.name.replace('.', "_");
    match measure.kind {
        MeterKind::Counter => format!("{name}_total"),
        MeterKind::Gauge => name,
        MeterKind::Histogram => format!("{name}_seconds"),
    }
}

fn labels(measure: &Measure) -> String {
    let mut text = String::new();
    let binding = (!measure.binding.is_empty()).then_some(("binding", &*measure.binding));
    let labels = measure.labels.iter().map(|(name, value)| (*name, &**value));
    for (name, value) in binding.into_iter().chain(labels) {
        let comma = if text.is_empty() { "" } else { "," };
        let name = name.replace('.', "_");
        let _ = write!(text, "{comma}{name}=\"{}\"", escaped(value));
    }
    text
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A duration in seconds, as a decimal number without trailing zeros.
fn seconds(duration: Duration) -> String {
    let micros = duration.as_micros();
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use tidegate_engine::Meter as _;

    use super::*;

    #[test]
    fn counters_gauges_and_histograms_have_prometheus_names() {
        let mut measures = Measures::default();
        measures.of("").gauge("engine.streams", 3);
        let mcp = measures.of("mcp0");
        let mut histogram = Histogram::default();
        for micros in [40, 700, 90_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let labels = [("mcp.method.name", "tools/call")];
        mcp.histogram("mcp.server.operation.duration", &labels, &histogram);
        measures.of("a\"b").counter("mcp.proxy.lists", 7);
        let page = exposition(&measures, 2, &[1]);
        for expected in [
            "# TYPE engine_streams gauge\nengine_streams 3\n",
            "# TYPE mcp_proxy_lists_total counter\nmcp_proxy_lists_total{binding=\"a\\\"b\"} 7\n",
            "# TYPE mcp_server_operation_duration_seconds histogram\n",
            "mcp_server_operation_duration_seconds_bucket{binding=\"mcp0\",mcp_method_name=\"tools/call\",le=\"0.00005\"} 1\n",
            "mcp_method_name=\"tools/call\",le=\"0.001\"} 2\n",
            "mcp_method_name=\"tools/call\",le=\"60\"} 2\n",
            "mcp_method_name=\"tools/call\",le=\"+Inf\"} 3\n",
            "_seconds_sum{binding=\"mcp0\",mcp_method_name=\"tools/call\"} 90.00074\n",
            "_seconds_count{binding=\"mcp0\",mcp_method_name=\"tools/call\"} 3\n",
            "engine_worker_up{worker=\"0\"} 1\nengine_worker_up{worker=\"1\"} 0\n",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
        assert!(
            page.contains("# HELP engine_streams Open streams."),
            "{page}"
        );
    }
}
