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

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 8] = ["nll", "p", "family", "top-p", "bottom-p", "top-logp", "bottom-logp", "log-1-p"];

    fn function(name: &str, alpha: f32) -> Function {
        Function::new(name, alpha, 0.2).expect("the settings are fine")
    }

    fn at(function: Function, logp: f32) -> f64 {
        function.loss(&Tensor::from_floats(&[logp], &[1])).item().into()
    }

    /// Compares f(0.8) with a number computed by hand.
    #[track_caller]
    fn check_value(name: &str, alpha: f32, expected: f64) {
        let value = at(function(name, alpha), 0.8_f32.ln());
        assert!((value - expected).abs() < 1e-6, "{name}({alpha}) of 0.8 is {value}, not {expected}");
    }

    /// Compares the gold logit's gradient factor -f'(p) p (1 - p), by central differences over l, with W(p). Since df/dl = f'(p) p, it is -(df/dl) (1 - p).
    #[track_caller]
    fn check_factor(name: &str, alpha: f32, factor: impl Fn(f64) -> f64) {
        for p in [0.05_f64, 0.3, 0.5, 0.9] {
            let (logp, step) = (p.ln() as f32, 1e-3);
            let function = function(name, alpha);
            let slope = (at(function, logp + step) - at(function, logp - step)) / f64::from(2.0 * step);
            let (found, expected) = (-slope * (1.0 - p), factor(p));
            assert!((found - expected).abs() < 5e-4, "{name}({alpha}) at p = {p}: {found}, not {expected}");
        }
    }

    #[test]
    fn values_equal_the_formulas() {
        check_value("nll", 1.0, 0.223_143_55);
        check_value("p", 1.0, 0.2);
        check_value("family", 1.0, 0.2);
        check_value("family", 10.0, 0.089_262_58);
        check_value("family", 0.1, 0.220_672_46);
        check_value("family", 0.0, 0.223_143_55);
        check_value("top-p", 1.0, 0.2);
        check_value("bottom-logp", 1.0, 0.223_143_55);
        check_value("log-1-p", 1.0, -1.609_437_9);
    }

    #[test]
    fn gradient_factors_equal_the_papers() {
        check_factor("nll", 1.0, |p| 1.0 - p);
        check_factor("p", 1.0, |p| p * (1.0 - p));
        for alpha in [0.1_f32, 1.0, 3.0, 10.0] {
            check_factor("family", alpha, |p| p.powf(alpha.into()) * (1.0 - p));
        }
        check_factor("log-1-p", 1.0, |p| p);
    }

    #[test]
    fn thresholds_keep_their_side_and_the_border() {
        // 0.5 is exact as a probability: exp(ln 0.5) rounds to it.
        let logp = Tensor::from_floats(&[0.1_f32.ln(), 0.5_f32.ln(), 0.9_f32.ln()], &[3]);
        let kept = |name| Function::new(name, 1.0, 0.5).expect("fine").keep(&logp).map(|keep| keep.read());
        assert_eq!(kept("top-p"), Some(vec![0.0, 1.0, 1.0]));
        assert_eq!(kept("top-logp"), Some(vec![0.0, 1.0, 1.0]));
        assert_eq!(kept("bottom-p"), Some(vec![1.0, 1.0, 0.0]));
        assert_eq!(kept("bottom-logp"), Some(vec![1.0, 1.0, 0.0]));
        assert_eq!(kept("family"), None);
    }

    #[test]
    fn names_are_matched_whole() {
        for name in ALL {
            assert!(Function::new(name, 1.0, 0.2).is_ok(), "{name}");
        }
        for name in ["top", "TopP", "top-log", "top-p-0.2", "", "family-10"] {
            assert!(Function::new(name, 1.0, 0.2).is_err(), "{name}");
        }
        assert_eq!(function("top-p", 1.0), Function::TopP(0.2));
        assert_eq!(function("top-logp", 1.0), Function::TopLogp(0.2));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (alpha, threshold) in [(-1.0, 0.2), (f32::NAN, 0.2), (1.0, 1.5), (1.0, f32::NAN)] {
            assert!(Function::new("family", alpha, threshold).is_err(), "{alpha} {threshold}");
        }
    }

    #[test]
    fn every_function_is_finite_from_certain_to_hopeless() {
        for name in ALL {
            for logp in [0.0, -1e-9, -1.0, -50.0, -200.0, -1e4] {
                let value = at(function(name, 10.0), logp);
                assert!(value.is_finite(), "{name} at {logp} is {value}");
            }
        }
    }

    #[test]
    fn a_micro_batch_without_kept_tokens_divides_by_a_little() {
        assert!((0.0 / divisor(0.0, 4)).abs() < f32::EPSILON);
        assert!((divisor(3.0, 2) - 6.0).abs() < 1e-6);
    }
}
