use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

use super::*;
use crate::plan::{Nagle, Operation, Size};
use crate::process::Usage;
use crate::socket::BrokerAddress;

fn target(name: &str, role: Role, micros: u64) -> TargetReport {
    let mut report = TargetReport::new(name, role, Some(Duration::from_millis(31)), Some(5 << 20));
    for round in 1..=3 {
        let mut tally = Tally::default();
        for call in 0..1_000 {
            tally.record(Duration::from_micros(micros * round + call / 10), Ok(()));
        }
        if role == Role::Peer {
            tally.record(
                Duration::ZERO,
                Err("answered with an error: <no>".to_owned()),
            );
        }
        tally.rate = 1e6 / crate::measure::figure(micros * round);
        let used = Usage {
            cpu: micros * 400_000,
            user: 20_000_000,
            system: 30_000_000,
        };
        let figures = Figures::of(&tally, Some(used), None, Some(6 << 20));
        report.add(SystemTime::now(), Duration::from_secs(1), figures, tally);
    }
    report
}

fn cell() -> CellReport {
    let cell = Cell {
        operation: Operation::Publish,
        qos: Some(1),
        concurrency: 16,
        payload: Size(100),
    };
    let broker = Description {
        broker: BrokerAddress {
            address: "127.0.0.1:1883".to_owned(),
            trust: None,
        },
        kind: "mosquitto",
        nagle: Some(Nagle::On),
        settings: vec!["max_inflight_messages 1000".to_owned()],
        receive_maximum: 1_000,
    };
    let targets = vec![
        target("tidegate", Role::Ours, 120),
        target("floor", Role::Floor, 100),
        target("peer", Role::Peer, 1_200),
    ];
    let failed = vec![("gone".to_owned(), "no such file".to_owned())];
    CellReport::new(cell, broker, targets, failed)
}

#[test]
fn the_table_tells_every_target_ratio_and_failure() {
    let text = table(&cell());
    for part in [
        "publish · QoS 1 · 16 callers · 100 B · Nagle on",
        "÷ floor:  rate 0.83  p50 1.1",
        "÷ peer:  rate 10.00",
        "peer: 3 of 3,003 calls failed; first error: answered with an error: <no>",
        "gone skipped: no such file",
        "31 ms",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    let column = |line: &str, word: &str| {
        line.find(word)
            .map(|at| line[..at].chars().count() + word.chars().count())
    };
    let rates = column(lines[1], "calls/s");
    assert_eq!(column(lines[2], "4,167"), rates, "{text}");
    assert_eq!(column(lines[4], " 417"), rates, "{text}");
}

#[test]
fn lines_are_wrapped_where_a_terminal_would_break_them() {
    let words = "word ".repeat(60);
    let text = table::wrapped(&format!("  {words}\nsecond {}", "x".repeat(200)), "    ");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("  word word") && lines[1].starts_with("    word"),
        "{text}"
    );
    assert_eq!(text.matches("word").count(), 60);
    assert_eq!(
        lines.last().map(|line| line.trim()),
        Some("x".repeat(200).as_str())
    );
    let fits = |line: &str| line.chars().count() <= 120;
    assert!(lines.iter().rev().skip(1).copied().all(fits), "{text}");
    assert!(table(&cell()).lines().all(fits));
}

#[test]
fn a_cell_that_fails_does_not_vanish_behind_one_that_succeeds() {
    let mut report = Report::new(&crate::plan::tests::settings()).expect("a report");
    report.add(cell()).expect("added");
    assert!(!report.outcome().is_failure());
    let mut fails = cell();
    fails.targets[0].rounds[0].errors = 50.0;
    report.add(fails).expect("added");
    for _ in 0..10 {
        report.add(cell()).expect("added");
    }
    let outcome = report.outcome();
    assert_eq!((outcome.errors, outcome.calls), (50, 3_050));
    assert!(outcome.is_failure());
}

#[test]
fn results_are_json_with_every_round() {
    let value = serde_json::to_value(cell()).expect("JSON");
    assert_eq!(value["name"], "publish-qos1-c16-100B-nagle-on");
    assert_eq!(
        (&value["operation"], &value["payload"]),
        (&"publish".into(), &100.into())
    );
    assert_eq!(value["targets"][1]["role"], "floor");
    assert_eq!(
        value["targets"][0]["rounds"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(value["ratios"][0]["to"], "floor");
    assert!(value["targets"][0]["median"]["p99.9"].as_f64() > Some(100.0));
    assert_eq!(value["targets"][2]["median"]["errors"], 1.0);
    assert_eq!(value["targets"][0]["median"]["driverCpu"], Value::Null);
}

#[test]
fn the_log_is_read_back_as_it_was() {
    let report = target("tidegate", Role::Ours, 120);
    let log = hdr::log(&report).expect("a log");
    let mut count = 0;
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.expect("an entry") else {
            continue;
        };
        let bytes = base64(interval.encoded_histogram());
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .expect("a histogram");
        assert_eq!(read.len(), 1_000);
        assert_eq!(read, report.latencies[count].histogram);
        count += 1;
    }
    assert_eq!(count, 3);
}

/// Decodes the standard alphabet.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{byte}"),
    };
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xFF) as u8);
        }
    }
    out
}

#[test]
fn the_plot_is_well_formed_and_draws_every_target() {
    let mut report = cell();
    report
        .targets
        .push(TargetReport::new("a<b&c", Role::Peer, None, None));
    let plot = svg::percentiles(&report);
    assert_eq!(plot.matches("<polyline").count(), 4);
    assert!(plot.contains("a&lt;b&amp;c") && !plot.contains("NaN") && !plot.contains("inf"));
    // Every element that is opened is closed.
    let mut open = Vec::new();
    for tag in plot.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag has an end");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a name"));
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert_eq!(open, [] as [&str; 0]);
}

#[test]
fn times_and_counts_are_told_in_their_unit() {
    for (micros, expected) in [
        (Some(12.34), "12.3 µs"),
        (Some(1_234.0), "1.23 ms"),
        (Some(2e6), "2.00 s"),
        (None, "–"),
    ] {
        assert_eq!(table::time(micros), expected);
    }
    for (ratio, expected) in [
        (8_578.13, "8,578"),
        (19.92, "19.92"),
        (0.8, "0.80"),
        (0.0123, "0.012"),
        (0.00072, "0.0007"),
    ] {
        assert_eq!(table::times(ratio), expected);
    }
    for (count, expected) in [
        (0.0, "0.0"),
        (12.34, "12.3"),
        (999.6, "1,000"),
        (1_234_567.0, "1,234,567"),
    ] {
        assert_eq!(table::grouped(count), expected);
    }
}
