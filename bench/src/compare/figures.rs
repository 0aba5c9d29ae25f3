//! The figures of a comparison: medians of the rounds, and ratios within each round with their spread.

use super::{Column, Comparison, Load};
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
        let median = median(&mut ratios);
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        Spread { least: end(ratios.first()), median, most: end(ratios.last()) }
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
    /// Whether the generator was the limit in any round, by server.
    pub generator_was_limit: Vec<bool>,
}

/// All figures of all loads.
pub fn rows(loads: &[Load], columns: &[Column]) -> Vec<Row> {
    let row = |number: usize, figure: Figure| {
        let rounds = |column: &Column| -> Vec<f64> {
            column.reports[number].iter().map(|report| figure.of(report)).collect()
        };
        let over = |other: usize| {
            let pairs = rounds(&columns[0]).into_iter().zip(rounds(&columns[other]));
            Spread::of(pairs.map(|(own, other)| figure.ratio(own, other)).collect())
        };
        let limited =
            |column: &Column| column.reports[number].iter().any(|report| report.generator.was_the_limit);
        Row {
            load: loads[number].name,
            figure,
            medians: columns.iter().map(|column| median(&mut rounds(column))).collect(),
            over_peer: over(1),
            of_ceiling: over(2),
            generator_was_limit: columns.iter().map(limited).collect(),
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
    print!("{:<44}{:<16}", "load", "figure");
    comparison.columns.iter().for_each(|column| print!("{:>12}", column.name));
    println!("{:>9}{:>18}{:>12}", "ratio", "(least to most)", "of ceiling");
    for row in &comparison.rows {
        print!("{:<44}{:<16}", row.load, row.figure.name());
        row.medians.iter().for_each(|&value| print!("{:>12}", digits(value)));
        let spread = format!("({} to {})", digits(row.over_peer.least), digits(row.over_peer.most));
        print!("{:>9}{spread:>18}{:>12}", digits(row.over_peer.median), digits(row.of_ceiling.median));
        let limited = row.generator_was_limit.iter().zip(&comparison.columns).filter(|(was, _)| **was);
        let limited: Vec<_> = limited.map(|(_, column)| &column.name[..]).collect();
        match limited.is_empty() {
            true => println!(),
            false => println!("  the generator was the limit of {}", limited.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_better_whatever_is_compared() {
        assert_eq!(Figure::PerSecond.ratio(200.0, 100.0), 2.0);
        assert_eq!(Figure::P99.ratio(50.0, 100.0), 2.0);
        assert_eq!(Figure::CpuPerOperation.ratio(50.0, 100.0), 2.0);
    }

    #[test]
    fn a_spread_is_of_the_rounds() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { least: 1.0, median: 2.0, most: 3.0 });
        assert!(Spread::of(Vec::new()).least.is_nan());
    }
}
