//! Priors, what selection goes by, and the reward of a turn.

/// Ratings as probabilities: `softmax(rating / temperature)`.
pub fn priors(ratings: &[f64], temperature: f64) -> Vec<f64> {
    let most = ratings.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = ratings.iter().map(|rating| ((rating - most) / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// What a child is selected by: `q + c * prior * sqrt(visits of its parent) / (visits + 1)`.
pub fn pucb(q: f64, prior: f64, visits: u32, of_parent: u32, c: f64) -> f64 {
    q + c * prior * f64::from(of_parent).sqrt() / (f64::from(visits) + 1.0)
}

/// The weighted sum of a turn's grades: empathy, information, humanlikeness, strategy.
pub fn turn_score(grades: [f64; 4], weights: [f64; 4]) -> f64 {
    grades.iter().zip(weights).map(|(grade, weight)| grade * weight).sum()
}

/// The mean of rewards after one more of them.
pub fn running_mean(mean: f64, count: u32, reward: f64) -> f64 {
    (mean * f64::from(count) + reward) / (f64::from(count) + 1.0)
}

/// The position of the largest number; of equal ones the first.
pub fn argmax(values: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, value) in values.enumerate() {
        if best.is_none_or(|(_, most)| most < value) {
            best = Some((at, value));
        }
    }
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(one: f64, other: f64) {
        assert!((one - other).abs() < 5e-5, "{one} is not {other}");
    }

    #[test]
    fn priors_are_the_softmax_of_ratings() {
        for (found, expected) in priors(&[8.0, 6.0, 2.0], 5.0).into_iter().zip([0.5072, 0.3400, 0.1528]) {
            near(found, expected);
        }
        assert_eq!(priors(&[7.0], 5.0), [1.0]);
    }

    #[test]
    fn selection_weighs_reward_against_what_is_new() {
        near(pucb(0.5, 0.2, 3, 9, 1.0), 0.65);
        near(pucb(0.0, 0.6, 0, 9, 1.0), 1.8);
        near(pucb(0.25, 0.6, 0, 0, 1.0), 0.25);
    }

    #[test]
    fn the_reward_of_a_turn_is_centred() {
        near(turn_score([3.0, 2.0, 4.0, 3.0], [0.1, 0.1, 0.1, 0.7]) - 3.0, 0.0);
        near(turn_score([4.0; 4], [0.1, 0.1, 0.1, 0.7]) - 3.0, 1.0);
    }

    #[test]
    fn a_mean_runs_on() {
        near(running_mean(0.0, 0, -1.0), -1.0);
        near(running_mean(1.0, 100, 0.0), 100.0 / 101.0);
    }

    #[test]
    fn of_equal_numbers_the_first_is_the_largest() {
        assert_eq!(argmax([1.0, 3.0, 3.0].into_iter()), Some(1));
        assert_eq!(argmax(std::iter::empty()), None);
    }
}
