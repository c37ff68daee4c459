//! In which order the training rows are drawn.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Draws rows without replacement, shuffled anew each epoch.
///
/// The order follows from the seed, the epoch and the number of rows alone. The last batch of an epoch has what is left.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    order: Vec<usize>,
    position: SamplerPosition,
}

/// How far a sampler has come. With the seed and the number of rows it is all that a checkpoint needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SamplerPosition {
    /// Whole passes done.
    pub epoch: u64,
    /// Rows drawn in this pass.
    pub drawn: usize,
}

impl Sampler {
    /// Starts at the beginning.
    pub fn new(seed: u64, rows: usize) -> Self {
        Self::at(seed, rows, SamplerPosition::default())
    }

    /// Goes on from a position.
    pub fn at(seed: u64, rows: usize, position: SamplerPosition) -> Self {
        Self { seed, order: shuffled(seed, position.epoch, rows), position }
    }

    /// The next rows: `count`, or fewer at the end of an epoch. None only if there are no rows at all.
    pub fn next(&mut self, count: usize) -> Vec<usize> {
        if self.position.drawn == self.order.len() {
            self.position = SamplerPosition { epoch: self.position.epoch + 1, drawn: 0 };
            self.order = shuffled(self.seed, self.position.epoch, self.order.len());
        }
        let end = self.order.len().min(self.position.drawn + count);
        let picked = self.order[self.position.drawn..end].to_vec();
        self.position.drawn = end;
        picked
    }

    /// How far it has come.
    pub fn position(&self) -> SamplerPosition {
        self.position
    }
}

/// The rows of an epoch in their order (Fisher and Yates 1938).
fn shuffled(seed: u64, epoch: u64, rows: usize) -> Vec<usize> {
    let mut random = Random::numbered(Random::named(seed, "sampler").bits(), epoch);
    let mut order: Vec<usize> = (0..rows).collect();
    for last in (1..rows).rev() {
        order.swap(last, below(&mut random, last as u64 + 1) as usize);
    }
    order
}

/// A number below `limit`, each equally likely: draws again where the last, incomplete run of numbers begins.
fn below(random: &mut Random, limit: u64) -> u64 {
    let whole = u64::MAX - u64::MAX % limit;
    loop {
        let bits = random.bits();
        if bits < whole {
            return bits % limit;
        }
    }
}
