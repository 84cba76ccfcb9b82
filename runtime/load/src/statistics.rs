//! Medians of rounds, and medians of ratios within rounds.

use serde::Serialize;

use crate::measure::Figures;

/// The median; for an even count the mean of the two middle values; `None` without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(*upper);
    }
    let lower = values.get(values.len() / 2 - 1)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The median of each figure.
pub(crate) fn medians(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure)).unwrap_or_default();
    let known = |figure: fn(&Figures) -> Option<f64>| median(rounds.iter().filter_map(figure));
    Figures {
        calls: of(|round| round.calls),
        errors: of(|round| round.errors),
        unserved: of(|round| round.unserved),
        rate: of(|round| round.rate),
        p50: of(|round| round.p50),
        p90: of(|round| round.p90),
        p99: of(|round| round.p99),
        p999: of(|round| round.p999),
        max: of(|round| round.max),
        cpu: known(|round| round.cpu),
        cpu_user: known(|round| round.cpu_user),
        cpu_system: known(|round| round.cpu_system),
        driver_cpu: known(|round| round.driver_cpu),
        resident: known(|round| round.resident),
    }
}

/// Ratios of tidegate to another target: each is the median over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ratios {
    /// Name of the other target.
    pub(crate) to: String,
    pub(crate) rate: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    #[serde(rename = "p99.9")]
    pub(crate) p999: Option<f64>,
    pub(crate) cpu: Option<f64>,
}

/// The ratios of two targets over their common rounds, which are the first ones of both.
pub(crate) fn ratios(ours: &[Figures], to: &str, theirs: &[Figures]) -> Ratios {
    let of = |figure: fn(&Figures) -> Option<f64>| {
        let pairs = ours.iter().zip(theirs);
        median(pairs.filter_map(|(ours, theirs)| {
            let (ours, theirs) = (figure(ours)?, figure(theirs)?);
            (theirs > 0.0).then(|| ours / theirs)
        }))
    };
    Ratios {
        to: to.to_owned(),
        rate: of(|round| Some(round.rate)),
        p50: of(|round| Some(round.p50)),
        p99: of(|round| Some(round.p99)),
        p999: of(|round| Some(round.p999)),
        cpu: of(|round| round.cpu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        for (values, middle) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0], Some(5.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![f64::NAN, 4.0, f64::INFINITY], Some(4.0)),
        ] {
            assert_eq!(median(values.clone()), middle, "{values:?}");
        }
    }

    fn round(rate: f64, p50: f64, cpu: Option<f64>) -> Figures {
        Figures {
            rate,
            p50,
            cpu,
            ..Figures::default()
        }
    }

    #[test]
    fn a_ratio_is_of_rounds_and_not_of_medians() {
        // The machine is twice as slow in the second round, for both; and in the third for theirs.
        let ours = [
            round(80.0, 12.0, Some(3.0)),
            round(40.0, 24.0, None),
            round(80.0, 12.0, None),
        ];
        let theirs = [round(100.0, 10.0, Some(2.0)), round(50.0, 20.0, Some(2.0))];
        let ratios = ratios(&ours, "floor", &theirs);
        assert_eq!(
            (ratios.rate, ratios.p50, ratios.cpu),
            (Some(0.8), Some(1.2), Some(1.5))
        );
        assert_eq!((ratios.p99, ratios.to.as_str()), (None, "floor"));
    }

    #[test]
    fn medians_leave_out_what_is_not_known() {
        let rounds = [
            round(1.0, 5.0, None),
            round(3.0, 7.0, Some(2.0)),
            round(2.0, 6.0, Some(4.0)),
        ];
        let middle = medians(&rounds);
        assert_eq!((middle.rate, middle.p50, middle.cpu), (2.0, 6.0, Some(3.0)));
        assert_eq!(middle.resident, None);
    }
}
