//! Draws lines over a few steps on a logarithmic scale, as SVG.
//!
//! The plots of the simulator have other axes (linear, with continuous values on both), so the two
//! drawing modules have only their colours in common.

use std::fmt::Write as _;

use crate::number::short;

/// Size of one panel in pixels, and the space around its frame.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Colours that people with most kinds of colour blindness can distinguish (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
/// The styles of the lines: the first seven are solid, and the next seven dashed.
const DASHES: [&str; 2] = ["none", "6 4"];

/// A frame with its lines.
#[derive(Clone)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) across: &'static str,
    pub(crate) up: &'static str,
    /// The labels along the axis, at equal distances.
    pub(crate) steps: Vec<String>,
    pub(crate) lines: Vec<Line>,
}

#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// The colour and dash; the same number looks the same in all panels.
    pub(crate) style: usize,
    /// A value per step, where there is one.
    pub(crate) values: Vec<Option<f64>>,
}

/// Draws the panels, one below the other.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "<g transform=\"translate(0,{})\">", HEIGHT * number as f64);
        frame(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

fn frame(svg: &mut String, panel: &Panel) {
    let scale = Scale::of(panel);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>", panel.title);
    for decade in scale.low..=scale.high {
        grid_line(svg, 10f64.powi(decade), &scale);
    }
    for (number, step) in panel.steps.iter().enumerate() {
        let (at, below) = (scale.x(number), HEIGHT - BOTTOM + 18.0);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{step}</text>");
    }
    axis_titles(svg, panel);
    for (place, line) in panel.lines.iter().enumerate() {
        draw(svg, line, place, &scale);
    }
}

/// Where values are in a panel.
struct Scale {
    /// The powers of ten at the lower and the upper end.
    low: i32,
    high: i32,
    /// Number of steps of the horizontal axis.
    steps: usize,
}

impl Scale {
    fn of(panel: &Panel) -> Self {
        let values = panel.lines.iter().flat_map(|line| &line.values).flatten().copied();
        let (low, high) = decades(values.filter(|value| *value > 0.0));
        Self { low, high, steps: panel.steps.len() }
    }

    /// Returns the pixel of a step on the horizontal axis.
    fn x(&self, step: usize) -> f64 {
        LEFT + (step as f64 + 0.5) / self.steps as f64 * (WIDTH - LEFT - RIGHT)
    }

    /// Returns the pixel of a value on the vertical axis.
    fn y(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }
}

/// Draws the line of the grid at a value, with its number.
fn grid_line(svg: &mut String, value: f64, scale: &Scale) {
    let (at, right, left, number) = (scale.y(value), WIDTH - RIGHT, LEFT - 8.0, tick(value));
    let baseline = at + 4.0;
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {at:.1}H{right:.1}\" stroke=\"#ddd\"/>\
         <text x=\"{left:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{number}</text>"
    );
}

/// Writes the titles of the axes.
fn axis_titles(svg: &mut String, panel: &Panel) {
    let (x, y) = (LEFT.midpoint(WIDTH - RIGHT), TOP.midpoint(HEIGHT - BOTTOM));
    let (bottom, across, up) = (HEIGHT - 10.0, panel.across, panel.up);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{across}</text>\
         <text transform=\"translate(18,{y}) rotate(-90)\" text-anchor=\"middle\">{up}</text>"
    );
}

/// Draws a line, and its entry in the legend.
fn draw(svg: &mut String, line: &Line, place: usize, scale: &Scale) {
    let colour = COLOURS[line.style % COLOURS.len()];
    let dash = DASHES[line.style / COLOURS.len() % DASHES.len()];
    let values = line.values.iter().enumerate().filter_map(|(step, value)| Some((step, (*value)?)));
    let points: Vec<_> = values
        .filter(|(_, value)| *value > 0.0)
        .map(|(step, value)| (scale.x(step), scale.y(value)))
        .collect();
    let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let (left, top) = (WIDTH - RIGHT + 14.0, TOP + 18.0 * place as f64);
    let _ = writeln!(
        svg,
        "<g stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\" fill=\"none\">\
         <polyline points=\"{}\"/><path d=\"M{left} {:.1}h24\"/></g>\
         <text x=\"{}\" y=\"{:.1}\">{}</text>",
        path.join(" "),
        top + 2.0,
        left + 32.0,
        top + 6.0,
        line.name,
    );
    for (x, y) in points {
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
}

/// Returns the powers of ten below and above all values, as exponents that differ by 1 or more.
fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (least, most) =
        values.fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    if most == 0.0 {
        return (0, 1);
    }
    let low = least.log10().floor() as i32;
    (low, (most.log10().ceil() as i32).max(low + 1))
}

/// Formats a label of the vertical axis, such as `0.01`, `1`, `1 k` or `10 M`.
fn tick(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.0} M", value / 1e6),
        value if value >= 1e3 => format!("{:.0} k", value / 1e3),
        value if value >= 1.0 => format!("{value:.0}"),
        value => short(value).trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_begins_and_ends_at_powers_of_ten() {
        assert_eq!(decades([0.2, 30.0].into_iter()), (-1, 2));
        assert_eq!(decades([10.0].into_iter()), (1, 2));
        assert_eq!(decades([].into_iter()), (0, 1));
        assert_eq!([0.01, 1.0, 100.0, 1e4, 1e7].map(tick), ["0.01", "1", "100", "10 k", "10 M"]);
    }

    #[test]
    fn a_missing_value_is_skipped() {
        let line = Line { name: "mine", style: 9, values: vec![Some(1.0), None, Some(0.0)] };
        let steps = ["a", "b", "c"].map(str::to_owned).to_vec();
        let svg = svg(&[Panel { title: "T".to_owned(), across: "x", up: "y", steps, lines: vec![line] }]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1);
    }
}
