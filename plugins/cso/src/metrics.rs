//! How strategies are chosen: F1, and how much some are preferred whatever is right.

/// How often a strategy was named where another was right.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    /// By the named strategy, by the gold one.
    counts: Vec<Vec<f64>>,
    /// By the gold strategy: how often none was named.
    missing: Vec<f64>,
}

/// Preferences that no longer change, or the last ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Preferences {
    /// Of each strategy that was confused with another one; their mean is 1.
    pub values: Vec<f64>,
    /// Whether they stopped changing.
    pub is_settled: bool,
}

/// So many sweeps at most, and what no longer counts as a change.
const SWEEPS: usize = 10_000;
const CHANGE: f64 = 1e-10;

impl Confusion {
    /// Counts named and gold strategies.
    pub fn of(pairs: &[(Option<usize>, usize)], strategies: usize) -> Self {
        let mut confusion = Self { counts: vec![vec![0.0; strategies]; strategies], missing: vec![0.0; strategies] };
        for &(named, gold) in pairs {
            match named {
                Some(named) => confusion.counts[named][gold] += 1.0,
                None => confusion.missing[gold] += 1.0,
            }
        }
        confusion
    }

    fn named(&self, strategy: usize) -> f64 {
        self.counts[strategy].iter().sum()
    }

    fn gold(&self, strategy: usize) -> f64 {
        self.counts.iter().map(|row| row[strategy]).sum::<f64>() + self.missing[strategy]
    }

    fn f1(&self, strategy: usize) -> f64 {
        2.0 * self.counts[strategy][strategy] / (self.named(strategy) + self.gold(strategy))
    }

    /// The mean F1 of strategies that are named or right anywhere, and the mean by how often they are right. None of no rows.
    pub fn f1s(&self) -> Option<(f64, f64)> {
        let seen: Vec<usize> =
            (0..self.counts.len()).filter(|&strategy| 0.0 < self.named(strategy) + self.gold(strategy)).collect();
        let rows: f64 = seen.iter().map(|&strategy| self.gold(strategy)).sum();
        let macro_f1 = seen.iter().map(|&strategy| self.f1(strategy)).sum::<f64>() / seen.len() as f64;
        let weighted = seen.iter().map(|&strategy| self.f1(strategy) * self.gold(strategy)).sum::<f64>() / rows;
        (0.0 < rows).then_some((macro_f1, weighted))
    }

    /// The fixed point of `p_i = sum_j(w_ij p_j / (p_i + p_j)) / sum_j(w_ji / (p_i + p_j))`, `w_ij` being how often i was named where j was
    /// right. Right answers are on both sides and fall out; a strategy that was never confused takes no part.
    pub fn preferences(&self) -> Preferences {
        let w = &self.counts;
        let all = 0..w.len();
        let is_confused = |i: &usize| all.clone().any(|j| j != *i && 0.0 < w[*i][j] + w[j][*i]);
        let seen: Vec<usize> = all.clone().filter(is_confused).collect();
        let mut p = vec![1.0_f64; w.len()];
        let mut is_settled = seen.is_empty();
        for _ in 0..SWEEPS {
            let before = p.clone();
            for &i in &seen {
                let over = |term: &dyn Fn(usize) -> f64| -> f64 {
                    seen.iter().filter(|&&j| j != i).map(|&j| term(j) / (p[i] + p[j]).max(f64::MIN_POSITIVE)).sum()
                };
                let (wins, losses) = (over(&|j| w[i][j] * p[j]), over(&|j| w[j][i]));
                // One that is never passed over where it is right has no finite preference: it stays as large as it can be told.
                p[i] = if losses == 0.0 { 2.0 * p[i] } else { wins / losses };
            }
            let mean = seen.iter().map(|&i| p[i]).sum::<f64>() / seen.len() as f64;
            if !(0.0 < mean && mean.is_finite()) {
                p = before;
                break;
            }
            for &i in &seen {
                p[i] /= mean;
            }
            if seen.iter().all(|&i| (p[i] - before[i]).abs() < CHANGE) {
                is_settled = true;
                break;
            }
        }
        Preferences { values: seen.into_iter().map(|i| p[i]).collect(), is_settled }
    }
}

impl Preferences {
    /// The preference bias B: how far the preferences are from being equal, as their standard deviation.
    pub fn bias(&self) -> f64 {
        let squares = self.values.iter().map(|value| (value - 1.0).powi(2)).sum::<f64>();
        (squares / self.values.len().max(1) as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[(usize, usize, usize)], strategies: usize) -> Confusion {
        let pairs = counts.iter().flat_map(|&(named, gold, count)| std::iter::repeat_n((Some(named), gold), count));
        Confusion::of(&pairs.collect::<Vec<_>>(), strategies)
    }

    #[track_caller]
    fn near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (one, other) in found.iter().zip(expected) {
            assert!((one - other).abs() < 1e-6, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn f1_is_a_mean_over_strategies_or_over_rows() {
        // Strategy 0: precision 2/3, recall 1; strategy 1: precision 1, recall 1/3 (one row without a name); strategy 2 is not there.
        let pairs = [(Some(0), 0), (Some(0), 0), (Some(0), 1), (Some(1), 1), (None, 1)];
        let (macro_f1, weighted) = Confusion::of(&pairs, 3).f1s().expect("rows");
        near(&[macro_f1, weighted], &[0.65, 0.4 * 0.8 + 0.6 * 0.5]);
        assert_eq!(Confusion::of(&[], 3).f1s(), None);
    }

    #[test]
    fn without_confusion_there_is_no_preference() {
        let preferences = of(&[(0, 0, 5), (1, 1, 2)], 2).preferences();
        assert_eq!((preferences.values.len(), preferences.bias(), preferences.is_settled), (0, 0.0, true));
        let preferences = of(&[(0, 1, 3), (1, 0, 3), (0, 0, 9)], 2).preferences();
        near(&preferences.values, &[1.0, 1.0]);
    }

    #[test]
    fn of_two_strategies_preferences_are_as_their_confusions() {
        let preferences = of(&[(0, 1, 3), (1, 0, 1), (0, 0, 40)], 2).preferences();
        near(&preferences.values, &[1.5, 0.5]);
        near(&[preferences.bias()], &[0.5]);
        assert!(preferences.is_settled);
    }

    #[test]
    fn a_fixed_point_holds_for_three_strategies() {
        let w = [[0.0, 4.0, 5.0], [2.0, 0.0, 3.0], [1.0, 2.0, 0.0]];
        let counts = [(0, 1, 4), (0, 2, 5), (1, 0, 2), (1, 2, 3), (2, 0, 1), (2, 1, 2)];
        let Preferences { values: p, is_settled } = of(&counts, 3).preferences();
        assert!(is_settled);
        for i in 0..3 {
            let wins: f64 = (0..3).map(|j| w[i][j] * p[j] / (p[i] + p[j])).sum();
            let losses: f64 = (0..3).map(|j| w[j][i] / (p[i] + p[j])).sum();
            near(&[p[i]], &[wins / losses]);
        }
        near(&[p.iter().sum::<f64>()], &[3.0]);
    }

    #[test]
    fn one_strategy_always_is_the_largest_bias() {
        let preferences = of(&[(0, 0, 7), (0, 1, 1), (0, 2, 1), (0, 3, 1)], 4).preferences();
        near(&preferences.values, &[4.0, 0.0, 0.0, 0.0]);
        near(&[preferences.bias()], &[3.0_f64.sqrt()]);
    }
}
