//! Preference losses: chosen completions are raised against rejected ones of the same prompt, near a reference or without one.

pub mod math;
pub mod pairs;

use serde::Deserialize;
use tunesmith_sdk::{Batch, Error, Objective, Plugin, Tensor, log};

use math::{Divergence, Loss, Numbers, Side};
use pairs::{Group, Pairs, groups, rows};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    losses: Vec<Loss>,
    weights: Vec<f32>,
    beta: f32,
    label_smoothing: f32,
    f_divergence: Divergence,
    alpha_coefficient: f32,
    ld_alpha: f32,
    weighting: bool,
    discopop_tau: f32,
    simpo_gamma: f32,
    orpo_lambda: f32,
    alpha: f32,
    share: f32,
    nll: f32,
    nll_column: String,
}

impl Settings {
    fn numbers(&self) -> Numbers {
        Numbers {
            beta: self.beta,
            smoothing: self.label_smoothing,
            tau: self.discopop_tau,
            gamma: self.simpo_gamma,
            lambda: self.orpo_lambda,
        }
    }

    /// What contradicts what.
    fn fault(&self) -> Option<&'static str> {
        let any = |is: fn(Loss) -> bool| self.losses.iter().any(|loss| is(*loss));
        let all = |is: fn(Loss) -> bool| self.losses.iter().all(|loss| is(*loss));
        let faults = [
            (
                !matches!(self.weights.len(), 0) && self.weights.len() != self.losses.len(),
                "`weights` has one number for each of `losses`, or none",
            ),
            (
                self.f_divergence != Divergence::ReverseKl && !all(Loss::is_of_difference),
                "an `f-divergence` other than `reverse-kl` leaves a constant that cancels only in differences of both scores: take losses among `sigmoid`, `sigmoid-norm`, `hinge`, `ipo`, `exo-pair`, `robust`, `discopop` and `sft`",
            ),
            (self.weighting && any(Loss::sorts), "`aot` and `aot-unpaired` sort, so that pairs have no `weighting`"),
            (
                self.label_smoothing == 0.0 && self.losses.contains(&Loss::ExoPair),
                "`exo-pair` needs a `label-smoothing` above 0.0, such as 0.001",
            ),
            (
                self.label_smoothing != 0.0 && !any(Loss::is_smoothed),
                "none of `losses` has a `label-smoothing`; `robust` is `sigmoid` with one",
            ),
            (
                self.alpha != 0.0 && !all(|loss| loss == Loss::Sigmoid),
                "optimism (`alpha`) is defined beside the loss `sigmoid` only",
            ),
        ];
        faults.into_iter().find(|(is_fault, _)| *is_fault).map(|(_, what)| what)
    }
}

/// The plugin.
pub struct Dpo(Settings);

impl Plugin for Dpo {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        match settings.fault() {
            Some(fault) => Err(Error::bad_settings(fault)),
            None => Ok(Self(settings)),
        }
    }
}

/// A batch, and what is taken from it once.
struct Parts<'a> {
    batch: &'a Batch<'a>,
    mask: Tensor,
    policy: Tensor,
    reference: Option<Tensor>,
}

impl Parts<'_> {
    /// The negative log-likelihood of these rows, a mean over their tokens, rank 0.
    fn nll(&self, of: &[i32]) -> Tensor {
        -rows(&self.policy, of).sum() / rows(&self.mask, of).sum()
    }

    /// The pairs whose sides are not the same tokens.
    fn pairs(&self, groups: &[Group]) -> Pairs {
        let (tokens, mask) = (self.batch.tokens().read_ints(), self.mask.read());
        let width = tokens.len() / self.batch.rows().max(1);
        let of = |row: usize| (&tokens[row * width..][..width], &mask[row * width..][..width]);
        let pairs = Pairs::new(groups, |one, other| of(one) == of(other));
        log::metric("equal-pairs", pairs.equal as f64);
        pairs
    }

    /// How likely the policy is to write both sides of each pair, against texts that it draws itself, `[P]`. No gradient.
    fn likelihood(&self, pairs: &Pairs) -> Result<Tensor, Error> {
        let aligned = (self.policy.detach() - self.batch.token_collisions()?) * &self.mask;
        let lengths = self.mask.sum_dim(1).maximum(&Tensor::full(1.0, &[1, 1]));
        let weights = (aligned.sum_dim(1) / lengths).exp().reshape(&[self.batch.rows()]);
        Ok(rows(&weights, &pairs.chosen) * rows(&weights, &pairs.rejected))
    }
}

impl Objective for Dpo {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let (mask, policy) = (batch.mask(), batch.token_logprobs("policy")?);
        let needs_reference = self.0.losses.iter().any(|loss| loss.has_reference());
        let reference = needs_reference.then(|| batch.token_logprobs("reference")).transpose()?;
        let parts = Parts { batch, mask, policy, reference };
        let groups = groups(&batch.groups().read_ints(), &batch.roles())?;
        let pairs = parts.pairs(&groups);
        let total = batch.total_groups().max(1) as f32;
        // Without a pair the loss is 0.0, and still depends on the policy.
        let mut loss = parts.policy.sum() * 0.0;
        if !pairs.is_empty() {
            let mut preference = self.preference(&parts, &pairs)?;
            if 0.0 < self.0.alpha {
                preference = preference + self.optimism(&parts, &groups, &pairs)?;
            }
            loss = loss + preference * (self.0.share / total);
        }
        let supervised = self.supervised(batch, &groups)?;
        if !supervised.is_empty() {
            loss = loss + parts.nll(&supervised) * (self.0.nll * groups.len() as f32 / total);
        }
        Ok(loss)
    }
}

impl Dpo {
    /// The losses of all pairs, a mean within each group, summed over groups.
    fn preference(&self, parts: &Parts, pairs: &Pairs) -> Result<Tensor, Error> {
        let (chosen, rejected) = self.sides(parts, pairs);
        self.report(&chosen, &rejected);
        let count = pairs.len();
        let shares = Tensor::from_floats(&pairs.shares, &[count]);
        // A rank is of no group.
        let even = Tensor::full(pairs.groups.len() as f32 / count as f32, &[count]);
        let weights = if self.0.weighting { Some(parts.likelihood(pairs)?) } else { None };
        let mut unique = pairs.chosen.clone();
        unique.dedup();
        let nll = parts.nll(&unique);
        let mut total: Option<Tensor> = None;
        for (place, loss) in self.0.losses.iter().enumerate() {
            let mut costs = math::loss(*loss, &chosen, &rejected, &nll, self.0.numbers());
            if let Some(weights) = &weights {
                costs = costs * weights;
            }
            let shares = if loss.sorts() { &even } else { &shares };
            let sum = (costs * shares).sum() * self.0.weights.get(place).copied().unwrap_or(1.0);
            total = Some(match total {
                Some(total) => total + sum,
                None => sum,
            });
        }
        total.ok_or_else(|| Error::bad_settings("`losses` is empty"))
    }

    /// Both sides of all pairs.
    fn sides(&self, parts: &Parts, pairs: &Pairs) -> (Side, Side) {
        let lengths = parts.mask.sum_dim(1);
        let length = |of: &[i32]| rows(&lengths, of);
        let shared = length(&pairs.chosen).minimum(&length(&pairs.rejected));
        let side = |of: &[i32]| {
            let count = of.len();
            let mask = rows(&parts.mask, of);
            // What each token counts: all the same, or less beyond the shorter side's length.
            let counts = (self.0.ld_alpha < 1.0).then(|| {
                let is_beyond = mask.cumsum(1).greater(&shared.expand(&mask.shape()));
                1.0 - is_beyond * (1.0 - self.0.ld_alpha)
            });
            let sum = |logprobs: &Tensor| {
                let own = rows(logprobs, of);
                let own = match &counts {
                    Some(counts) => own * counts,
                    None => own,
                };
                own.sum_dim(1).reshape(&[count])
            };
            let policy = sum(&parts.policy);
            let reference = parts.reference.as_ref().map_or_else(|| Tensor::full(0.0, &[count]), sum);
            let score = self.0.f_divergence.score(&(&policy - &reference), self.0.alpha_coefficient);
            Side { policy, reference, score, length: length(of).reshape(&[count]) }
        };
        (side(&pairs.chosen), side(&pairs.rejected))
    }

    /// What lowers the policy's own answers: `alpha beta (S - S_ref)`, a mean within each group, summed over groups.
    fn optimism(&self, parts: &Parts, groups: &[Group], pairs: &Pairs) -> Result<Tensor, Error> {
        let (mut own, mut shares) = (Vec::new(), Vec::new());
        for group in pairs.groups.iter().map(|place| &groups[*place]) {
            if group.own.is_empty() {
                let what = "a group of the batch has no row of the role `self`, which `alpha` lowers; take a plugin in `[curate]` that adds the policy's own answers, or set `alpha = 0.0`";
                return Err(Error::unsupported(what));
            }
            own.extend(group.own.iter().map(|row| *row as i32));
            shares.extend(group.own.iter().map(|_| 1.0 / group.own.len() as f32));
        }
        let sum = |logprobs: &Tensor| rows(logprobs, &own).sum_dim(1).reshape(&[own.len()]);
        let policy = sum(&parts.policy);
        let ratios = match &parts.reference {
            Some(reference) => policy - sum(reference),
            None => policy,
        };
        let sum = (ratios * Tensor::from_floats(&shares, &[own.len()])).sum();
        log::metric("self-ratio", f64::from(sum.detach().item()) / pairs.groups.len() as f64);
        Ok(sum * (self.0.alpha * self.0.beta))
    }

    /// The rows that `nll` is of.
    fn supervised(&self, batch: &Batch, groups: &[Group]) -> Result<Vec<i32>, Error> {
        if self.0.nll == 0.0 {
            return Ok(Vec::new());
        }
        let chosen = groups.iter().map(|group| group.chosen);
        if self.0.nll_column.is_empty() {
            return Ok(chosen.map(|row| row as i32).collect());
        }
        let marks = batch.numbers(&self.0.nll_column)?.equal_scalar(1.0).read();
        Ok(chosen.filter(|row| marks[*row] != 0.0).map(|row| row as i32).collect())
    }

    /// Rewards: `beta` times the ratio to the reference, or times the mean log-probability where there is none.
    fn report(&self, chosen: &Side, rejected: &Side) {
        let has_reference = self.0.losses.iter().any(|loss| loss.has_reference());
        let rewards = |side: &Side| {
            let rewards = if has_reference { side.ratio() } else { side.mean() };
            (rewards.detach() * self.0.beta).read().into_iter().map(f64::from).collect::<Vec<_>>()
        };
        let (chosen, rejected) = (rewards(chosen), rewards(rejected));
        let count = chosen.len() as f64;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
        let wins = chosen.iter().zip(&rejected).filter(|(chosen, rejected)| rejected < chosen).count();
        log::metric("reward-chosen", mean(&chosen));
        log::metric("reward-rejected", mean(&rejected));
        log::metric("reward-accuracy", wins as f64 / count);
        log::metric("reward-margin", mean(&chosen) - mean(&rejected));
    }
}

tunesmith_sdk::export!(Dpo: objective);

#[cfg(test)]
mod tests;
