//! From logits to one token: temperature, top-k, top-p, in the order of transformers.

use std::cmp::Ordering;

use crate::error::ModelError;
use crate::fused::lanes::{exp_negative, sum_of};
use crate::random::Random;

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token always.
    pub temperature: f64,
    /// Keep only this many most likely tokens (and those as likely as the last of them); 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens whose probabilities sum to at least this; 1 keeps all.
    pub top_p: f64,
    /// Most tokens to generate per sequence, the ending one included.
    pub max_new_tokens: usize,
    /// Texts that end a sequence; they are not part of its text.
    pub stop: Vec<String>,
    /// Ids that end a sequence.
    pub eos: Vec<u32>,
    /// Seed of all sequences; each has its own stream.
    pub seed: u64,
    /// Sequences that run together.
    pub batch: usize,
}

impl Sampling {
    /// Always the most likely token.
    pub fn greedy(max_new_tokens: usize, eos: &[u32]) -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            max_new_tokens,
            stop: Vec::new(),
            eos: eos.to_vec(),
            seed: 0,
            batch: 16,
        }
    }

    pub(super) fn check(&self) -> Result<(), ModelError> {
        let bad = |text: String| Err(ModelError::request(text));
        if !(self.temperature.is_finite() && 0.0 <= self.temperature) {
            return bad(format!("temperature {} is not a number of at least 0", self.temperature));
        }
        if !(0.0 < self.top_p && self.top_p <= 1.0) {
            return bad(format!("top-p {} is not above 0 and at most 1", self.top_p));
        }
        if self.max_new_tokens == 0 || self.batch == 0 {
            return bad("at least one new token and one sequence per batch are needed".to_owned());
        }
        if self.stop.iter().any(String::is_empty) {
            return bad("an empty stop text would end every sequence".to_owned());
        }
        Ok(())
    }

    /// Chooses a token; gives its id and its log-probability under the model itself (temperature 1, nothing cut off).
    pub(super) fn choose(&self, logits: &[f32], random: &mut Random) -> (u32, f32) {
        let best = argmax(logits);
        let id = if self.temperature == 0.0 { best } else { self.draw(logits, logits[best], random) };
        (id as u32, logits[id] - logits[best] - ln_sum_exp_below(logits, logits[best]))
    }

    fn draw(&self, logits: &[f32], best: f32, random: &mut Random) -> usize {
        // Below e^-45 of the best, all tokens together cannot reach the last bit of the sum.
        let reach = (45.0 * self.temperature) as f32;
        let mut kept: Vec<(usize, f64)> = logits
            .iter()
            .enumerate()
            .filter(|(_, logit)| best - **logit <= reach)
            .map(|(id, logit)| (id, (f64::from(*logit - best) / self.temperature).exp()))
            .collect();
        if 0 < self.top_k && self.top_k < kept.len() {
            let (_, last, _) = kept.select_nth_unstable_by(self.top_k - 1, likelier_first);
            let last = last.1;
            kept.retain(|(_, weight)| last <= *weight);
            kept.sort_unstable_by_key(|(id, _)| *id);
        }
        let mut total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        if self.top_p < 1.0 {
            keep_nucleus(&mut kept, self.top_p * total);
            total = kept.iter().map(|(_, weight)| weight).sum();
        }
        let mut rest = random.uniform() * total;
        for (id, weight) in &kept {
            rest -= weight;
            if rest < 0.0 {
                return *id;
            }
        }
        kept.last().map_or_else(|| argmax(logits), |(id, _)| *id)
    }
}

/// A total order, so that results repeat: ties go to the smaller id.
fn likelier_first(left: &(usize, f64), right: &(usize, f64)) -> Ordering {
    right.1.total_cmp(&left.1).then(left.0.cmp(&right.0))
}

/// Keeps the fewest most likely tokens that weigh at least `enough` together, the likeliest first.
///
/// They are few as a rule, so only as many as needed are sorted, not the whole vocabulary.
fn keep_nucleus(kept: &mut Vec<(usize, f64)>, enough: f64) {
    let mut sorted = 64;
    loop {
        if sorted < kept.len() {
            kept.select_nth_unstable_by(sorted, likelier_first);
        }
        let front = sorted.min(kept.len());
        kept[..front].sort_unstable_by(likelier_first);
        let mut sum = 0.0;
        let last = kept[..front].iter().position(|(_, weight)| {
            sum += weight;
            enough <= sum
        });
        match last {
            Some(last) => return kept.truncate(last + 1),
            None if front == kept.len() => return,
            None => sorted *= 8,
        }
    }
}

/// The first of the largest values.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if values[best] < *value || values[best].is_nan() {
            best = index;
        }
    }
    best
}

/// `ln sum exp(x - best)`: short runs in single precision, their sum in double, so the error stays at the last bits of a float.
fn ln_sum_exp_below(values: &[f32], best: f32) -> f32 {
    let sums = values.chunks(1024).map(|run| f64::from(sum_of(run, |value| exp_negative(value - best))));
    sums.sum::<f64>().ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_k: usize, top_p: f64) -> Sampling {
        Sampling { temperature, top_k, top_p, ..Sampling::greedy(1, &[]) }
    }

    #[test]
    fn log_probabilities_are_those_of_the_plain_model() {
        let logits: Vec<f32> = (0..5000).map(|id| ((id * 37) % 101) as f32 / 10.0).collect();
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let (id, logprob) = sampling(0.3, 5, 0.9).choose(&logits, &mut Random::numbered(1, 1));
        let expected = f64::from(logits[id as usize]) - sum.ln();
        assert!((f64::from(logprob) - expected).abs() < 1e-5);
    }

    #[test]
    fn frequencies_follow_the_temperature() {
        let logits = [0.0, 1.0, 2.0];
        for temperature in [0.5, 1.0, 2.0] {
            let weights = logits.map(|logit: f32| (f64::from(logit) / temperature).exp());
            let mut random = Random::numbered(3, 0);
            let mut counts = [0.0; 3];
            for _ in 0..20_000 {
                counts[sampling(temperature, 0, 1.0).choose(&logits, &mut random).0 as usize] += 1.0 / 20_000.0;
            }
            for (count, weight) in counts.iter().zip(weights) {
                assert!((count - weight / weights.iter().sum::<f64>()).abs() < 0.015, "{counts:?}");
            }
        }
    }

    #[test]
    fn cutting_off_keeps_only_the_likely() {
        let logits = [3.0, 1.0, 2.0, 0.0];
        let mut random = Random::numbered(3, 0);
        let mut drawn = |sampling: Sampling| {
            let mut ids: Vec<u32> = (0..2000).map(|_| sampling.choose(&logits, &mut random).0).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        assert_eq!(drawn(sampling(1.0, 2, 1.0)), [0, 2]);
        assert_eq!(drawn(sampling(1.0, 0, 0.5)), [0]);
        assert_eq!(drawn(sampling(1.0, 0, 0.7)), [0, 2]);
        assert_eq!(drawn(sampling(5.0, 0, 1.0)), [0, 1, 2, 3]);
        assert_eq!(drawn(sampling(0.0, 0, 1.0)), [0]);
        assert_eq!(drawn(sampling(1e-9, 0, 1.0)), [0]);
    }

    #[test]
    fn the_nucleus_is_that_of_a_full_sort() {
        let mut random = Random::numbered(9, 0);
        let weights: Vec<(usize, f64)> = (0..3000).map(|id| (id, random.uniform().powi(4))).collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut sorted = weights.clone();
        sorted.sort_by(likelier_first);
        for share in [0.001, 0.1, 0.5, 0.9, 0.999] {
            let mut kept = weights.clone();
            keep_nucleus(&mut kept, share * total);
            assert_eq!(kept, sorted[..kept.len()]);
            let sum: f64 = kept.iter().map(|(_, weight)| weight).sum();
            assert!(share * total <= sum && sum - kept[kept.len() - 1].1 < share * total);
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for bad in [sampling(-1.0, 0, 1.0), sampling(f64::NAN, 0, 1.0), sampling(1.0, 0, 0.0), sampling(1.0, 0, 1.5)] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(Sampling { batch: 0, ..sampling(1.0, 0, 1.0) }.check().is_err());
        assert!(Sampling { max_new_tokens: 0, ..sampling(1.0, 0, 1.0) }.check().is_err());
        assert!(Sampling { stop: vec![String::new()], ..sampling(1.0, 0, 1.0) }.check().is_err());
    }
}
