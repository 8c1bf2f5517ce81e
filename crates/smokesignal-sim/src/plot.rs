//! The curves of reports as one SVG, written by hand: per panel a grid, two axes, lines and a
//! legend.
//!
//! A [`Panel`] knows its scales, which end at the next round number above the largest value, and
//! maps values to pixels. Everything else writes elements at these pixels.

use std::fmt::Write as _;

use crate::report::{Axes, Curve, Report};

/// The size of one panel in pixels, and the space around its frame.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Steps between the ticks of an axis.
const STEPS: u32 = 5;
/// Pixels from one line of the legend to the next.
const LEGEND_LINE: f64 = 18.0;
/// Colours that most kinds of colour blindness can tell apart (Okabe and Ito, 2008).
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
/// Delivery times above this share of the deliveries do not stretch the axis: otherwise the slowest
/// single delivery would decide it. In percent.
const NEARLY_ALL: f64 = 99.9;

/// Draws all curves of these reports: delivery times in the upper panel, links over time in the
/// lower one.
pub fn svg(reports: &[Report]) -> String {
    let curves = |axes| -> Vec<&Curve> {
        let all = reports.iter().flat_map(|report| &report.curves);
        all.filter(|curve| curve.axes == axes).collect()
    };
    let panels: Vec<_> = [Axes::Latency, Axes::Links]
        .map(|axes| (axes, curves(axes)))
        .into_iter()
        .filter(|(_, curves)| !curves.is_empty())
        .collect();
    let height = HEIGHT * panels.len().max(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (number, (axes, curves)) in panels.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "<g transform=\"translate(0,{})\">", HEIGHT * number as f64);
        Panel::new(*axes, curves).draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

/// One diagram: its curves and its scales.
struct Panel<'a> {
    axes: Axes,
    curves: &'a [&'a Curve],
    /// The values between two ticks.
    x_step: f64,
    y_step: f64,
}

impl<'a> Panel<'a> {
    fn new(axes: Axes, curves: &'a [&'a Curve]) -> Self {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let shown = points().filter(|(_, y)| axes == Axes::Links || *y <= NEARLY_ALL);
        let y_step = match axes {
            Axes::Latency => 100.0 / f64::from(STEPS),
            Axes::Links => step(largest(points().map(|(_, y)| *y))),
        };
        Self { axes, curves, x_step: step(largest(shown.map(|(x, _)| *x))), y_step }
    }

    fn x_max(&self) -> f64 {
        self.x_step * f64::from(STEPS)
    }

    /// Returns the pixel of a value on the horizontal axis.
    fn x(&self, value: f64) -> f64 {
        LEFT + value.min(self.x_max()) / self.x_max() * (WIDTH - LEFT - RIGHT)
    }

    /// Returns the pixel of a value on the vertical axis.
    fn y(&self, value: f64) -> f64 {
        let max = self.y_step * f64::from(STEPS);
        HEIGHT - BOTTOM - value.min(max) / max * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, svg: &mut String) {
        self.titles(svg);
        (0..=STEPS).for_each(|tick| self.grid_line(svg, tick));
        for (number, curve) in self.curves.iter().enumerate() {
            self.line(svg, number, curve);
        }
    }

    /// Writes the title of the panel and those of its axes.
    fn titles(&self, svg: &mut String) {
        let (title, across, up) = match self.axes {
            Axes::Latency => ("Delivered within", "ms since written", "% of deliveries"),
            Axes::Links => ("Links while the network heals", "s since the fault", "links per node"),
        };
        let (middle_x, bottom) = (self.x(self.x_max() / 2.0), HEIGHT - 10.0);
        let middle_y = f64::midpoint(TOP, HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{title}</text>\n\
             <text x=\"{middle_x:.1}\" y=\"{bottom:.1}\" text-anchor=\"middle\">{across}</text>\
             <text transform=\"translate(18,{middle_y:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{up}</text>"
        );
    }

    /// Draws a vertical and a horizontal line of the grid, each with its number.
    fn grid_line(&self, svg: &mut String, tick: u32) {
        let (at_x, at_y) = (self.x_step * f64::from(tick), self.y_step * f64::from(tick));
        let (x, y) = (self.x(at_x), self.y(at_y));
        let (right, bottom, top) = (self.x(self.x_max()), self.y(0.0), TOP);
        let (below, left, baseline) = (bottom + 18.0, LEFT - 8.0, y + 4.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {bottom:.1}V{top:.1}M{LEFT:.1} {y:.1}H{right:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{at_x}</text>\
             <text x=\"{left:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{at_y}</text>"
        );
    }

    /// Draws a curve and its entry in the legend.
    fn line(&self, svg: &mut String, number: usize, curve: &Curve) {
        let colour = COLOURS[number % COLOURS.len()];
        let inside = curve.points.iter().take_while(|(x, _)| *x <= self.x_max());
        let points = inside.map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y)));
        let points = points.collect::<Vec<_>>().join(" ");
        let baseline = TOP + LEGEND_LINE * number as f64 + 6.0;
        let (mark_x, mark_y) = (WIDTH - RIGHT + 14.0, baseline - 6.0);
        let (text_x, name) = (WIDTH - RIGHT + 32.0, &curve.name);
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <rect x=\"{mark_x:.1}\" y=\"{mark_y:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{text_x:.1}\" y=\"{baseline:.1}\">{name}</text>"
        );
    }
}

/// Returns the largest value, or next to nothing where there is none: an axis needs a length.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(1e-9, f64::max)
}

/// Returns the distance of two ticks: 1, 2 or 5 times a power of ten, so that five of them reach
/// `max`.
fn step(max: f64) -> f64 {
    let steps = f64::from(STEPS);
    let power = 10f64.powf((max / steps).log10().floor());
    let mut candidates = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    candidates.find(|step| step * steps >= max).unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_just_beyond_the_largest_value() {
        for (max, expected) in [(5.0, 1.0), (5.1, 2.0), (24.0, 5.0), (0.3, 0.1), (1000.0, 200.0)] {
            assert!((step(max) - expected).abs() < 1e-9, "{max}: {}", step(max));
        }
    }

    #[test]
    fn every_curve_is_drawn_in_the_panel_of_its_axes() {
        let curve =
            |axes, name: &str| Curve { name: name.to_owned(), axes, points: vec![(1.0, 50.0), (2.0, 100.0)] };
        let report = Report {
            scenario: String::new(),
            nodes: 0,
            rng_seed: 0,
            virtual_s: 0.0,
            wall_s: 0.0,
            events: 0,
            events_per_s: 0.0,
            trace_hash: String::new(),
            figures: Vec::new(),
            violations: Vec::new(),
            curves: vec![curve(Axes::Links, "links"), curve(Axes::Latency, "latency")],
        };
        let svg = svg(&[report]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        let place = |text: &str| svg.find(text).unwrap();
        assert!(place(">latency<") < place(">links<"), "{svg}");
        assert!(place("Delivered within") < place("Links while the network heals"));
    }
}
