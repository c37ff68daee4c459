//! Advantages from estimates of what is to come, in float64, for one rollout at a time.

/// What becomes of a rollout's tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Credited {
    /// How much better than estimated each token turned out.
    pub advantages: Vec<f64>,
    /// What the value head should have estimated before each token.
    pub returns: Vec<f64>,
}

/// The reward of each token: `-kl (old - reference)`, and the clipped score with the last one.
pub fn token_rewards(divergences: &[f64], score: f64, (kl, score_clip): (f64, f64)) -> Vec<f64> {
    let mut rewards: Vec<f64> = divergences.iter().map(|divergence| -kl * divergence).collect();
    if let Some(last) = rewards.last_mut() {
        *last += score.clamp(-score_clip, score_clip);
    }
    rewards
}

/// Generalised advantage estimation: `A_t = delta_t + gamma lambda A_(t+1)` with `delta_t = R_t + gamma V_(t+1) - V_t`, and nothing after the
/// last token. Returns are `A_t + V_t`.
pub fn estimated(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Credited {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_advantage, mut next_value) = (0.0, 0.0);
    for token in (0..rewards.len()).rev() {
        let delta = rewards[token] + gamma * next_value - values[token];
        next_advantage = delta + gamma * lambda * next_advantage;
        next_value = values[token];
        advantages[token] = next_advantage;
    }
    let returns = advantages.iter().zip(values).map(|(advantage, value)| advantage + value).collect();
    Credited { advantages, returns }
}

/// Mean and population variance; 0.0 and 0.0 of nothing.
pub fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count)
}

/// `(x - mean) / sqrt(variance + 1e-8)`.
pub fn whitened(value: f64, (mean, variance): (f64, f64)) -> f64 {
    (value - mean) / (variance + 1e-8).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: &[f64], expected: &[f64]) {
        let near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-12;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}, not {expected:?}");
    }

    /// The definition as a double sum: `A_t = sum_k (gamma lambda)^k delta_(t+k)`.
    fn slowly(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Credited {
        let value = |token: usize| values.get(token).copied().unwrap_or(0.0);
        let delta = |token: usize| rewards[token] + gamma * value(token + 1) - value(token);
        let advantage = |token: usize| -> f64 {
            (token..rewards.len()).map(|later| (gamma * lambda).powi((later - token) as i32) * delta(later)).sum()
        };
        let advantages: Vec<f64> = (0..rewards.len()).map(advantage).collect();
        let returns = (0..rewards.len()).map(|token| advantages[token] + values[token]).collect();
        Credited { advantages, returns }
    }

    /// By hand, gamma 0.5 and lambda 0.5: deltas are 1 + 1 - 1 = 1, 0 + 2 - 2 = 0 and 3 - 4 = -1; advantages from the end
    /// -1, 0 - 0.25 = -0.25, 1 - 0.0625 = 0.9375.
    #[test]
    fn advantages_by_hand() {
        let found = estimated(&[1.0, 0.0, 3.0], &[1.0, 2.0, 4.0], 0.5, 0.5);
        near(&found.advantages, &[0.9375, -0.25, -1.0]);
        near(&found.returns, &[1.9375, 1.75, 3.0]);
    }

    #[test]
    fn advantages_are_those_of_the_definition() {
        // Numbers without a pattern; no two are alike.
        let number = |at: usize| (at as f64 * 1.618 + 0.3).sin() * 2.0;
        for length in 0..9 {
            let rewards: Vec<f64> = (0..length).map(number).collect();
            let values: Vec<f64> = (20..20 + length).map(number).collect();
            for (gamma, lambda) in [(1.0, 0.95), (0.9, 1.0), (0.7, 0.3), (1.0, 0.0), (0.0, 0.5)] {
                let (fast, slow) =
                    (estimated(&rewards, &values, gamma, lambda), slowly(&rewards, &values, gamma, lambda));
                near(&fast.advantages, &slow.advantages);
                near(&fast.returns, &slow.returns);
            }
        }
    }

    /// With lambda 1 the estimates cancel: what is left is the sum of the rewards to come.
    #[test]
    fn returns_that_look_to_the_end_are_what_came() {
        near(&estimated(&[1.0, 2.0, 4.0], &[9.0, -3.0, 5.0], 1.0, 1.0).returns, &[7.0, 6.0, 4.0]);
    }

    #[test]
    fn the_score_comes_with_the_last_token() {
        near(&token_rewards(&[1.0, -2.0], 9.0, (0.5, 5.0)), &[-0.5, 6.0]);
        near(&token_rewards(&[0.0], -9.0, (0.5, 5.0)), &[-5.0]);
        assert!(token_rewards(&[], 1.0, (0.5, 5.0)).is_empty());
    }

    #[test]
    fn whitening_is_fine_without_spread() {
        assert_eq!(moments(&[1.0, 3.0]), (2.0, 1.0));
        near(&[whitened(2.0, moments(&[2.0, 2.0]))], &[0.0]);
        assert_eq!(moments(&[]), (0.0, 0.0));
    }
}
