//! The ranking of three answers by pairwise comparisons.

/// The answers of a row, in the order in which ties are broken: the given better one, the policy's own, the given worse one.
pub const ANSWERS: usize = 3;

/// The pairs that are compared.
pub const PAIRS: [[usize; 2]; 3] = [[0, 1], [0, 2], [1, 2]];

/// How often each answer won; a tie is half a win for both.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Wins([f64; ANSWERS]);

impl Wins {
    /// Counts a comparison: `score` is 1.0 where the first was better and 0.0 where the second was.
    pub fn count(&mut self, [first, second]: [usize; 2], score: f64) {
        self.0[first] += score;
        self.0[second] += 1.0 - score;
    }

    /// The answer with most wins; of several the first.
    pub fn best(&self) -> usize {
        (1..ANSWERS).fold(0, |best, place| if self.0[best] < self.0[place] { place } else { best })
    }

    /// The answer with fewest wins; of several the last.
    pub fn worst(&self) -> usize {
        (1..ANSWERS).fold(0, |worst, place| if self.0[place] <= self.0[worst] { place } else { worst })
    }
}

/// Which portion a row is of.
pub fn portion(id: u64, portions: u64) -> u64 {
    id % portions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wins(scores: [f64; 3]) -> Wins {
        let mut wins = Wins::default();
        for (pair, score) in PAIRS.into_iter().zip(scores) {
            wins.count(pair, score);
        }
        wins
    }

    #[test]
    fn best_and_worst_are_those_with_most_and_fewest_wins() {
        let found = |scores| (wins(scores).best(), wins(scores).worst());
        assert_eq!(found([1.0, 1.0, 1.0]), (0, 2));
        assert_eq!(found([0.0, 1.0, 1.0]), (1, 2));
        assert_eq!(found([1.0, 1.0, 0.0]), (0, 1));
        assert_eq!(found([0.0, 0.0, 0.0]), (2, 0));
    }

    #[test]
    fn ties_go_to_what_was_given() {
        assert_eq!(wins([0.5; 3]), Wins([1.0; 3]));
        assert_eq!((wins([0.5; 3]).best(), wins([0.5; 3]).worst()), (0, 2));
        // A circle: each won once.
        assert_eq!((wins([1.0, 0.0, 1.0]).best(), wins([1.0, 0.0, 1.0]).worst()), (0, 2));
        // The own answer is as good as the better one, and as bad as the worse one.
        assert_eq!((wins([0.5, 1.0, 1.0]).best(), wins([1.0, 1.0, 0.5]).worst()), (0, 2));
    }

    #[test]
    fn portions_are_dealt_row_by_row() {
        assert_eq!((0..7).map(|id| portion(id, 3)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(portion(9, 1), 0);
    }
}
