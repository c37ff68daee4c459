//! The numbers of leave-one-out advantages, in float64. A reward that is none takes no part in anything.

/// The sum of each of these lengths of a flat list.
pub fn sums(flat: &[f64], lengths: &[usize]) -> Vec<f64> {
    let mut rest = flat;
    let sum = |length: &usize| {
        let (own, others) = rest.split_at(*length);
        rest = others;
        own.iter().sum()
    };
    lengths.iter().map(sum).collect()
}

/// Each reward less the mean of the others of its group; none where there are no others.
pub fn leave_one_out(rewards: &[Option<f64>], groups: &[u32]) -> Vec<Option<f64>> {
    let mut advantages = Vec::with_capacity(rewards.len());
    let mut rest = rewards;
    for rows in groups.chunk_by(|one, other| one == other) {
        let (own, others) = rest.split_at(rows.len());
        rest = others;
        let given: Vec<f64> = own.iter().copied().flatten().collect();
        let (sum, others) = (given.iter().sum::<f64>(), given.len().saturating_sub(1));
        let advantage = |reward: f64| (0 < others).then(|| reward - (sum - reward) / others as f64);
        advantages.extend(own.iter().map(|reward| reward.and_then(advantage)));
    }
    advantages
}

/// `(x - mean) / (deviation + epsilon)` over all numbers that are there, with the sample's deviation; 0.0 where nothing differs.
pub fn normalised(numbers: &[Option<f64>], epsilon: f64) -> Vec<Option<f64>> {
    let given: Vec<f64> = numbers.iter().copied().flatten().collect();
    let mean = given.iter().sum::<f64>() / given.len().max(1) as f64;
    let squares: f64 = given.iter().map(|value| (value - mean).powi(2)).sum();
    let divisor = (squares / given.len().saturating_sub(1).max(1) as f64).sqrt() + epsilon;
    let normalise = |number: f64| if divisor == 0.0 { 0.0 } else { (number - mean) / divisor };
    numbers.iter().map(|number| number.map(normalise)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_compared_with_the_mean_of_the_others() {
        let rewards = [Some(1.0), Some(2.0), Some(6.0), None, Some(9.0), Some(4.0), None];
        let expected = [Some(-3.0), Some(-1.5), Some(4.5), None, Some(5.0), Some(-5.0), None];
        assert_eq!(leave_one_out(&rewards, &[0, 0, 0, 0, 1, 1, 2]), expected);
    }

    #[test]
    fn nobody_is_compared_with_itself() {
        assert_eq!(leave_one_out(&[None, Some(3.0), None], &[0, 0, 0]), [None; 3]);
        assert!(leave_one_out(&[], &[]).is_empty());
    }

    #[test]
    fn normalised_numbers_have_mean_0_and_deviation_1() {
        let found = normalised(&[Some(1.0), None, Some(3.0)], 0.0);
        let half = 0.5_f64.sqrt();
        assert!(found[1].is_none() && (found[0].expect("given") + half).abs() < 1e-12);
        assert!((found[2].expect("given") - half).abs() < 1e-12);
        assert_eq!(normalised(&[Some(2.0), Some(2.0)], 0.0), [Some(0.0); 2]);
        assert_eq!(normalised(&[Some(2.0)], 0.0), [Some(0.0)]);
        assert_eq!(normalised(&[None], 0.0), [None]);
    }

    #[test]
    fn sums_are_of_each_rollouts_own_tokens() {
        assert_eq!(sums(&[1.0, 2.0, 4.0], &[2, 0, 1]), [3.0, 0.0, 4.0]);
    }
}
