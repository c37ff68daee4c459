//! In which order the training rows are drawn.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Draws rows without replacement, shuffled anew each epoch.
///
/// The order follows from the seed, the epoch and what is drawn from alone. The last batch of an epoch has what is left.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    urn: Urn,
    order: Vec<usize>,
    position: SamplerPosition,
}

/// How far a sampler has come. With the seed and what is drawn from it is all that a checkpoint needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SamplerPosition {
    /// Whole passes done.
    pub epoch: u64,
    /// Rows drawn in this pass.
    pub drawn: usize,
}

/// What is drawn from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Urn {
    /// How many rows there are.
    pub rows: usize,
    /// Rows that are drawn more or less often than once in an epoch, with those that are not; none if all are drawn once.
    pub shares: Vec<Share>,
    /// How rows are sorted by length; none leaves them shuffled.
    pub buckets: Option<Buckets>,
}

/// Rows that are drawn equally often.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Their numbers.
    pub rows: Vec<usize>,
    /// How often each is drawn in an epoch; on the whole, if that is no whole number.
    pub weight: f64,
}

/// Rows of like length in the same batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    /// The length of each row in tokens.
    pub lengths: Vec<u32>,
    /// Rows per batch, at least 1.
    pub batch: usize,
    /// Over how many batches rows are sorted, at least 1.
    pub batches: usize,
}

impl Sampler {
    /// Starts at the beginning, with `rows` rows that are drawn once each.
    pub fn new(seed: u64, rows: usize) -> Self {
        Self::of(seed, Urn { rows, ..Urn::default() })
    }

    /// Starts at the beginning.
    pub fn of(seed: u64, urn: Urn) -> Self {
        let order = urn.order(seed, 0);
        Self { seed, urn, order, position: SamplerPosition::default() }
    }

    /// Goes on from a position.
    #[must_use]
    pub fn at(mut self, position: SamplerPosition) -> Self {
        self.order = self.urn.order(self.seed, position.epoch);
        self.position = position;
        self
    }

    /// The next rows: `count`, or fewer at the end of an epoch. None only if there are no rows at all.
    pub fn next(&mut self, count: usize) -> Vec<usize> {
        // With small weights an epoch may have no rows.
        while self.position.drawn == self.order.len() && self.urn.rows > 0 {
            self.position = SamplerPosition { epoch: self.position.epoch + 1, drawn: 0 };
            self.order = self.urn.order(self.seed, self.position.epoch);
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

impl Urn {
    /// How many rows the first epoch has.
    pub fn first_epoch(&self) -> usize {
        match self.shares.as_slice() {
            [] => self.rows,
            shares => shares.iter().map(|share| draws(share.rows.len(), share.weight, 0).count()).sum(),
        }
    }

    /// The rows of an epoch in their order.
    fn order(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let order = if self.shares.is_empty() {
            shuffled(Random::named(seed, "sampler").bits(), epoch, self.rows)
        } else {
            let drawn: Vec<usize> =
                self.shares.iter().enumerate().flat_map(|(number, share)| share.draw(seed, number, epoch)).collect();
            let order = shuffled(Random::named(seed, "sampler").bits(), epoch, drawn.len());
            order.into_iter().map(|place| drawn[place]).collect()
        };
        match &self.buckets {
            Some(buckets) => buckets.arranged(&order, seed, epoch),
            None => order,
        }
    }
}

/// Which draws of `rows` rows belong to an epoch, counted over all epochs: with a weight of 0.5 every second epoch takes up where the one before
/// stopped. The first epoch of any weight has a row.
fn draws(rows: usize, weight: f64, epoch: u64) -> Range<u64> {
    let until = |epoch: u64| (epoch as f64 * weight * rows as f64).ceil() as u64;
    until(epoch)..until(epoch + 1)
}

impl Share {
    /// The rows of an epoch: passes over all rows, each shuffled anew, follow each other without regard to where epochs end.
    fn draw(&self, seed: u64, number: usize, epoch: u64) -> Vec<usize> {
        let count = self.rows.len() as u64;
        let seed = Random::named(seed, &format!("share {number}")).bits();
        let mut drawn = Vec::new();
        let mut places = draws(self.rows.len(), self.weight, epoch);
        while places.start < places.end && count > 0 {
            let (pass, first) = (places.start / count, places.start % count);
            let len = (count - first).min(places.end - places.start);
            let order = shuffled(seed, pass, self.rows.len());
            drawn.extend(order[first as usize..(first + len) as usize].iter().map(|place| self.rows[*place]));
            places.start += len;
        }
        drawn
    }
}

impl Buckets {
    /// Sorts the rows of every so many batches by length, cuts them into batches, and shuffles these.
    fn arranged(&self, order: &[usize], seed: u64, epoch: u64) -> Vec<usize> {
        let seed = Random::named(seed, "buckets").bits();
        let mut random = Random::numbered(seed, epoch);
        let mut arranged = Vec::with_capacity(order.len());
        for rows in order.chunks(self.batch.saturating_mul(self.batches).max(1)) {
            let mut rows = rows.to_vec();
            rows.sort_by_key(|row| self.lengths[*row]);
            // A batch that is not whole stays last: the others are found by counting.
            let whole = rows.len() / self.batch.max(1);
            let mut batches: Vec<usize> = (0..whole).collect();
            shuffle(&mut batches, &mut random);
            for batch in batches {
                arranged.extend(&rows[batch * self.batch..(batch + 1) * self.batch]);
            }
            arranged.extend(&rows[whole * self.batch..]);
        }
        arranged
    }
}

/// The rows of an epoch in their order.
fn shuffled(seed: u64, epoch: u64, rows: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    shuffle(&mut order, &mut Random::numbered(seed, epoch));
    order
}

/// Fisher and Yates 1938.
fn shuffle(order: &mut [usize], random: &mut Random) {
    for last in (1..order.len()).rev() {
        order.swap(last, below(random, last as u64 + 1) as usize);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(urn: &Urn, seed: u64, count: usize) -> Vec<Vec<usize>> {
        let mut sampler = Sampler::of(seed, urn.clone());
        let mut epochs = vec![Vec::new(); count];
        loop {
            let rows = sampler.next(4);
            let Some(epoch) = epochs.get_mut(sampler.position().epoch as usize) else { return epochs };
            epoch.extend(rows);
        }
    }

    fn urn(weights: &[(Range<usize>, f64)]) -> Urn {
        let share = |(rows, weight): &(Range<usize>, f64)| Share { rows: rows.clone().collect(), weight: *weight };
        let rows = weights.iter().map(|(rows, _)| rows.end).max().unwrap_or(0);
        Urn { rows, shares: weights.iter().map(share).collect(), buckets: None }
    }

    #[test]
    fn a_weight_is_how_often_a_row_is_drawn() {
        let urn = urn(&[(0..10, 1.0), (10..15, 2.0), (15..23, 0.5)]);
        assert_eq!(urn.first_epoch(), 10 + 10 + 4);
        let epochs = epochs(&urn, 5, 4);
        let count = |epoch: &[usize], row: usize| epoch.iter().filter(|drawn| **drawn == row).count();
        for pair in epochs.chunks(2) {
            for row in 0..10 {
                assert_eq!((count(&pair[0], row), count(&pair[1], row)), (1, 1));
            }
            for row in 10..15 {
                assert_eq!((count(&pair[0], row), count(&pair[1], row)), (2, 2));
            }
            for row in 15..23 {
                assert_eq!(count(&pair[0], row) + count(&pair[1], row), 1, "each of a half comes in one of two epochs");
            }
        }
        assert_ne!(epochs[0], epochs[2]);
    }

    #[test]
    fn small_weights_come_in_the_long_run() {
        let urn = urn(&[(0..1, 0.3), (1..4, 0.001)]);
        let epochs = epochs(&urn, 1, 400);
        let count = |row: usize| epochs.iter().flatten().filter(|drawn| **drawn == row).count();
        assert_eq!(count(0), 120);
        assert_eq!((1..4).map(count).sum::<usize>(), 2, "0.001 * 3 * 400, rounded up");
    }

    #[test]
    fn weights_go_on_from_a_position() {
        let urn = urn(&[(0..7, 1.0), (7..12, 0.7)]);
        let mut sampler = Sampler::of(9, urn.clone());
        for _ in 0..9 {
            sampler.next(3);
        }
        let mut again = Sampler::of(9, urn).at(sampler.position());
        assert_eq!(again.next(3), sampler.next(3));
    }

    #[test]
    fn buckets_put_like_lengths_together_and_lose_nothing() {
        let lengths: Vec<u32> = (0..50).map(|row| (row * 37) % 101).collect();
        let plain = Urn { rows: 50, ..Urn::default() };
        let sorted = |batches| {
            let buckets = Buckets { lengths: lengths.clone(), batch: 4, batches };
            Urn { buckets: Some(buckets), ..plain.clone() }
        };
        let as_set = |rows: &[usize]| rows.iter().copied().collect::<std::collections::BTreeSet<_>>();
        let (before, one, many) =
            (&epochs(&plain, 3, 1)[0], &epochs(&sorted(1), 3, 1)[0], &epochs(&sorted(5), 3, 1)[0]);
        for (batch, same) in before.chunks(4).zip(one.chunks(4)) {
            assert_eq!(as_set(batch), as_set(same), "with 1 each step keeps its rows");
            assert!(same.is_sorted_by_key(|row| lengths[*row]));
        }
        assert_eq!(as_set(many), as_set(before));
        let spread = |rows: &[usize]| {
            let of_batch = |batch: &[usize]| {
                batch.iter().map(|row| lengths[*row]).max().unwrap_or(0)
                    - batch.iter().map(|row| lengths[*row]).min().unwrap_or(0)
            };
            rows.chunks(4).map(of_batch).sum::<u32>()
        };
        assert!(2 * spread(many) < spread(before), "{} and {}", spread(many), spread(before));
        assert!(!many.chunks(4).map(|batch| lengths[batch[0]]).is_sorted(), "batches are shuffled");
        assert_eq!(many, &epochs(&sorted(5), 3, 1)[0]);
    }
}
