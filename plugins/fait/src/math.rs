//! How much a marked token counts.

/// The mean of these numbers; none of nothing.
pub fn mean(numbers: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0_u32), |(sum, count), number| (sum + f64::from(number), count + 1));
    (0 < count).then(|| sum / f64::from(count))
}

/// `largest * sigma((right - wrong) / tau)`, with the mean negative log-likelihoods, in nats per token, of the marked tokens of right and wrong code:
/// half of `largest` where the model finds both as likely, more where it prefers the wrong code.
pub fn emphasis(largest: f64, tau: f64, right: f64, wrong: f64) -> f64 {
    largest / (1.0 + (-(right - wrong) / tau).exp())
}

/// How a marked token's weight is made up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// For standing in a line that differs.
    pub line: f64,
    /// For holding a character that differs.
    pub token: f64,
}

impl Shares {
    /// `1 + emphasis * (line share if in a line that differs + token share if it holds a character that does)`.
    pub fn weight(self, emphasis: f64, is_in_line: bool, is_token: bool) -> f32 {
        let part = |share: f64, is_marked: bool| if is_marked { share } else { 0.0 };
        (1.0 + emphasis * (part(self.line, is_in_line) + part(self.token, is_token))) as f32
    }

    /// Whether a token gets more weight at all.
    pub fn count(self, is_in_line: bool, is_token: bool) -> bool {
        (is_in_line && 0.0 < self.line) || (is_token && 0.0 < self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emphasis_is_half_where_both_are_as_likely_and_fades_as_the_right_code_wins() {
        // By hand: sigma(0) = 1/2, sigma(1) = 0.7310586, sigma(-2) = 0.1192029.
        for (right, wrong, tau, expected) in
            [(0.7, 0.7, 1.0, 1.0), (1.5, 0.5, 1.0, 1.462_117_2), (0.5, 1.5, 0.5, 0.238_405_8), (0.0, 800.0, 1.0, 0.0)]
        {
            let found = emphasis(2.0, tau, right, wrong);
            assert!((found - expected).abs() < 1e-6, "{right} {wrong} {tau}: {found}, not {expected}");
        }
    }

    #[test]
    fn weights_add_both_shares_to_one() {
        let shares = Shares { line: 0.5, token: 0.25 };
        let found = [(false, false), (true, false), (false, true), (true, true)]
            .map(|(line, token)| shares.weight(2.0, line, token));
        assert_eq!(found.map(f32::to_bits), [1.0_f32, 2.0, 1.5, 2.5].map(f32::to_bits));
        let of_lines = Shares { token: 0.0, ..shares };
        assert!(of_lines.count(true, false) && !of_lines.count(false, true) && shares.count(false, true));
    }

    #[test]
    fn a_mean_of_nothing_is_none() {
        assert_eq!(mean([].into_iter()), None);
        assert_eq!(mean([1.0, 2.0].into_iter()), Some(1.5));
    }
}
