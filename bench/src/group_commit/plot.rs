//! Latency against throughput as SVG: a curve for each way to sync and each delay, from few writers to
//! many, and for each way the disk's own limit.

use super::{Point, Sync};
use crate::failure::Failure;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const SIZE: (u32, u32) = (1100, 750);
/// Room around the outermost points, as a factor.
const MARGIN: f64 = 1.4;
const COLOURS: [(Sync, RGBColor); 4] = [
    (Sync::Fdatasync, RGBColor(31, 119, 180)),
    (Sync::Dsync, RGBColor(44, 160, 44)),
    (Sync::Direct, RGBColor(214, 39, 40)),
    (Sync::None, RGBColor(127, 127, 127)),
];

/// Draws the combinations into a file.
///
/// # Errors
/// The file cannot be written.
pub fn draw(points: &[Point], path: &Path) -> Result<(), Failure> {
    chart(points, path).map_err(|error| Failure::system(format!("drawing {}", path.display()), error))
}

fn chart(points: &[Point], path: &Path) -> Result<(), Box<dyn Error>> {
    let rates = points.iter().flat_map(|point| [point.per_s, point.limit_per_s]);
    let latencies = points.iter().flat_map(|point| [point.p50_us as f64, point.raw_us]);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Group commit: latency against throughput", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(around(rates).log_scale(), around(latencies).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("durable transactions a second")
        .y_desc("from append to durable, median, µs")
        .x_label_formatter(&|rate| format!("{rate:.0}"))
        .y_label_formatter(&|latency| format!("{latency:.0}"))
        .draw()?;
    for (sync, colour) in COLOURS {
        let of_mode: Vec<&Point> = points.iter().filter(|point| point.sync == sync).collect();
        let mut settings: Vec<_> = of_mode.iter().map(|point| (point.delay_us, point.batch_bytes)).collect();
        settings.dedup();
        for (number, (delay_us, batch_bytes)) in settings.into_iter().enumerate() {
            let curve = of_mode.iter().filter(|p| (p.delay_us, p.batch_bytes) == (delay_us, batch_bytes));
            let curve: Vec<_> = curve.map(|point| (point.per_s, point.p50_us as f64)).collect();
            // Later settings of the same way are fainter.
            let shade = colour.mix(1.0 / (1.0 + 0.6 * number as f64));
            chart
                .draw_series(LineSeries::new(curve.clone(), shade.stroke_width(2)))?
                .label(format!("{}, delay {delay_us} µs, batch {batch_bytes} B", sync.name()))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], shade.stroke_width(2)));
            chart.draw_series(curve.into_iter().map(|at| Circle::new(at, 3, shade.filled())))?;
        }
        let mut limit: Vec<_> = of_mode.iter().filter(|point| point.delay_us == 0).collect();
        limit.sort_unstable_by(|a, b| a.limit_per_s.total_cmp(&b.limit_per_s));
        if sync != Sync::None && !limit.is_empty() {
            let line = limit.into_iter().map(|point| (point.limit_per_s, point.raw_us));
            chart
                .draw_series(DashedLineSeries::new(line, 6, 4, colour.stroke_width(1)))?
                .label(format!("{}, the disk alone", sync.name()))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 8, y)], colour.stroke_width(1)));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    root.present()?;
    Ok(())
}

/// A range that holds all values, which are above 0.
fn around(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (least, most) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)));
    if least > most { 1.0..10.0 } else { least / MARGIN..most * MARGIN }
}
