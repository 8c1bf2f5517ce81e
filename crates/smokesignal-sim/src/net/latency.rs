//! How long messages travel.
//!
//! Each pair of nodes has its own base delay, which follows from the pair and the run's seed and is
//! therefore never stored. Each message is late by up to 10 % of it.

use serde::Serialize;

use crate::kernel::{Rng, mix};

/// A model of the one-way delays between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Latency {
    /// One building: 0.1 ms to 2 ms.
    Lan,
    /// One country: 10 ms to 50 ms. The prototypes of the project used the same range.
    Wan,
    /// Twelve cities around the world: the time of light in glass, times 1.5 because no cable is
    /// straight, plus 1 ms to 8 ms for the last mile.
    Cities,
    /// The same for all pairs.
    Even {
        /// One way, in microseconds.
        micros: u64,
    },
    /// Three regions, which the nodes belong to by turns: the round trip takes 20 ms within a
    /// region, 80 ms from the first to the second, and 150 ms from either to the third.
    Regions,
}

/// The most by which a message is late, in 1/1024 of the base delay: 10 %. A guess.
const JITTER: u64 = 102;

/// Name, latitude and longitude in degrees.
const CITIES: [(&str, f64, f64); 12] = [
    ("Frankfurt", 50.11, 8.68),
    ("London", 51.51, -0.13),
    ("New York", 40.71, -74.01),
    ("San Francisco", 37.77, -122.42),
    ("Sao Paulo", -23.55, -46.63),
    ("Johannesburg", -26.20, 28.05),
    ("Mumbai", 19.08, 72.88),
    ("Singapore", 1.35, 103.82),
    ("Tokyo", 35.68, 139.69),
    ("Sydney", -33.87, 151.21),
    ("Dubai", 25.20, 55.27),
    ("Toronto", 43.65, -79.38),
];

impl Latency {
    /// Returns the base delay between two nodes in microseconds, the same for the same pair and
    /// seed.
    pub(crate) fn between(self, a: usize, b: usize, seed: u64) -> u64 {
        let pair = mix((a.min(b) as u64) << 32 | a.max(b) as u64);
        let mut rng = Rng::new(mix(seed) ^ pair);
        match self {
            Self::Lan => rng.between(100, 2_000),
            Self::Wan => rng.between(10_000, 50_000),
            Self::Cities => {
                let city = |node: usize| (mix(node as u64 ^ mix(!seed)) % CITIES.len() as u64) as usize;
                cable_micros(city(a), city(b)) + rng.between(1_000, 8_000)
            }
            Self::Even { micros } => micros,
            Self::Regions => match (a % 3, b % 3) {
                (a, b) if a == b => 10_000,
                (2, _) | (_, 2) => 75_000,
                _ => 40_000,
            },
        }
    }
}

/// Returns the delay of one message over a connection with this base delay.
pub(crate) fn with_jitter(base: u64, rng: &mut Rng) -> u64 {
    base + ((base * rng.between(0, JITTER)) >> 10)
}

/// Returns the one-way delay between two cities in microseconds, by the haversine formula.
fn cable_micros(a: usize, b: usize) -> u64 {
    /// Mean radius of the earth in km.
    const RADIUS: f64 = 6371.0;
    /// Light in glass: 2/3 of 299 792 km/s, in km per microsecond.
    const SPEED: f64 = 0.2;
    /// Cables are longer than great circles. A guess; measured ratios between large cities are 1.3
    /// to 2.
    const DETOUR: f64 = 1.5;
    let ((_, lat_a, lon_a), (_, lat_b, lon_b)) = (CITIES[a], CITIES[b]);
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let h = half(lat_a, lat_b) + lat_a.to_radians().cos() * lat_b.to_radians().cos() * half(lon_a, lon_b);
    (2.0 * RADIUS * h.sqrt().asin() * DETOUR / SPEED) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_keep_to_their_ranges_and_pairs_are_symmetric() {
        for (a, b) in (0..100).map(|n| (n, n * 7 + 1)) {
            assert!((100..2_000).contains(&Latency::Lan.between(a, b, 1)));
            assert!((10_000..50_000).contains(&Latency::Wan.between(a, b, 1)));
            assert!((1_000..200_000).contains(&Latency::Cities.between(a, b, 1)));
            assert_eq!(Latency::Wan.between(a, b, 1), Latency::Wan.between(b, a, 1));
        }
    }

    #[test]
    fn frankfurt_to_sydney_takes_about_an_eighth_of_a_second() {
        let one_way = cable_micros(0, 9);
        assert!((110_000..140_000).contains(&one_way), "{one_way}");
    }
}
