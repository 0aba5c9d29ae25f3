//! Curves as SVG.

use crate::failure::Failure;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;
use std::ops::Range;

const SIZE: (u32, u32) = (900, 480);
/// Of a legend's line, in pixels, and of each of its rows.
const SAMPLE: i32 = 26;
const ROW: i32 = 19;
/// A letter of a legend, about.
const LETTER: u32 = 7;
/// Room around the outermost points, as a factor on a scale of logarithms.
const MARGIN: f64 = 1.3;
const COLOURS: [RGBColor; 8] = [
    RGBColor(214, 39, 40),
    RGBColor(31, 119, 180),
    RGBColor(127, 127, 127),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
    RGBColor(140, 86, 75),
];

/// Dashes and gaps in pixels, by the place in a group.
const PATTERNS: [Option<(u32, u32)>; 3] = [None, Some((8, 4)), Some((2, 4))];

/// A scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0 on.
    Linear,
    /// For values above 0.
    Log,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub name: String,
    /// How.
    pub scale: Scale,
}

impl Axis {
    /// From 0 on.
    pub fn linear(name: &str) -> Axis {
        Axis { name: name.to_owned(), scale: Scale::Linear }
    }

    /// For values above 0.
    pub fn log(name: &str) -> Axis {
        Axis { name: name.to_owned(), scale: Scale::Log }
    }
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What it is.
    pub name: String,
    /// Curves of one group have one colour: the first is drawn through, the next dashed, further ones dotted.
    pub group: usize,
    /// In the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

/// Some curves.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What they show.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// The curves.
    pub curves: Vec<Curve>,
}

impl Chart {
    /// As SVG.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn svg(&self) -> Result<String, Failure> {
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            let drawn = self.draw(&root).and_then(|()| Ok(root.present()?));
            drawn.map_err(|error| Failure::system("drawing a plot", error))?;
        }
        Ok(text)
    }

    /// Draws it, among others perhaps; to present all of them is the caller's.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn draw(&self, root: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn Error>> {
        let (xs, ys) = (self.range(|point| point.0, &self.x), self.range(|point| point.1, &self.y));
        match (self.x.scale, self.y.scale) {
            (Scale::Linear, Scale::Linear) => self.draw_on(root, xs, ys),
            (Scale::Linear, Scale::Log) => self.draw_on(root, xs, ys.log_scale()),
            (Scale::Log, Scale::Linear) => self.draw_on(root, xs.log_scale(), ys),
            (Scale::Log, Scale::Log) => self.draw_on(root, xs.log_scale(), ys.log_scale()),
        }
    }

    fn draw_on<X, Y>(
        &self,
        root: &DrawingArea<SVGBackend<'_>, Shift>,
        xs: X,
        ys: Y,
    ) -> Result<(), Box<dyn Error>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        root.fill(&WHITE)?;
        // Beside the curves, so that it hides none of them.
        let (root, legend) =
            root.split_horizontally(root.dim_in_pixel().0.saturating_sub(self.legend_width()));
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(xs, ys)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.name)
            .y_desc(&self.y.name)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .light_line_style(BLACK.mix(0.06))
            .draw()?;
        for (row, curve) in self.curves.iter().enumerate() {
            let before = self.curves[..row].iter().filter(|other| other.group == curve.group).count();
            let colour = COLOURS[curve.group % COLOURS.len()];
            let (line, pattern) = (colour.stroke_width(2), PATTERNS[before.min(PATTERNS.len() - 1)]);
            let points = curve.points.iter().copied().filter(|&point| self.shows(point));
            let left = 50 + row as i32 * ROW;
            let sample = [(0, left), (SAMPLE, left)].into_iter();
            match pattern {
                None => {
                    chart.draw_series(LineSeries::new(points.clone(), line))?;
                    legend.draw(&PathElement::new(sample.collect::<Vec<_>>(), line))?;
                }
                Some((dash, gap)) => {
                    chart.draw_series(DashedLineSeries::new(points.clone(), dash, gap, line))?;
                    for piece in DashedLineSeries::new(sample, dash, gap, line) {
                        legend.draw(&piece)?;
                    }
                }
            }
            if curve.points.len() <= 40 {
                chart.draw_series(points.map(|at| Circle::new(at, 3, colour.filled())))?;
            }
            legend.draw(&Text::new(curve.name.as_str(), (SAMPLE + 6, left - 7), ("sans-serif", 13)))?;
        }
        Ok(())
    }

    /// Room for the names of all curves, in pixels.
    fn legend_width(&self) -> u32 {
        let longest = self.curves.iter().map(|curve| curve.name.chars().count()).max();
        longest.map_or(0, |letters| SAMPLE as u32 + 16 + letters as u32 * LETTER)
    }

    fn shows(&self, (x, y): (f64, f64)) -> bool {
        let on = |axis: &Axis, value: f64| value.is_finite() && (axis.scale == Scale::Linear || value > 0.0);
        on(&self.x, x) && on(&self.y, y)
    }

    /// A range that holds all values.
    fn range(&self, of: fn(&(f64, f64)) -> f64, axis: &Axis) -> Range<f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points).filter(|&&point| self.shows(point));
        let none = (f64::INFINITY, f64::NEG_INFINITY);
        let (least, most) =
            points.map(of).fold(none, |(least, most), value| (least.min(value), most.max(value)));
        match axis.scale {
            _ if least > most => 1.0..10.0,
            Scale::Linear => 0.0..if most > 0.0 { most * 1.05 } else { 1.0 },
            Scale::Log => {
                // A tenfold at least, or there is no round number on the axis.
                let widened = (10.0 * least / most).sqrt().max(MARGIN);
                least / widened..most * widened
            }
        }
    }
}

/// A number as short as its size allows.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 10.0 || value == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_drawn_and_what_has_no_place_is_left_out() {
        let curve = |name: &str, points| Curve { name: name.to_owned(), group: 0, points };
        for (x, y) in [(Axis::log("x"), Axis::log("y")), (Axis::linear("x"), Axis::linear("y"))] {
            let curves = vec![
                curve("one", vec![(1.0, 10.0), (100.0, 20.0), (0.0, f64::NAN)]),
                curve("two", vec![(5.0, 1e6)]),
                curve("none", Vec::new()),
            ];
            let svg = Chart { title: "a < b".into(), x, y, curves }.svg().unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(["one", "two", "none", "a &lt; b"].iter().all(|text| svg.contains(text)), "{svg}");
        }
        let nothing =
            Chart { title: String::new(), x: Axis::log("x"), y: Axis::log("y"), curves: Vec::new() };
        assert!(nothing.svg().is_ok());
    }
}
