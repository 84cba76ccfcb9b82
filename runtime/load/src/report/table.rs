//! The tables printed on standard output.

use std::fmt::Write as _;

use super::{CellReport, TargetReport};
use crate::broker::Description;
use crate::plan::{Nagle, Operation, Size};
use crate::statistics::Ratios;

/// Width of the output in characters.
const WIDTH: usize = 120;
const COLUMNS: usize = 11;
const HEADINGS: [&str; COLUMNS] = [
    "target", "calls/s", "p50", "p90", "p99", "p99.9", "max", "CPU/call", "RSS", "start", "errors",
];

pub(crate) const fn word(nagle: Nagle) -> &'static str {
    match nagle {
        Nagle::On => "on",
        Nagle::Off => "off",
    }
}

/// The broker and its settings.
pub(crate) fn broker_line(broker: &Description) -> String {
    let mut line = format!("broker: {} at {}", broker.kind, broker.broker);
    if broker.broker.trust.is_some() {
        line.push_str(", with TLS");
    }
    match broker.nagle {
        Some(Nagle::On) => line.push_str(", Nagle on (set_tcp_nodelay false, its default)"),
        Some(Nagle::Off) => line.push_str(", Nagle off (set_tcp_nodelay true)"),
        None => line.push_str(", Nagle unknown"),
    }
    let _ = write!(line, ", Receive Maximum {}", broker.receive_maximum);
    for setting in broker
        .settings
        .iter()
        .filter(|setting| setting.starts_with("max_"))
    {
        let _ = write!(line, ", {setting}");
    }
    wrapped(&line, "  ")
}

/// A cell.
pub(crate) fn table(report: &CellReport) -> String {
    let cell = report.cell;
    let mut out = format!("\n{}", cell.operation.word());
    if let Some(qos) = cell.qos {
        let _ = write!(out, " · QoS {qos}");
    }
    let who = match (cell.operation, cell.concurrency) {
        (Operation::Updates, 1) => "listener",
        (Operation::Updates, _) => "listeners",
        (Operation::Reverse, 1) => "device",
        (Operation::Reverse, _) => "devices",
        (_, 1) => "caller",
        _ => "callers",
    };
    let _ = write!(out, " · {} {who}", cell.concurrency);
    if cell.operation != Operation::List {
        let _ = write!(out, " · {}", size(cell.payload));
    }
    if let Some(nagle) = report.broker.nagle {
        let _ = write!(out, " · Nagle {}", word(nagle));
    }
    if report.broker.broker.trust.is_some() {
        out.push_str(" · TLS");
    }
    out.push('\n');
    let mut headings = HEADINGS.map(str::to_owned);
    if cell.operation == Operation::Updates {
        headings = headings.map(|heading| heading.replace("call", "update"));
    }
    let mut rows = vec![headings];
    rows.extend(report.targets.iter().map(row));
    align(&rows, &mut out);
    for ratios in &report.ratios {
        out.push_str(&ratio_line(ratios, cell.operation));
    }
    for target in &report.targets {
        if let Some(error) = &target.first_error {
            let (name, errors) = (&target.name, grouped_whole(target.errors()));
            let all = grouped_whole(target.errors() + target.calls());
            let line = format!("  {name}: {errors} of {all} calls failed; first error: {error}");
            out.push_str(&wrapped(&line, "    "));
            out.push('\n');
        }
    }
    for (name, why) in &report.failed {
        out.push_str(&wrapped(&format!("  {name} skipped: {why}"), "    "));
        out.push('\n');
    }
    out.trim_end().to_owned()
}

fn row(target: &TargetReport) -> [String; COLUMNS] {
    let median = &target.median;
    [
        target.name.clone(),
        grouped(median.rate),
        time(Some(median.p50)),
        time(Some(median.p90)),
        time(Some(median.p99)),
        time(Some(median.p999)),
        time(Some(median.max)),
        time(median.cpu),
        median
            .resident
            .map_or_else(dash, |bytes| format!("{:.1} MiB", bytes / 1_048_576.0)),
        target
            .start
            .map_or_else(dash, |millis| format!("{} ms", grouped_whole(millis))),
        grouped_whole(target.errors()),
    ]
}

/// A size with a space before the unit.
fn size(size: Size) -> String {
    let text = size.to_string();
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    format!("{} {unit}", text.trim_end_matches(unit))
}

fn dash() -> String {
    "–".to_owned()
}

fn ratio_line(ratios: &Ratios, operation: Operation) -> String {
    let mut line = format!("  ÷ {}:", ratios.to);
    let cpu = if operation == Operation::Updates {
        "CPU/update"
    } else {
        "CPU/call"
    };
    for (name, ratio) in [
        ("rate", ratios.rate),
        ("p50", ratios.p50),
        ("p99", ratios.p99),
        ("p99.9", ratios.p999),
        (cpu, ratios.cpu),
    ] {
        if let Some(ratio) = ratio {
            let _ = write!(line, "  {name} {}", times(ratio));
        }
    }
    line.push('\n');
    line
}

/// A ratio with its significant digits.
pub(super) fn times(ratio: f64) -> String {
    match ratio {
        100.0.. => grouped_whole(ratio),
        0.1.. => format!("{ratio:.2}"),
        0.01.. => format!("{ratio:.3}"),
        _ => format!("{ratio:.4}"),
    }
}

/// Aligns the first column left, all others right.
fn align(rows: &[[String; COLUMNS]], out: &mut String) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let _ = match column {
                0 => write!(line, "  {cell:width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Wraps a text at [`WIDTH`] characters; all lines but the first are indented. Leading whitespace is kept,
/// and longer words get their own line.
pub(super) fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if !out.is_empty() {
            out.push('\n');
            out.push_str(indent);
        }
        let front = if out.is_empty() {
            line.len() - line.trim_start().len()
        } else {
            0
        };
        out.push_str(line.get(..front).unwrap_or_default());
        let mut column = out
            .chars()
            .rev()
            .take_while(|letter| *letter != '\n')
            .count();
        for (index, word) in line.split_whitespace().enumerate() {
            let width = word.chars().count();
            if index > 0 && column + 1 + width > WIDTH {
                out.push('\n');
                out.push_str(indent);
                column = indent.len();
            } else if index > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
        }
    }
    out
}

/// A time in microseconds, in a suitable unit.
pub(super) fn time(micros: Option<f64>) -> String {
    match micros {
        None => dash(),
        Some(micros) if micros < 1e3 => format!("{micros:.1} µs"),
        Some(micros) if micros < 1e6 => format!("{:.2} ms", micros / 1e3),
        Some(micros) => format!("{:.2} s", micros / 1e6),
    }
}

/// A number with thousands separators; a small one with one decimal.
pub(super) fn grouped(count: f64) -> String {
    if count < 100.0 {
        return format!("{count:.1}");
    }
    grouped_whole(count)
}

/// A count with thousands separators.
fn grouped_whole(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
