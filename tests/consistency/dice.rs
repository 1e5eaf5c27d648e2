//! Chance that can be repeated: the same numbers for the same seed (splitmix64).

use std::time::Duration;

use super::history::Key;

pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn up_to(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count.max(1) as u64).unwrap_or_default()
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    pub fn below(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.fraction())
    }

    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + self.below(most.saturating_sub(least))
    }

    fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}

/// A choice of keys as clients make it: few are asked for often, and many seldom (Zipf).
pub struct Popularity(Vec<f64>);

impl Popularity {
    pub fn of(keys: Key) -> Self {
        let mut sum = 0.0;
        let weights = (0..keys).map(|key| {
            sum += f64::from(key + 1).powf(-0.9);
            sum
        });
        Self(weights.collect())
    }

    pub fn pick(&self, dice: &mut Dice) -> Key {
        let aim = dice.fraction() * self.0.last().copied().unwrap_or_default();
        let key = self.0.partition_point(|&sum| sum < aim).min(self.0.len() - 1);
        Key::try_from(key).unwrap()
    }
}
