//! The percentile plot: one curve per target.
//!
//! The x axis is the percentile on a logarithmic scale of the tail (90 %, 99 %, 99.9 %, …), the y axis the
//! latency on a logarithmic scale.

use std::fmt::Write as _;

use super::{CellReport, table};
use crate::measure::figure;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;
/// End of the x axis: one call in 10^5.
const DECADES: f64 = 5.0;
const STEPS: u32 = 120;
const COLOURS: [&str; 6] = [
    "#0072b2", "#7f7f7f", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
];

/// The plot of a cell.
pub(super) fn percentiles(cell: &CellReport) -> String {
    let curves: Vec<(&str, Vec<(f64, f64)>)> = cell
        .targets
        .iter()
        .map(|target| (target.name.as_str(), curve(&target.merged())))
        .collect();
    let values = curves
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.1);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    // Without calls there is nothing to span.
    let (low, high) = if low > high {
        (0.0, 1.0)
    } else {
        (low.floor(), high.ceil())
    };
    let scale = Scale {
        low,
        high: high.max(low + 1.0),
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#
    );
    let title = escaped(&cell.name);
    let _ = writeln!(
        out,
        r#"<text x="{LEFT}" y="28" font-size="15">{title}</text>"#
    );
    grid(&scale, &mut out);
    for (index, (name, points)) in curves.iter().enumerate() {
        let colour = COLOURS.get(index % COLOURS.len()).unwrap_or(&"black");
        line(name, points, &scale, colour, index, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

/// From how rare a latency is to its logarithm: (decades of rarity, decades of microseconds).
fn curve(histogram: &hdrhistogram::Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    // Rarer than one in all calls there is nothing but the maximum.
    let reach = figure(histogram.len()).log10().min(DECADES);
    (0..=STEPS)
        .map(|step| {
            let rarity = reach * f64::from(step) / f64::from(STEPS);
            let value = histogram.value_at_quantile(1.0 - 10_f64.powf(-rarity));
            (rarity, (figure(value.max(1)) / 1e3).log10())
        })
        .collect()
}

struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn x(rarity: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * rarity / DECADES
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }
}

fn grid(scale: &Scale, out: &mut String) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let labels = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
    let mut rarity = 0.0;
    for label in labels {
        let (x, y) = (Scale::x(rarity), bottom + 20.0);
        let _ = writeln!(
            out,
            r##"<path d="M{x:.1} {TOP}V{bottom}" stroke="#ddd"/><text x="{x:.1}" y="{y}" text-anchor="middle">{label}</text>"##
        );
        rarity += 1.0;
    }
    let mut decade = scale.low;
    while decade <= scale.high {
        for (step, colour) in [(1.0, "#ddd"), (2.0, "#eee"), (5.0, "#eee")] {
            let value = decade + f64::log10(step);
            if value > scale.high {
                break;
            }
            let (y, x) = (scale.y(value), LEFT - 8.0);
            let label = round_time(step * 10_f64.powf(decade));
            let _ = writeln!(
                out,
                r#"<path d="M{LEFT} {y:.1}H{right}" stroke="{colour}"/><text x="{x}" y="{:.1}" text-anchor="end">{label}</text>"#,
                y + 4.0
            );
        }
        decade += 1.0;
    }
    let middle = f64::midpoint(LEFT, right);
    let _ = writeln!(
        out,
        r##"<text x="{middle}" y="{:.1}" text-anchor="middle" fill="#555">percentile</text>"##,
        bottom + 40.0
    );
}

/// A time in microseconds that has one digit: without decimals.
fn round_time(micros: f64) -> String {
    table::time(Some(micros))
        .replace(".00 ", " ")
        .replace(".0 ", " ")
}

fn line(
    name: &str,
    points: &[(f64, f64)],
    scale: &Scale,
    colour: &str,
    index: usize,
    out: &mut String,
) {
    let mut path = String::new();
    for (rarity, value) in points {
        let _ = write!(path, "{:.1},{:.1} ", Scale::x(*rarity), scale.y(*value));
    }
    let path = path.trim_end();
    let legend = u32::try_from(index).map_or(0.0, |index| TOP + 12.0 + 20.0 * f64::from(index));
    let (x, name) = (WIDTH - RIGHT + 14.0, escaped(name));
    let _ = writeln!(
        out,
        r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/><text x="{x}" y="{legend}" fill="{colour}">{name}</text>"#
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
