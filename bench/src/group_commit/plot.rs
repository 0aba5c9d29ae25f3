//! What was measured, as SVG: latency against throughput from few writers to many, once a curve for each way to
//! sync and for the disk's own limit with it, once a curve for each setting of one way; which share of that
//! limit is reached; and what size and delay of a group do to throughput and to latency, each with the other at
//! its default.

use super::{Point, Sync};
use crate::failure::Failure;
use crate::plot::{Axis, Chart, Curve};
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const WIDTH: u32 = 1200;
/// Of each plot of latency against throughput, which have the most curves.
const TRADE_OFF_HEIGHT: u32 = 560;
/// Of each row of two plots below it.
const ROW_HEIGHT: u32 = 440;
const ROWS: usize = 3;

/// Draws the combinations into a file.
///
/// # Errors
/// The file cannot be written.
pub fn draw(points: &[Point], path: &Path) -> Result<(), Failure> {
    picture(points, path).map_err(|error| Failure::system(format!("drawing {}", path.display()), error))
}

fn picture(points: &[Point], path: &Path) -> Result<(), Box<dyn Error>> {
    let root =
        SVGBackend::new(path, (WIDTH, 2 * TRADE_OFF_HEIGHT + ROWS as u32 * ROW_HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(2 * TRADE_OFF_HEIGHT);
    let shown = Shown::of(points);
    for (chart, half) in
        [shown.syncs_against(), shown.settings_against()].iter().zip(&upper.split_evenly((2, 1)))
    {
        chart.draw(half)?;
    }
    let cells = lower.split_evenly((ROWS, 2));
    for (chart, cell) in shown.settings().iter().zip(&cells) {
        chart.draw(cell)?;
    }
    root.present()?;
    Ok(())
}

/// The combinations, and which of them the settings are varied from.
struct Shown<'p> {
    points: &'p [Point],
    /// The least delay, and the largest size: what is closest to the defaults.
    delay_us: u32,
    batch_bytes: u32,
    /// The way to sync that is looked at by itself: the default if it was measured.
    sync: Sync,
}

impl<'p> Shown<'p> {
    fn of(points: &'p [Point]) -> Shown<'p> {
        let has_default = points.iter().any(|point| point.sync == Sync::Direct);
        let first = points.first().map_or(Sync::Direct, |point| point.sync);
        Shown {
            points,
            delay_us: points.iter().map(|point| point.delay_us).min().unwrap_or(0),
            batch_bytes: points.iter().map(|point| point.batch_bytes).max().unwrap_or(0),
            sync: if has_default { Sync::Direct } else { first },
        }
    }

    /// A curve of the points that are chosen.
    fn curve(
        &self,
        name: String,
        group: usize,
        of: impl Fn(&Point) -> bool,
        at: impl Fn(&Point) -> (f64, f64),
    ) -> Curve {
        Curve { name, group, points: self.points.iter().filter(|point| of(point)).map(at).collect() }
    }

    fn syncs(&self) -> Vec<Sync> {
        let mut all: Vec<Sync> = self.points.iter().map(|point| point.sync).collect();
        all.dedup();
        all
    }

    fn writers(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.points.iter().map(|point| point.writers).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The ways to sync, with the defaults of the other settings.
    fn syncs_against(&self) -> Chart {
        let mut curves = Vec::new();
        for (group, sync) in self.syncs().into_iter().enumerate() {
            let of = |point: &Point| self.is_default(point) && point.sync == sync;
            curves.push(self.curve(sync.name().into(), group, of, trade_off));
            if sync != Sync::None {
                let name = format!("{}, the disk alone", sync.name());
                curves.push(self.curve(name, group, of, |point| (point.limit_per_s, point.raw_us)));
            }
        }
        against("Group commit: the ways to sync, from few writers to many".into(), curves)
    }

    /// One way to sync with one setting off its default at a time: all combinations are in the table.
    fn settings_against(&self) -> Chart {
        let of_sync = self.points.iter().filter(|point| point.sync == self.sync);
        let mut settings: Vec<(u32, u32)> = of_sync
            .map(|point| (point.delay_us, point.batch_bytes))
            .filter(|(delay_us, batch_bytes)| *delay_us == self.delay_us || *batch_bytes == self.batch_bytes)
            .collect();
        settings.dedup();
        let curves = settings.into_iter().enumerate().map(|(group, (delay_us, batch_bytes))| {
            let name = format!("delay {delay_us} µs, batch {batch_bytes} B");
            let of = |point: &Point| {
                (point.sync, point.delay_us, point.batch_bytes) == (self.sync, delay_us, batch_bytes)
            };
            self.curve(name, group, of, trade_off)
        });
        against(format!("{}: its settings, from few writers to many", self.sync.name()), curves.collect())
    }

    fn is_default(&self, point: &Point) -> bool {
        (point.delay_us, point.batch_bytes) == (self.delay_us, self.batch_bytes)
    }

    /// The plots of one setting each, two to a row.
    fn settings(&self) -> [Chart; 2 * ROWS] {
        let by_size = |point: &Point| (point.delay_us == self.delay_us).then_some(point.batch_bytes);
        let by_delay = |point: &Point| (point.batch_bytes == self.batch_bytes).then_some(point.delay_us);
        let (size, delay) = (Axis::log("maxBatchBytes"), Axis::linear("maxDelayUs"));
        let rate = |point: &Point| point.per_s;
        let latency = |point: &Point| point.p50_us as f64;
        [
            self.by_writers("of the disk's own limit, %", |point| 100.0 * point.of_disk_limit),
            self.by_writers("a write in flight, % of the time", |point| 100.0 * point.in_flight),
            self.by(&size, &by_size, Axis::log("durable transactions a second"), &rate),
            self.by(&size, &by_size, Axis::log("from append to durable, median, µs"), &latency),
            self.by(&delay, &by_delay, Axis::log("durable transactions a second"), &rate),
            self.by(&delay, &by_delay, Axis::log("from append to durable, median, µs"), &latency),
        ]
    }

    fn by_writers(&self, what: &str, value: impl Fn(&Point) -> f64) -> Chart {
        let syncs = self.syncs().into_iter().filter(|sync| *sync != Sync::None).enumerate();
        let curves = syncs.map(|(group, sync)| {
            let of = |point: &Point| self.is_default(point) && point.sync == sync;
            self.curve(sync.name().into(), group, of, |point| (point.writers as f64, value(point)))
        });
        Chart {
            title: format!("{what}, by writers"),
            curves: curves.collect(),
            x: Axis::log("writers"),
            y: Axis::linear(what),
        }
    }

    /// A curve for each number of writers, over a setting.
    fn by(
        &self,
        x: &Axis,
        setting: &dyn Fn(&Point) -> Option<u32>,
        y: Axis,
        value: &dyn Fn(&Point) -> f64,
    ) -> Chart {
        let curves = self.writers().into_iter().enumerate().map(|(group, writers)| {
            let of = |point: &Point| {
                point.sync == self.sync && point.writers == writers && setting(point).is_some()
            };
            let at = |point: &Point| (f64::from(setting(point).unwrap_or(0)), value(point));
            self.curve(format!("{writers} writers"), group, of, at)
        });
        let curves = curves.collect();
        Chart { title: format!("{}, by {}", self.sync.name(), x.name), x: x.clone(), y, curves }
    }
}

fn trade_off(point: &Point) -> (f64, f64) {
    (point.per_s, point.p50_us as f64)
}

fn against(title: String, curves: Vec<Curve>) -> Chart {
    let (x, y) =
        (Axis::log("durable transactions a second"), Axis::log("from append to durable, median, µs"));
    Chart { title, x, y, curves }
}
