//! The rewards of a number, and what is measured of many.

/// Predictions above this are no counts.
const LARGEST: f64 = 1e6;

/// How near a prediction is to the gold number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Accuracy {
    /// The bonus less the relative error, where that is below the threshold.
    Fuzzy {
        /// The reward of the gold number.
        bonus: f64,
        /// The first relative error without a reward.
        threshold: f64,
    },
    /// 1.0 for the gold number.
    Binary,
}

/// The distance over the gold number. Where that is 0 only 0 itself is near it.
pub fn gap(prediction: f64, gold: f64) -> f64 {
    match (gold == 0.0, prediction == 0.0) {
        (true, true) => 0.0,
        (true, false) => 1.0,
        (false, _) => (prediction - gold).abs() / gold,
    }
}

impl Accuracy {
    /// The reward of a prediction; 0.0 where there is none, and where it is no count.
    pub fn reward(self, prediction: Option<f64>, gold: f64) -> f64 {
        let Some(prediction) = prediction.filter(|number| (0.0..=LARGEST).contains(number)) else { return 0.0 };
        match self {
            Self::Binary => f64::from(u8::from(prediction - gold == 0.0)),
            Self::Fuzzy { bonus, threshold } => {
                let gap = gap(prediction, gold);
                if gap < threshold { bonus - gap } else { 0.0 }
            }
        }
    }
}

/// Errors over pairs of a prediction and its gold number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// The mean of their sizes.
    pub absolute: f64,
    /// The root of the mean of their squares.
    pub squared: f64,
}

/// None of nothing.
pub fn errors(pairs: &[(f64, f64)]) -> Option<Errors> {
    let mean = |of: fn(f64) -> f64| {
        pairs.iter().map(|(prediction, gold)| of(prediction - gold)).sum::<f64>() / pairs.len() as f64
    };
    (!pairs.is_empty()).then(|| Errors { absolute: mean(f64::abs), squared: mean(|error| error * error).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUZZY: Accuracy = Accuracy::Fuzzy { bonus: 1.5, threshold: 0.5 };

    #[track_caller]
    fn check(accuracy: Accuracy, prediction: f64, gold: f64, expected: f64) {
        let reward = accuracy.reward(Some(prediction), gold);
        assert!((reward - expected).abs() < 1e-12, "{prediction} for {gold}: {reward}, not {expected}");
    }

    #[test]
    fn the_nearer_the_better_and_half_of_it_is_too_far() {
        check(FUZZY, 100.0, 100.0, 1.5);
        check(FUZZY, 90.0, 100.0, 1.4);
        check(FUZZY, 110.0, 100.0, 1.4);
        check(FUZZY, 149.0, 100.0, 1.01);
        check(FUZZY, 51.0, 100.0, 1.01);
        check(FUZZY, 150.0, 100.0, 0.0);
        check(FUZZY, 50.0, 100.0, 0.0);
        check(FUZZY, 0.0, 100.0, 0.0);
    }

    #[test]
    fn of_nothing_only_nothing_is_right() {
        check(FUZZY, 0.0, 0.0, 1.5);
        check(FUZZY, 1.0, 0.0, 0.0);
        check(Accuracy::Binary, 0.0, 0.0, 1.0);
    }

    #[test]
    fn binary_rewards_the_gold_number_only() {
        check(Accuracy::Binary, 100.0, 100.0, 1.0);
        check(Accuracy::Binary, 101.0, 100.0, 0.0);
    }

    #[test]
    fn what_is_no_count_has_no_reward() {
        check(FUZZY, 1e6, 1e6, 1.5);
        check(FUZZY, 1_000_001.0, 1e6, 0.0);
        check(FUZZY, -1.0, 1.0, 0.0);
        check(FUZZY, f64::INFINITY, 1.0, 0.0);
        check(FUZZY, f64::NAN, 1.0, 0.0);
        check(Accuracy::Binary, 2e6, 2e6, 0.0);
        assert!(FUZZY.reward(None, 5.0).abs() < 1e-12);
    }

    #[test]
    fn errors_by_hand() {
        let errors = errors(&[(10.0, 7.0), (5.0, 9.0)]).expect("there are some");
        assert!((errors.absolute - 3.5).abs() < 1e-12 && (errors.squared - 12.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(super::errors(&[]), None);
    }
}
