//! The functions of a token's probability p = exp(l), on tensors of log-probabilities l (Li et al. 2025, arXiv 2510.00526).

use tunesmith_sdk::Tensor;

/// Log-probabilities above this are taken as this in `log-1-p`: p = 1 would give minus infinity. The gradient is 0 there.
const MAX_LOGP: f32 = -1e-6;

/// What is minimised for each token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// -l.
    Nll,
    /// 1 - p.
    P,
    /// (1 - p^alpha) / alpha, alpha greater than 0.
    Family(f32),
    /// (1 - p) where p >= q.
    TopP(f32),
    /// (1 - p) where p <= q.
    BottomP(f32),
    /// -l where p >= q.
    TopLogp(f32),
    /// -l where p <= q.
    BottomLogp(f32),
    /// log(1 - p).
    LogOneMinusP,
}

impl Function {
    /// The function of this name, by the whole name only: `top-p` is not `top-logp`.
    ///
    /// # Errors
    ///
    /// Fails with a text for people when there is no such name, `alpha` is negative or not finite, or `threshold` lies outside 0.0 to 1.0.
    pub fn new(name: &str, alpha: f32, threshold: f32) -> Result<Self, String> {
        if !alpha.is_finite() || alpha < 0.0 {
            return Err(format!("`alpha` is {alpha}, not a number of at least 0"));
        }
        if !(0.0..=1.0).contains(&threshold) {
            return Err(format!("`threshold` is {threshold}, outside 0 to 1"));
        }
        match name {
            "nll" => Ok(Self::Nll),
            "p" => Ok(Self::P),
            // The limit of the family for alpha towards 0.
            "family" if alpha == 0.0 => Ok(Self::Nll),
            "family" => Ok(Self::Family(alpha)),
            "top-p" => Ok(Self::TopP(threshold)),
            "bottom-p" => Ok(Self::BottomP(threshold)),
            "top-logp" => Ok(Self::TopLogp(threshold)),
            "bottom-logp" => Ok(Self::BottomLogp(threshold)),
            "log-1-p" => Ok(Self::LogOneMinusP),
            other => Err(format!("there is no function `{other}`")),
        }
    }

    /// f(p) of each token, from its log-probability. Tokens that are not kept are not left out yet.
    ///
    /// Written over l throughout: p^alpha = exp(alpha l) keeps its gradient where p underflows.
    pub fn loss(self, logp: &Tensor) -> Tensor {
        match self {
            Self::Nll | Self::TopLogp(_) | Self::BottomLogp(_) => -logp,
            Self::P | Self::TopP(_) | Self::BottomP(_) => 1.0 - logp.exp(),
            Self::Family(alpha) => (1.0 - (logp * alpha).exp()) / alpha,
            Self::LogOneMinusP => (1.0 - logp.clamp(f32::MIN, MAX_LOGP).exp()).log(),
        }
    }

    /// 1.0 for tokens that are kept, else 0.0; none if all are. Give it detached log-probabilities: the indicator carries no gradient.
    pub fn keep(self, logp: &Tensor) -> Option<Tensor> {
        match self {
            Self::TopP(q) | Self::TopLogp(q) => Some(logp.exp().greater_equal_scalar(q)),
            Self::BottomP(q) | Self::BottomLogp(q) => Some((-logp.exp()).greater_equal_scalar(-q)),
            _ => None,
        }
    }

    /// Whether unlikely tokens get nearly no gradient, so that a weak model never starts to learn them.
    pub fn vanishes_at_small_p(self) -> bool {
        match self {
            Self::Nll | Self::BottomLogp(_) => false,
            Self::P | Self::Family(_) | Self::TopP(_) | Self::BottomP(_) | Self::TopLogp(_) | Self::LogOneMinusP => {
                true
            }
        }
    }
}

/// What the sum over kept tokens of a micro-batch is divided by, so that the host's sum over micro-batches is the mean of their means.
///
/// Without kept tokens the sum is 0, and so is the quotient.
pub fn divisor(kept: f32, micro_batches: usize) -> f32 {
    (kept + 1e-8) * micro_batches.max(1) as f32
}
