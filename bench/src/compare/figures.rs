//! The figures of a comparison: medians of the rounds, and ratios within each round with their spread.

use super::{Column, Comparison, Load, whole};
use crate::raw::median;
use crate::report::{Percentiles, Report};
use serde::Serialize;

/// What of a run is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Figure {
    PerSecond,
    CpuPerOperation,
    P50,
    P99,
    P99_9,
}

impl Figure {
    /// Its name, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Figure::PerSecond => "per second",
            Figure::CpuPerOperation => "server CPU, µs",
            Figure::P50 => "p50, µs",
            Figure::P99 => "p99, µs",
            Figure::P99_9 => "p99.9, µs",
        }
    }

    fn of(self, report: &Report) -> f64 {
        let percentiles = || Percentiles::of(&report.all_latencies());
        match self {
            Figure::PerSecond => report.operations_per_s,
            Figure::CpuPerOperation => report.server.map_or(f64::NAN, |server| server.cpu_us_per_operation),
            Figure::P50 => percentiles().p50,
            Figure::P99 => percentiles().p99,
            Figure::P99_9 => percentiles().p99_9,
        }
    }

    /// How many times better `own` is than `other`.
    fn ratio(self, own: f64, other: f64) -> f64 {
        if self == Figure::PerSecond { own / other } else { other / own }
    }
}

/// How many times better, over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The worst round.
    pub least: f64,
    /// The middle one.
    pub median: f64,
    /// The best.
    pub most: f64,
}

impl Spread {
    fn of(mut ratios: Vec<f64>) -> Spread {
        if ratios.is_empty() {
            return Spread { least: f64::NAN, median: f64::NAN, most: f64::NAN };
        }
        let median = median(&mut ratios);
        Spread { least: ratios[0], median, most: ratios[ratios.len() - 1] }
    }
}

/// One figure of one load.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The load.
    pub load: &'static str,
    /// The figure.
    pub figure: Figure,
    /// Medians, by server.
    pub medians: Vec<f64>,
    /// How many times better this project's server is than the peer.
    pub over_peer: Spread,
    /// How far it comes of the ceiling: 1 would be all of it.
    pub of_ceiling: Spread,
    /// By server, what must be known beside its figures: what it refused, what of an open loop it did not take,
    /// whether the generator was the limit; of all rounds.
    pub remarks: Vec<Vec<String>>,
}

/// All figures of all loads.
pub fn rows(loads: &[Load], columns: &[Column]) -> Vec<Row> {
    let row = |number: usize, figure: Figure| {
        let rounds = |column: &Column| -> Vec<f64> {
            column.reports[number].iter().map(|report| figure.of(report)).collect()
        };
        let all: Vec<Report> = columns.iter().filter_map(|column| whole(&column.reports[number])).collect();
        let over = |other: usize| {
            let pairs = rounds(&columns[0]).into_iter().zip(rounds(&columns[other]));
            let ratios = pairs.map(|(own, other)| figure.ratio(own, other)).collect();
            // Refusing is quick: who refuses has no figure to compare.
            let refused = [0, other].into_iter().any(|of| !all[of].errors.is_empty());
            Spread::of(if refused { Vec::new() } else { ratios })
        };
        Row {
            load: loads[number].name,
            figure,
            medians: columns.iter().map(|column| median(&mut rounds(column))).collect(),
            over_peer: over(1),
            of_ceiling: over(2),
            remarks: all.iter().map(Report::remarks).collect(),
        }
    };
    let all = loads.iter().enumerate();
    all.flat_map(|(number, load)| load.figures.iter().map(move |&figure| (number, figure)))
        .map(|(number, figure)| row(number, figure))
        .collect()
}

/// A figure with the digits that matter.
pub fn digits(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_owned(),
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Prints the table.
pub fn print(comparison: &Comparison) {
    println!("\n{}", comparison.machine);
    println!("{}", comparison.duration());
    print!("{:<44}{:<16}", "load", "figure");
    comparison.columns.iter().for_each(|column| print!("{:>12}", column.name));
    println!("{:>9}{:>18}{:>12}", "ratio", "(least to most)", "of ceiling");
    for row in &comparison.rows {
        print!("{:<44}{:<16}", row.load, row.figure.name());
        row.medians.iter().for_each(|&value| print!("{:>12}", digits(value)));
        let spread = format!("({} to {})", digits(row.over_peer.least), digits(row.over_peer.most));
        print!("{:>9}{spread:>18}{:>12}", digits(row.over_peer.median), digits(row.of_ceiling.median));
        let remarks = row.remarks.iter().zip(&comparison.columns);
        let remarks = remarks.filter(|(remarks, _)| !remarks.is_empty());
        remarks.for_each(|(remarks, column)| print!("  {}: {}.", column.name, remarks.join(", ")));
        println!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::Mix;
    use crate::workload::Operation;

    #[test]
    fn a_ratio_above_one_is_better_whatever_is_compared() {
        assert_eq!(Figure::PerSecond.ratio(200.0, 100.0), 2.0);
        assert_eq!(Figure::P99.ratio(50.0, 100.0), 2.0);
        assert_eq!(Figure::CpuPerOperation.ratio(50.0, 100.0), 2.0);
    }

    #[test]
    fn a_server_that_refuses_requests_is_told_and_has_no_ratio() {
        let report = |errors: &[(i32, u64)]| Report {
            errors: errors.iter().copied().collect(),
            ..crate::merge::tests::report(Operation::Get, &[10; 100], 1.0)
        };
        let column = |name: &str, rounds: Vec<Report>| Column { name: name.into(), reports: vec![rounds] };
        let rows = |peer: Vec<Report>| {
            let loads = [Load {
                name: "get",
                mix: Mix::one(Operation::Get),
                clients: 1,
                depth: 1,
                rate_per_s: None,
                figures: &[Figure::PerSecond],
            }];
            let whole = || vec![report(&[]), report(&[])];
            rows(&loads, &[column("own", whole()), column("peer", peer), column("hollow", whole())])
        };
        let good = rows(vec![report(&[]), report(&[])]);
        assert_eq!(good[0].over_peer.median, 1.0);
        let bad = rows(vec![report(&[]), report(&[(-112, 7)])]);
        assert!(bad[0].over_peer.median.is_nan() && bad[0].of_ceiling.median == 1.0, "{bad:?}");
        assert_eq!(bad[0].remarks, [vec![], vec!["7 failed with error -112".to_owned()], vec![]]);
    }

    #[test]
    fn a_spread_is_of_the_rounds() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { least: 1.0, median: 2.0, most: 3.0 });
        assert!(Spread::of(Vec::new()).median.is_nan());
    }
}
