//! Normalised rewards, in float64. A reward that is none takes no part in anything.

/// What the rewards of a group, less their mean, are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The deviation of the group.
    Group,
    /// The deviation of all rewards.
    Batch,
    /// Nothing.
    None,
}

/// How deviations are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation {
    /// What is taken off the count.
    pub ddof: usize,
    /// What is added before something is divided by the deviation.
    pub epsilon: f64,
}

impl Deviation {
    /// The deviation; 0.0 of too few values.
    pub fn of(self, values: &[f64]) -> f64 {
        let mean = mean(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let count = values.len().saturating_sub(self.ddof);
        if count == 0 { 0.0 } else { (squares / count as f64).sqrt() }
    }

    /// `value` by a deviation; 0.0 where that is 0.0 and `epsilon` too.
    fn divide(self, value: f64, deviation: f64) -> f64 {
        let divisor = deviation + self.epsilon;
        if divisor == 0.0 { 0.0 } else { value / divisor }
    }
}

/// The mean; 0.0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Whether all values are the same.
pub fn is_constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits())
}

/// Where each group starts and ends.
pub fn spans(groups: &[u32]) -> Vec<std::ops::Range<usize>> {
    let mut start = 0;
    let span = |rows: &[u32]| {
        let span = start..start + rows.len();
        start = span.end;
        span
    };
    groups.chunk_by(|one, other| one == other).map(span).collect()
}

/// Those of the rewards that are there.
pub fn given(rewards: &[Option<f64>]) -> Vec<f64> {
    rewards.iter().copied().flatten().collect()
}

/// `(r - mean of its group) / (deviation + epsilon)`, exactly 0.0 in groups whose rewards are all the same.
pub fn within_groups(rewards: &[Option<f64>], groups: &[u32], scale: Scale, deviation: Deviation) -> Vec<Option<f64>> {
    let of_batch = deviation.of(&given(rewards));
    let mut advantages = Vec::with_capacity(rewards.len());
    for span in spans(groups) {
        let rewards = &rewards[span];
        let given = given(rewards);
        let (mean, of_group, is_constant) = (mean(&given), deviation.of(&given), is_constant(&given));
        let advantage = |reward: f64| match scale {
            _ if is_constant => 0.0,
            Scale::Group => deviation.divide(reward - mean, of_group),
            Scale::Batch => deviation.divide(reward - mean, of_batch),
            Scale::None => reward - mean,
        };
        advantages.extend(rewards.iter().map(|reward| reward.map(advantage)));
    }
    advantages
}

/// The sum of the numbers that are there, each with its factor; none where there is none.
pub fn weighted(columns: &[Vec<Option<f64>>], weights: &[f64]) -> Vec<Option<f64>> {
    let rows = columns.first().map_or(0, Vec::len);
    let sum = |row: usize| {
        let terms = columns.iter().zip(weights).filter_map(|(column, weight)| Some(weight * column[row]?));
        terms.reduce(|sum, term| sum + term)
    };
    (0..rows).map(sum).collect()
}

/// `(x - mean) / (deviation + epsilon)` over all numbers that are there.
pub fn over_batch(numbers: &[Option<f64>], deviation: Deviation) -> Vec<Option<f64>> {
    let given = given(numbers);
    let (mean, of_all) = (mean(&given), deviation.of(&given));
    numbers.iter().map(|number| number.map(|number| deviation.divide(number - mean, of_all))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Deviation = Deviation { ddof: 1, epsilon: 1e-4 };
    const POPULATION: Deviation = Deviation { ddof: 0, epsilon: 1e-4 };

    #[track_caller]
    fn check(
        rewards: &[Option<f64>],
        groups: &[u32],
        (scale, deviation): (Scale, Deviation),
        expected: &[Option<f64>],
    ) {
        let found = within_groups(rewards, groups, scale, deviation);
        let near = |(found, expected): (&Option<f64>, &Option<f64>)| match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-4,
            (found, expected) => found == expected,
        };
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{found:?}, not {expected:?}");
    }

    /// The project's golden vectors of GRPO's advantage.
    #[test]
    fn the_golden_vectors_are_met() {
        let rewards = [0.2, 0.5, 0.5, 0.8].map(Some);
        check(&rewards, &[0; 4], (Scale::Group, POPULATION), &[-1.4135, 0.0, 0.0, 1.4135].map(Some));
        check(&rewards, &[0; 4], (Scale::Group, SAMPLE), &[-1.2242, 0.0, 0.0, 1.2242].map(Some));
    }

    /// All four: mean square distance from 2.5 is 1.25, so that the population's deviation is 1.1180.
    #[test]
    fn the_batch_has_one_deviation_and_each_group_its_mean() {
        let rewards = [1.0, 2.0, 3.0, 4.0].map(Some);
        let expected = 0.5 / (1.25_f64.sqrt() + 1e-4);
        let expected = [-expected, expected, -expected, expected].map(Some);
        check(&rewards, &[0, 0, 1, 1], (Scale::Batch, POPULATION), &expected);
        check(&rewards, &[0, 0, 1, 1], (Scale::None, POPULATION), &[-0.5, 0.5, -0.5, 0.5].map(Some));
    }

    #[test]
    fn what_is_none_takes_no_part() {
        let rewards = [Some(1.0), None, Some(3.0), None, None];
        check(&rewards, &[0, 0, 0, 1, 1], (Scale::None, SAMPLE), &[Some(-1.0), None, Some(1.0), None, None]);
    }

    #[test]
    fn without_spread_there_is_no_advantage_whatever_is_divided_by() {
        let bare = Deviation { ddof: 1, epsilon: 0.0 };
        for scale in [Scale::Group, Scale::Batch, Scale::None] {
            let found = within_groups(&[0.1; 3].map(Some), &[4; 3], scale, bare);
            assert_eq!(found, [Some(0.0); 3]);
            assert_eq!(within_groups(&[Some(7.0)], &[0], scale, bare), [Some(0.0)]);
        }
        assert_eq!(over_batch(&[Some(2.0), None], bare), [Some(0.0), None]);
        assert!(within_groups(&[], &[], Scale::Batch, bare).is_empty());
    }

    #[test]
    fn sums_are_of_what_is_there() {
        let columns = [vec![Some(1.0), None, None], vec![Some(2.0), Some(3.0), None]];
        assert_eq!(weighted(&columns, &[0.5, -1.0]), [Some(-1.5), Some(-3.0), None]);
    }
}
