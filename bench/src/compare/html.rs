//! A comparison as one HTML file: what was measured, on what, the ratios at a glance, the table, the curves.
//! Nothing in it is loaded from elsewhere.

use super::figures::{Row, digits};
use super::{Comparison, whole};
use crate::failure::Failure;
use crate::plot::{Axis, Chart, Curve};
use crate::report::Report;
use std::fmt::Write;

/// Places of a percentile curve, as parts that are slower.
const SLOWER: [f64; 13] =
    [0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001, 0.000_5, 0.000_1];
/// The bars of the ratios: their scale is of logarithms, from 1/4 to 128.
const RATIO_LEAST: f64 = 0.25;
const RATIO_MOST: f64 = 128.0;
const BAR_PX: f64 = 360.0;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}\
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}small{color:#666}\
svg{max-width:100%;height:auto}.good{color:#176d2e}.bad{color:#b3261e}";

/// The page.
///
/// # Errors
/// A plot cannot be drawn.
pub fn page(comparison: &Comparison) -> Result<String, Failure> {
    let names: Vec<_> = comparison.columns.iter().map(|column| escaped(&column.name)).collect();
    let rounds = comparison.columns[0].reports.first().map_or(0, Vec::len);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{own} beside {peer}</title><style>{STYLE}</style>\
         <h1>{own} beside {peer}</h1><p>{machine}.</p>\
         <p>{rounds} rounds, in each one server after the other on a fresh data directory on the same disk; \
         {warmed} Figures are medians of the rounds. A ratio above 1 says how many times better \
         {own} is, within one round; in brackets the worst and the best round. The hollow server is the \
         ceiling: the same ring and the same durable writes, and nothing else; “of ceiling” is the share of \
         it that {own} reaches.</p>",
        own = names[0],
        peer = names[1],
        machine = escaped(&comparison.machine),
        warmed = comparison.duration(),
    );
    page.push_str("<h2>Ratios</h2>");
    page.push_str(&ratios(&comparison.rows));
    page.push_str("<h2>Figures</h2>");
    page.push_str(&table(comparison, &names));
    page.push_str("<h2>Latencies</h2><p>Up: the latency that the part to the right of a point exceeds.</p>");
    for (number, load) in comparison.loads.iter().enumerate() {
        let curves = comparison.columns.iter().enumerate().filter_map(|(group, column)| {
            let report = whole(&column.reports[number])?;
            Some(Curve { name: column.name.clone(), group, points: percentiles(&report) })
        });
        let chart = Chart {
            title: load.name.to_owned(),
            x: Axis::log("one request in so many is slower"),
            y: Axis::log("latency, µs"),
            curves: curves.collect(),
        };
        page.push_str(&chart.svg()?);
    }
    page.push_str("</html>\n");
    Ok(page)
}

fn percentiles(report: &Report) -> Vec<(f64, f64)> {
    let all = report.all_latencies();
    // Fewer requests than that say nothing about one in so many.
    let known = SLOWER.into_iter().filter(|slower| all.len() as f64 * slower >= 3.0);
    known.map(|slower| (1.0 / slower, all.value_at_quantile(1.0 - slower) as f64 / 1e3)).collect()
}

fn ratios(rows: &[Row]) -> String {
    let height = rows.len() * 24 + 30;
    let left = 400.0;
    let at = |ratio: f64| {
        let share =
            (ratio.clamp(RATIO_LEAST, RATIO_MOST) / RATIO_LEAST).ln() / (RATIO_MOST / RATIO_LEAST).ln();
        left + share * BAR_PX
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 {height}\" width=\"860\" font-family=\"sans-serif\" font-size=\"13\">"
    );
    for ratio in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0] {
        let (x, colour) = (at(ratio), if ratio == 1.0 { "#222" } else { "#ddd" });
        let _ = write!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{}\" stroke=\"{colour}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{ratio}</text>",
            height - 24,
            height - 8
        );
    }
    for (number, row) in rows.iter().enumerate().filter(|(_, row)| row.over_peer.median.is_finite()) {
        let y = number as f64 * 24.0 + 14.0;
        let colour = if row.over_peer.median >= 1.0 { "#176d2e" } else { "#b3261e" };
        let (least, median, most) =
            (at(row.over_peer.least), at(row.over_peer.median), at(row.over_peer.most));
        let _ = write!(
            svg,
            "<text x=\"0\" y=\"{:.1}\">{}, {}</text>\
             <line x1=\"{least:.1}\" x2=\"{most:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"4\" opacity=\"0.4\"/>\
             <circle cx=\"{median:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{} ×</text>",
            y + 4.0,
            escaped(row.load),
            row.figure.name(),
            left + BAR_PX + 16.0,
            y + 4.0,
            digits(row.over_peer.median)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn table(comparison: &Comparison, names: &[String]) -> String {
    let mut table = "<table><tr><th>load<th>figure".to_owned();
    names.iter().for_each(|name| table.push_str(&format!("<th>{name}")));
    table.push_str("<th>ratio<th><th>of ceiling</tr>");
    for row in &comparison.rows {
        let _ = write!(table, "<tr><td>{}<td>{}", escaped(row.load), row.figure.name());
        for (&value, remarks) in row.medians.iter().zip(&row.remarks) {
            let _ = write!(table, "<td>{}", digits(value));
            remarks.iter().for_each(|remark| table.push_str(&format!("<br><small>{remark}</small>")));
        }
        let _ = write!(
            table,
            "<td class=\"{}\">{}<td><small>({} to {})</small><td>{}</tr>",
            if row.over_peer.median >= 1.0 { "good" } else { "bad" },
            digits(row.over_peer.median),
            digits(row.over_peer.least),
            digits(row.over_peer.most),
            digits(row.of_ceiling.median)
        );
    }
    table.push_str("</table>");
    table
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
