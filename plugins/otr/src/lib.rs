//! OTR: every supervised token is a one-step rollout. Tokens that the policy draws itself are rewarded where they equal the label, and lowered elsewhere.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Batch, Error, Objective, Plugin, Tensor, log};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    draws: usize,
    temperature: f32,
    beta: f32,
    unseen: Unseen,
}

/// What happens in places where the label was never drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// The drawn tokens are lowered all the same.
    Keep,
    /// The place has no loss.
    Skip,
}

/// The plugin.
pub struct Otr(Settings);

impl Plugin for Otr {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.draws == 0 && settings.unseen == Unseen::Skip {
            return Err(Error::bad_settings("with `draws = 0` every label is seen: `unseen` cannot be `skip`"));
        }
        Ok(Self(settings))
    }
}

impl Objective for Otr {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let losses = if self.0.draws == 0 { self.exact(batch)? } else { self.sampled(batch)? };
        // A step without weight has a loss of 0.0.
        Ok((losses * batch.weights()).sum() / batch.total_weight().max(f64::from(f32::MIN_POSITIVE)) as f32)
    }
}

impl Otr {
    /// The loss of each place from draws, [B, T].
    fn sampled(&self, batch: &Batch) -> Result<Tensor, Error> {
        let Settings { draws, temperature, beta, unseen } = self.0;
        let samples = batch.samples(draws, temperature)?;
        let logp = batch.candidate_logprobs("policy", &samples)?;
        let tokens = batch.tokens();
        let labels = tokens.reshape(&[tokens.shape(), vec![1]].concat()).expand(&samples.shape());
        let is_label = samples.equal(&labels);
        let (seen, losses) = (math::seen(&is_label), math::sampled(&logp, &is_label, beta));
        let mask = batch.mask();
        let shares = is_label.mean_dim(2).reshape(&mask.shape());
        report(&mask, &[("label-drawn", &shares), ("label-seen", &seen)])?;
        Ok(if unseen == Unseen::Skip { losses * seen } else { losses })
    }

    /// The loss of each place in the limit of infinitely many draws, [B, T].
    fn exact(&self, batch: &Batch) -> Result<Tensor, Error> {
        let (tokens, count) = (batch.tokens(), batch.vocabulary());
        let all = Tensor::arange(0, count as i32).reshape(&[1, 1, count]);
        let logp = batch.candidate_logprobs("policy", &all.expand(&[tokens.shape(), vec![count]].concat()))?;
        Ok(math::exact(&logp, &tokens, self.0.temperature, self.0.beta))
    }
}

/// Means over the trained places; one read.
fn report(mask: &Tensor, numbers: &[(&str, &Tensor)]) -> Result<(), Error> {
    let sums: Vec<Tensor> = numbers.iter().map(|(_, values)| (*values * mask).sum().reshape(&[1])).collect();
    let places = mask.sum().reshape(&[1]);
    let all: Vec<&Tensor> = std::iter::once(&places).chain(&sums).collect();
    let read = Tensor::concat(&all, 0).read();
    let (places, sums) = read.split_first().ok_or_else(|| Error::other("sums were no numbers"))?;
    for ((name, _), sum) in numbers.iter().zip(sums).filter(|_| 0.0 < *places) {
        log::metric(name, f64::from(sum / places));
    }
    Ok(())
}

tunesmith_sdk::export!(Otr: objective);

#[cfg(test)]
mod tests;
