//! Group relative policy optimisation and its relatives: one loss per sampled token, from its advantage and from how much likelier it became.

pub mod math;

use serde::Deserialize;
use tunesmith_sdk::{Batch, Error, Objective, Plugin, Tensor, log};

use math::{Clip, Gamma};

/// The settings, as `plugin.toml` describes them. Zero stands for "none" where the manifest says so.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    loss: Loss,
    ratio: Level,
    epsilon: f32,
    epsilon_high: f32,
    delta: f32,
    beta: f32,
    bias_correction_kl: bool,
    entropy: f32,
    top_entropy: f64,
    log_entropy: bool,
    off_policy_threshold: f32,
    temperature: f32,
    max_completion_length: u32,
    sapo_positive: f32,
    sapo_negative: f32,
    vespo_k_positive: f32,
    vespo_lambda_positive: f32,
    vespo_k_negative: f32,
    vespo_lambda_negative: f32,
}

/// What a token's loss is, and what the sum of them is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Clipped; the mean of a row's tokens, then of rows.
    Grpo,
    /// Clipped; the mean of a micro-batch's tokens.
    Bnpo,
    /// Clipped; divided by rows times the longest completion.
    DrGrpo,
    /// Clipped; the mean of the step's tokens.
    Dapo,
    /// The ratio weighs the log-probability and has an upper bound; the mean of the step's tokens.
    Cispo,
    /// A soft gate; as `grpo`.
    Sapo,
    /// The row's ratio weighs log-probabilities; the mean of the step's tokens.
    Vespo,
    /// Clipped; the sum of a row's tokens, then the mean of rows.
    Luspo,
    /// Clipped by the ratio of the whole row; the mean of rows.
    Rloo,
}

/// What a ratio is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A token.
    Token,
    /// A row: the geometric mean of its tokens' ratios.
    Sequence,
}

/// The plugin.
pub struct Grpo(Settings);

impl Plugin for Grpo {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.loss == Loss::Cispo && settings.epsilon_high == 0.0 {
            return Err(Error::bad_settings(
                "`cispo` needs `epsilon-high`, the highest ratio itself; 5.0 is a usual one",
            ));
        }
        Ok(Self(settings))
    }
}

/// What the loss of a micro-batch is made of, [B, T] but for `given`.
struct Inputs {
    logp: Tensor,
    log_ratio: Tensor,
    reference: Option<Tensor>,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    entropies: Option<Tensor>,
    /// 1.0 for rows that were given, not sampled, [B, 1]; none if all were sampled.
    given: Option<Tensor>,
}

impl Inputs {
    fn of(batch: &Batch, settings: &Settings) -> Result<Self, Error> {
        let temperature = if settings.temperature == 0.0 { batch.temperature() } else { settings.temperature };
        let advantages = batch.advantages().ok_or_else(|| {
            Error::unsupported("the rows have no advantages: a recipe for `grpo` has `[rollout]` and `[credit]`")
        })?;
        let logp = batch.token_logprobs_at("policy", temperature)?;
        let reference = match settings.beta {
            0.0 => None,
            _ => Some(batch.token_logprobs_at("reference", temperature)?),
        };
        let needs_entropies = settings.entropy != 0.0 || settings.top_entropy < 1.0 || settings.log_entropy;
        let entropies = if needs_entropies { Some(batch.token_entropies(temperature)?) } else { None };
        let given = batch.off_policy();
        let is_any_given = given.read().iter().any(|given| *given != 0.0);
        Ok(Self {
            log_ratio: &logp - batch.token_logprobs("old")?,
            logp,
            reference,
            advantages,
            mask: batch.mask(),
            weights: batch.weights(),
            entropies,
            given: is_any_given.then(|| given.reshape(&[batch.rows(), 1])),
        })
    }
}

impl Objective for Grpo {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let inputs = Inputs::of(batch, &self.0)?;
        let mut metrics = Vec::new();
        let ratio = self.ratio(&inputs);
        let mut losses = self.token_losses(&inputs, &ratio, &mut metrics);
        if 0.0 < self.0.off_policy_threshold {
            let kept =
                math::near_enough(&inputs.log_ratio, &inputs.advantages, &inputs.mask, self.0.off_policy_threshold);
            losses = losses * kept;
        }
        if let Some(given) = &inputs.given {
            losses = losses * (1.0 - given) - &ratio * &inputs.advantages * given;
        }
        let mut bonus = None;
        if let Some(entropies) = &inputs.entropies {
            metrics.push(("entropy", math::token_mean(entropies, &inputs.mask)));
            bonus = Some(if self.0.top_entropy < 1.0 {
                let high = self.high_entropy(entropies, &inputs.mask);
                losses = losses * &high;
                math::token_mean(entropies, &(high * &inputs.weights))
            } else {
                math::token_mean(entropies, &inputs.weights)
            });
        }
        if let Some(reference) = &inputs.reference {
            let mut kl = math::kl(&inputs.logp, reference);
            if self.0.bias_correction_kl {
                kl = kl * &ratio;
            }
            metrics.push(("kl", math::token_mean(&kl, &inputs.mask)));
            losses = losses + kl * self.0.beta;
        }
        let mut loss = self.reduced(&losses, &inputs.weights, batch);
        if let (Some(bonus), true) = (bonus, self.0.entropy != 0.0) {
            let parts = batch.micro_batches() as f32;
            metrics.push(("policy-loss", loss.detach() * parts));
            loss = loss - bonus * (self.0.entropy / parts);
        }
        tell(&metrics);
        Ok(loss)
    }
}

impl Grpo {
    fn clip(&self) -> Clip {
        let Settings { epsilon, epsilon_high, delta, .. } = self.0;
        let above = if epsilon_high == 0.0 { epsilon } else { epsilon_high };
        let high = if self.0.loss == Loss::Cispo { epsilon_high } else { 1.0 + above };
        Clip { low: 1.0 - epsilon, high, delta: (0.0 < delta).then_some(delta) }
    }

    /// Whether a whole row shares its ratio.
    fn is_by_row(&self) -> bool {
        self.0.ratio == Level::Sequence || self.0.loss == Loss::Rloo
    }

    /// The ratios of policy and old policy, [B, T] or [B, 1].
    fn ratio(&self, inputs: &Inputs) -> Tensor {
        match (self.0.loss, self.0.ratio) {
            (Loss::Rloo, _) => math::ratio(&math::row_sums(&inputs.log_ratio, &inputs.mask)),
            (_, Level::Sequence) => math::ratio(&math::row_means(&inputs.log_ratio, &inputs.mask)),
            (_, Level::Token) => math::ratio(&inputs.log_ratio),
        }
    }

    /// The loss of each token from its advantage alone, [B, T].
    fn token_losses(&self, inputs: &Inputs, ratio: &Tensor, metrics: &mut Vec<(&'static str, Tensor)>) -> Tensor {
        let Inputs { logp, log_ratio, advantages, mask, .. } = inputs;
        let clip = self.clip();
        match self.0.loss {
            Loss::Sapo => math::sapo(ratio, advantages, self.0.sapo_positive, self.0.sapo_negative),
            Loss::Vespo => {
                let positive = Gamma { k: self.0.vespo_k_positive, lambda: self.0.vespo_lambda_positive };
                let negative = Gamma { k: self.0.vespo_k_negative, lambda: self.0.vespo_lambda_negative };
                let phi = math::gamma_weights(log_ratio, advantages, mask, positive, negative);
                metrics.push(("phi", math::row_means(&phi, mask).mean()));
                -(phi * advantages * logp)
            }
            Loss::Cispo => {
                let (_, high) = math::clips(ratio, advantages, clip);
                metrics.push(("clip-high", self.share(inputs, high)));
                math::cispo(ratio, advantages, logp, clip.high)
            }
            Loss::Grpo | Loss::Bnpo | Loss::DrGrpo | Loss::Dapo | Loss::Luspo | Loss::Rloo => {
                let (low, high) = math::clips(ratio, advantages, clip);
                metrics.push(("clip-region", self.share(inputs, &low + &high)));
                metrics.push(("clip-low", self.share(inputs, low)));
                metrics.push(("clip-high", self.share(inputs, high)));
                math::clipped(ratio, advantages, clip)
            }
        }
    }

    /// The share of tokens, or of rows where they share their ratio, that were sampled and for which something is so.
    fn share(&self, inputs: &Inputs, is_so: Tensor) -> Tensor {
        let is_so = match &inputs.given {
            Some(given) => is_so * (1.0 - given),
            None => is_so,
        };
        if self.is_by_row() {
            math::row_means(&is_so, &inputs.mask).mean()
        } else {
            math::token_mean(&is_so, &inputs.mask)
        }
    }

    /// 1.0 for the tokens of the micro-batch with the highest entropy.
    fn high_entropy(&self, entropies: &Tensor, mask: &Tensor) -> Tensor {
        let (entropies, shape) = (entropies.read(), mask.shape());
        let mask = mask.read();
        let counted: Vec<f32> =
            entropies.iter().zip(&mask).filter(|(_, mask)| **mask != 0.0).map(|(entropy, _)| *entropy).collect();
        let threshold = math::quantile(&counted, (1.0 - self.0.top_entropy) as f32).unwrap_or(0.0);
        let is_high = |(entropy, mask): (&f32, &f32)| if threshold <= *entropy { *mask } else { 0.0 };
        Tensor::from_floats(&entropies.iter().zip(&mask).map(is_high).collect::<Vec<f32>>(), &shape)
    }

    /// The share of this micro-batch in the loss of the step.
    fn reduced(&self, losses: &Tensor, weights: &Tensor, batch: &Batch) -> Tensor {
        let rows = batch.total_rows().max(1) as f32;
        let total = batch.total_weight();
        let total = if 0.0 < total { total as f32 } else { 1.0 };
        let sum = || (losses * weights).sum();
        match self.0.loss {
            Loss::Grpo | Loss::Sapo | Loss::Rloo => math::row_means(losses, weights).sum() / rows,
            Loss::Bnpo => math::token_mean(losses, weights) / batch.micro_batches() as f32,
            Loss::DrGrpo => sum() / (rows * self.0.max_completion_length as f32),
            Loss::Dapo | Loss::Cispo | Loss::Vespo => sum() / total,
            Loss::Luspo => sum() / rows,
        }
    }
}

/// Logs single numbers, which are read at once.
fn tell(metrics: &[(&'static str, Tensor)]) {
    let numbers: Vec<Tensor> = metrics.iter().map(|(_, number)| number.detach().reshape(&[1])).collect();
    if numbers.is_empty() {
        return;
    }
    let numbers = Tensor::concat(&numbers.iter().collect::<Vec<_>>(), 0).read();
    for ((name, _), number) in metrics.iter().zip(numbers) {
        log::metric(name, f64::from(number));
    }
}

tunesmith_sdk::export!(Grpo: objective);

#[cfg(test)]
mod tests;
