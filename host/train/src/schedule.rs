//! The learning rate of each step.

use tunesmith_core::plan::TrainPlan;
use tunesmith_core::recipe::Schedule;

/// Warm-up, then a fall to 0 after the last step, as in transformers' schedulers.
///
/// Step `s`, from 0, of `n`, with `w` steps of warm-up: while `s < w` the rate is `peak * s / w`; then with `x = (s - w) / max(1, n - w)`
/// it is `peak * (1 + cos(pi x)) / 2` (cosine), `peak * (1 - x)` (linear), or `peak` (constant).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningRate {
    peak: f64,
    warmup: u32,
    steps: u32,
    schedule: Schedule,
}

impl LearningRate {
    /// The schedule of a plan that makes `steps` steps.
    pub fn new(plan: &TrainPlan, steps: u32) -> Self {
        Self { peak: plan.learning_rate, warmup: plan.warmup, steps, schedule: plan.schedule }
    }

    /// The same schedule with another highest rate.
    #[must_use]
    pub fn with_peak(self, peak: f64) -> Self {
        Self { peak, ..self }
    }

    /// The rate of a step, from 0.
    pub fn at(&self, step: u32) -> f64 {
        if step < self.warmup {
            return self.peak * f64::from(step) / f64::from(self.warmup);
        }
        let rest = f64::from(self.steps.saturating_sub(self.warmup).max(1));
        let share = (f64::from(step - self.warmup) / rest).min(1.0);
        match self.schedule {
            Schedule::Cosine => self.peak * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()),
            Schedule::Linear => self.peak * (1.0 - share),
            Schedule::Constant => self.peak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: Schedule, warmup: u32, step: u32, expected: f64) {
        let rate = LearningRate { peak: 2.0, warmup, steps: 10, schedule }.at(step);
        assert!((rate - expected).abs() < 1e-12, "{rate} is not {expected}");
    }

    #[test]
    fn the_rate_rises_then_falls() {
        // transformers' get_cosine_schedule_with_warmup and get_linear_schedule_with_warmup, by their formulas.
        check(Schedule::Cosine, 0, 0, 2.0);
        check(Schedule::Cosine, 0, 5, 1.0);
        check(Schedule::Cosine, 2, 0, 0.0);
        check(Schedule::Cosine, 2, 1, 1.0);
        check(Schedule::Cosine, 2, 2, 2.0);
        check(Schedule::Cosine, 2, 6, 1.0);
        check(Schedule::Linear, 0, 5, 1.0);
        check(Schedule::Linear, 0, 9, 0.2);
        check(Schedule::Linear, 5, 10, 0.0);
        check(Schedule::Constant, 4, 3, 1.5);
        check(Schedule::Constant, 4, 9, 2.0);
    }

    #[test]
    fn a_warm_up_longer_than_the_run_is_fine() {
        check(Schedule::Cosine, 20, 9, 0.9);
        check(Schedule::Linear, 20, 20, 2.0);
    }
}
