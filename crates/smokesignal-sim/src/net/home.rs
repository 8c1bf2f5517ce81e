//! Lines as people have them at home and on the way.
//!
//! A node draws a technology, and a rate within its usual range; slow lines are as frequent as fast
//! ones on a logarithmic scale. Sources of the ranges:
//!
//! - Rates: Ofcom, *UK Home Broadband Performance* (2023; the median of all lines is 69 Mbit/s down
//!   and 18 up, ADSL2+ gives up to 24, VDSL up to 80), and FCC, *Measuring Broadband America*
//!   (13th report, 2024), for the tiers of cable and fibre. Cable has about a tenth of its rate
//!   upwards, DSL a tenth to a quarter, fibre half or all.
//! - LTE: Ofcom, *Measuring mobile broadband performance in the UK* (2014; 15 Mbit/s down and 14
//!   up in the mean), with the spread of a good and a bad place.
//! - Queues: Dischinger et al., *Characterizing Residential Broadband Networks* (IMC 2007), which
//!   found queues of several hundred milliseconds and more on DSL and cable. Those of fibre, and
//!   how many lines are of which technology, are guesses.

use std::time::Duration;

use super::line::Line;
use crate::kernel::Rng;

/// A technology: its share of all lines in percent, and what its lines can do.
struct Technology {
    share: usize,
    /// Kilobits per second down, the slowest and the fastest.
    down: (u64, u64),
    /// The rate up as a share of that down, in percent.
    up: (u64, u64),
    /// Milliseconds of the fullest queue.
    queue: (u64, u64),
}

const FIBRE: Technology = Technology { share: 25, down: (100_000, 1_000_000), up: (50, 101), queue: (5, 50) };
const CABLE: Technology = Technology { share: 25, down: (50_000, 500_000), up: (5, 15), queue: (50, 400) };
const DSL: Technology = Technology { share: 30, down: (6_000, 80_000), up: (10, 26), queue: (100, 2_000) };
const LTE: Technology = Technology { share: 20, down: (5_000, 50_000), up: (20, 90), queue: (100, 1_000) };

impl Line {
    /// Draws a line as people have them.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut percent = rng.below(100);
        let mut technology = &LTE;
        for one in [&FIBRE, &CABLE, &DSL] {
            if percent < one.share {
                technology = one;
                break;
            }
            percent -= one.share;
        }
        let down = log_uniform(rng, technology.down) * 1_000;
        let up = down * rng.between(technology.up.0, technology.up.1) / 100;
        Self { up, down, queue: Duration::from_millis(log_uniform(rng, technology.queue)) }
    }
}

/// Draws a number between these two, of which each doubling is equally likely.
fn log_uniform(rng: &mut Rng, (from, to): (u64, u64)) -> u64 {
    let share = rng.between(0, 1 << 20) as f64 / (1 << 20) as f64;
    (from as f64 * (to as f64 / from as f64).powf(share)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_lines_are_slower_than_a_usual_one_and_most_are_slower_up_than_down() {
        let mut rng = Rng::new(1);
        let lines: Vec<_> = (0..10_000).map(|_| Line::draw(&mut rng)).collect();
        let median = |of: fn(&Line) -> u64| {
            let mut values: Vec<_> = lines.iter().map(of).collect();
            values.sort_unstable();
            values[values.len() / 2] / 1_000_000
        };
        let (down, up) = (median(|line| line.down), median(|line| line.up));
        assert!((50..100).contains(&down) && (8..20).contains(&up), "{down} and {up} Mbit/s");
        assert!(lines.iter().filter(|line| line.up < line.down).count() > 9_500);
        assert_eq!(FIBRE.share + CABLE.share + DSL.share + LTE.share, 100);
    }
}
