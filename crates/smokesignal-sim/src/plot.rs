//! A report's curves as one SVG, written by hand: a frame, two axes, lines, a legend.

use std::fmt::Write as _;

use crate::report::{Axes, Curve, Report};

/// Size of one panel in pixels, and the space around its frame.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Told apart by most kinds of colour blindness (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];

/// All curves of these reports: delivery times in the upper panel, links over time in the lower one.
pub fn svg(reports: &[Report]) -> String {
    let curves =
        |axes| reports.iter().flat_map(|report| &report.curves).filter(move |curve| curve.axes == axes);
    let panels: Vec<(Axes, Vec<&Curve>)> = [Axes::Latency, Axes::Links]
        .map(|axes| (axes, curves(axes).collect::<Vec<_>>()))
        .into_iter()
        .filter(|(_, curves)| !curves.is_empty())
        .collect();
    let height = HEIGHT * panels.len().max(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (number, (axes, curves)) in panels.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "<g transform=\"translate(0,{})\">", HEIGHT * number as f64);
        panel(&mut svg, *axes, curves);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, axes: Axes, curves: &[&Curve]) {
    let (title, across, up) = match axes {
        Axes::Latency => ("Delivered within", "ms since written", "% of deliveries"),
        Axes::Links => ("Links while the network heals", "s since the fault", "links per node"),
    };
    let points = || curves.iter().flat_map(|curve| &curve.points);
    // The last hundredth of a percent would stretch the axis to the slowest single delivery.
    let near = points().filter(|(_, y)| axes == Axes::Links || *y <= 99.9);
    let x_step = step(near.map(|(x, _)| *x).fold(1e-9, f64::max));
    let x_max = x_step * 5.0;
    let y_step =
        if axes == Axes::Latency { 20.0 } else { step(points().map(|(_, y)| *y).fold(1e-9, f64::max)) };
    let y_max = y_step * 5.0;
    let x = |value: f64| LEFT + value.min(x_max) / x_max * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value.min(y_max) / y_max * (HEIGHT - TOP - BOTTOM);

    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{title}</text>");
    for tick in 0..=5 {
        let (at_x, at_y) = (x_step * f64::from(tick), y_step * f64::from(tick));
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {:.1}V{:.1}M{:.1} {:.1}H{:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at_x}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{at_y}</text>",
            x(at_x),
            y(0.0),
            y(y_max),
            x(0.0),
            y(at_y),
            x(x_max),
            x(at_x),
            y(0.0) + 18.0,
            x(0.0) - 8.0,
            y(at_y) + 4.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{across}</text>\
         <text transform=\"translate(18,{:.1}) rotate(-90)\" text-anchor=\"middle\">{up}</text>",
        x(x_max / 2.0),
        HEIGHT - 10.0,
        y(y_max / 2.0),
    );
    for (number, curve) in curves.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let inside = curve.points.iter().take_while(|(at, _)| *at <= x_max);
        let line: Vec<_> = inside.map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let legend = TOP + 18.0 * number as f64 + 6.0;
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <rect x=\"{:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            line.join(" "),
            WIDTH - RIGHT + 14.0,
            legend - 6.0,
            WIDTH - RIGHT + 32.0,
            legend,
            curve.name,
        );
    }
}

/// A fifth of the axis: 1, 2 or 5 times a power of ten, so that five of them reach `max`.
fn step(max: f64) -> f64 {
    let power = 10f64.powf((max / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| step * 5.0 >= max);
    step.unwrap_or(power * 10.0)
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
}
