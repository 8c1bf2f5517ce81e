//! Random numbers from one seed: SplitMix64 (Steele, Lea and Flood, 2014), because it is three
//! lines and fast, and nothing here needs secrecy.

use std::time::Duration;

/// The only source of randomness of a world. The same seed gives the same numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Creates a generator; every seed is a good one.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Returns a uniform number in `0..n`, and 0 for `n == 0`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Returns a uniform number in `from..to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) as usize) as u64
    }

    /// Returns a uniform duration in `from..to`, in whole microseconds.
    pub fn duration(&mut self, from: Duration, to: Duration) -> Duration {
        Duration::from_micros(self.between(from.as_micros() as u64, to.as_micros() as u64))
    }

    /// Returns whether something with this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        ((self.bits() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// Rounds to a whole number whose expectation is `expected`: 2.3 gives 2, and 3 in 30 % of the
    /// cases.
    pub(crate) fn round(&mut self, expected: f64) -> usize {
        expected as usize + usize::from(self.happens(expected.fract()))
    }

    /// Draws `count` different items in random order, or all of them if there are fewer.
    pub fn sample(&mut self, mut items: Vec<usize>, count: usize) -> Vec<usize> {
        let count = count.min(items.len());
        for i in 0..count {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
        items.truncate(count);
        items
    }
}

/// Spreads the bits of `x` over all 64 (the finisher of SplitMix64).
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_bounds() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        for n in 1..200 {
            let value = a.below(n);
            assert!(value < n && value == b.below(n));
        }
        let some = a.sample((0..50).collect(), 20);
        assert_eq!(some.len(), 20);
        assert!((0..1000).filter(|_| a.happens(0.1)).count().abs_diff(100) < 50);
    }
}
