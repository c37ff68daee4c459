//! The formulas: what a pair of completions costs, one element per pair.

use serde::Deserialize;
use tunesmith_sdk::Tensor;

/// A loss of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Direct preference optimisation.
    Sigmoid,
    /// A squared distance from a margin, per token.
    Ipo,
    /// A hinge at a margin of 1.
    Hinge,
    /// DPO, unbiased under labels that are wrong now and then.
    Robust,
    /// Self-play preference optimisation with hard labels.
    SppoHard,
    /// Anchored: chosen up, rejected down.
    ApoZero,
    /// Anchored: both down, rejected further.
    ApoDown,
    /// Noise-contrastive alignment.
    NcaPair,
    /// A binary classifier, without its moving shift.
    BcoPair,
    /// A reverse divergence from the labels' distribution.
    ExoPair,
    /// A blend of DPO and an exponential loss.
    Discopop,
    /// DPO per token.
    SigmoidNorm,
    /// DPO between sorted differences.
    Aot,
    /// DPO between sorted rewards of both sides.
    AotUnpaired,
    /// The negative log-likelihood of chosen completions.
    Sft,
    /// DPO per token with a margin, without a reference.
    Simpo,
    /// The negative log-likelihood and an odds ratio, without a reference.
    Orpo,
}

impl Loss {
    /// Whether it compares with the reference.
    pub fn has_reference(self) -> bool {
        !matches!(self, Self::Sft | Self::Simpo | Self::Orpo)
    }

    /// Whether it depends on rewards through the difference of both scores alone, as an f-divergence asks for.
    pub fn is_of_difference(self) -> bool {
        use Loss::{Discopop, ExoPair, Hinge, Ipo, Robust, Sigmoid, SigmoidNorm};
        !self.has_reference() || matches!(self, Sigmoid | SigmoidNorm | Hinge | Ipo | ExoPair | Robust | Discopop)
    }

    /// Whether it sorts, so that its elements are no pairs.
    pub fn sorts(self) -> bool {
        matches!(self, Self::Aot | Self::AotUnpaired)
    }

    /// Whether it has a label smoothing.
    pub fn is_smoothed(self) -> bool {
        matches!(self, Self::Robust | Self::ExoPair | Self::Aot | Self::AotUnpaired | Self::Simpo)
    }
}

/// What keeps the policy near the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Divergence {
    /// The usual one.
    ReverseKl,
    /// Its mirror image.
    ForwardKl,
    /// Jensen and Shannon's.
    Js,
    /// The family between them.
    Alpha,
}

impl Divergence {
    /// `f'(t)` of `ratio = log(t)`, up to a constant.
    pub fn score(self, ratio: &Tensor, coefficient: f32) -> Tensor {
        // The largest exponent that stays finite, as TRL has it.
        let exp = |exponent: Tensor| exponent.minimum(&Tensor::full(80.0, &[1])).exp();
        let power = coefficient - 1.0;
        match self {
            Self::ForwardKl => 1.0 - (-ratio).exp(),
            Self::Js => std::f32::consts::LN_2 - costs(ratio),
            Self::Alpha if 1e-6 <= power.abs() => (exp(ratio * power) - 1.0) / power,
            Self::ReverseKl | Self::Alpha => ratio * 1.0,
        }
    }
}

/// The numbers in the formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Numbers {
    /// The inverse temperature of rewards.
    pub beta: f32,
    /// The share of labels that are wrong.
    pub smoothing: f32,
    /// The temperature of discopop's blend.
    pub tau: f32,
    /// The margin of `simpo`.
    pub gamma: f32,
    /// The weight of ORPO's odds ratio.
    pub lambda: f32,
}

/// One side of all pairs; every tensor is `[P]`.
pub struct Side {
    /// The summed log-probabilities under the policy.
    pub policy: Tensor,
    /// Those under the reference; zeros where no loss needs it.
    pub reference: Tensor,
    /// The score: what the divergence makes of their difference.
    pub score: Tensor,
    /// The number of tokens.
    pub length: Tensor,
}

impl Side {
    /// The logarithm of the ratio of policy and reference.
    pub fn ratio(&self) -> Tensor {
        &self.policy - &self.reference
    }

    /// The mean log-probability of a token under the policy.
    pub fn mean(&self) -> Tensor {
        &self.policy / &self.length
    }
}

/// `-log(sigmoid(x))`.
pub fn costs(x: &Tensor) -> Tensor {
    (-x).softplus()
}

/// `costs` of labels that are wrong now and then.
fn smoothed(x: &Tensor, smoothing: f32) -> Tensor {
    costs(x) * (1.0 - smoothing) + costs(&-x) * smoothing
}

/// `log(p / (1 - p))` of a logarithm of `p`; `1 - p` is `tanh(-x / 2) (1 + p)`, which is exact near 0.
pub fn log_odds(x: &Tensor) -> Tensor {
    let x = x.minimum(&Tensor::full(-1e-6, &[1]));
    &x - (&x * -0.5).tanh().log() - x.softplus()
}

/// The cost of each pair, `[P]`; of the sorting losses, of each rank. `nll` is the chosen completions' negative log-likelihood per token, rank 0.
pub fn loss(loss: Loss, chosen: &Side, rejected: &Side, nll: &Tensor, numbers: Numbers) -> Tensor {
    let Numbers { beta, smoothing, tau, gamma, lambda } = numbers;
    let difference = || (&chosen.score - &rejected.score) * beta;
    let per_token = || &chosen.score / &chosen.length - &rejected.score / &rejected.length;
    let rewards = || (chosen.ratio() * beta, rejected.ratio() * beta);
    let square = |x: Tensor| &x * &x;
    let sorted = |x: Tensor| x.sort(0, false).0;
    match loss {
        Loss::Sigmoid => costs(&difference()),
        Loss::Ipo => square(per_token() - 0.5 / beta),
        Loss::Hinge => (1.0 - difference()).relu(),
        Loss::Robust => {
            let x = difference();
            (costs(&x) * (1.0 - smoothing) - costs(&-&x) * smoothing) / (1.0 - 2.0 * smoothing)
        }
        Loss::SppoHard => square(chosen.ratio() - 0.5 / beta) + square(rejected.ratio() + 0.5 / beta),
        Loss::ApoZero => {
            let (chosen, rejected) = rewards();
            1.0 - chosen.sigmoid() + rejected.sigmoid()
        }
        Loss::ApoDown => {
            let (chosen, rejected) = rewards();
            chosen.sigmoid() + 1.0 - (chosen - rejected).sigmoid()
        }
        Loss::NcaPair => {
            let (chosen, rejected) = rewards();
            costs(&chosen) + costs(&-chosen) * 0.5 + costs(&-rejected) * 0.5
        }
        Loss::BcoPair => {
            let (chosen, rejected) = rewards();
            costs(&chosen) + costs(&-rejected)
        }
        Loss::ExoPair => {
            let x = difference();
            let wins = x.sigmoid() * (-costs(&x) - (-smoothing).ln_1p());
            wins + (-&x).sigmoid() * (-costs(&-&x) - smoothing.ln())
        }
        Loss::Discopop => {
            let x = difference();
            let blend = (&x / tau).sigmoid();
            costs(&x) * (1.0 - &blend) + (-x).exp() * blend
        }
        Loss::SigmoidNorm => costs(&(per_token() * beta)),
        Loss::Aot => {
            let policy = sorted(&chosen.policy - &rejected.policy);
            let reference = sorted(&chosen.reference - &rejected.reference);
            smoothed(&((policy - reference) * beta), smoothing)
        }
        Loss::AotUnpaired => smoothed(&((sorted(chosen.ratio()) - sorted(rejected.ratio())) * beta), smoothing),
        Loss::Sft => nll.reshape(&[1]).expand(&chosen.policy.shape()),
        Loss::Simpo => smoothed(&((chosen.mean() - rejected.mean()) * beta - gamma), smoothing),
        Loss::Orpo => costs(&(log_odds(&chosen.mean()) - log_odds(&rejected.mean()))) * lambda - chosen.mean(),
    }
}
