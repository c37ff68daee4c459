//! Which responses are trained on: the scores and rules of GRAPE as plain functions.

/// The mean log-probability of a token in nats; none of a response without tokens. What is no number counts as impossible.
pub fn mean_logprob(logprobs: &[f32]) -> Option<f64> {
    if logprobs.is_empty() {
        return None;
    }
    let mean = logprobs.iter().map(|&logprob| f64::from(logprob)).sum::<f64>() / logprobs.len() as f64;
    Some(if mean.is_nan() { f64::NEG_INFINITY } else { mean })
}

/// Which candidates are trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// The likeliest ones: the method.
    Best,
    /// The least likely ones.
    Worst,
    /// Any.
    Random,
    /// Every one.
    All,
    /// Those of one source.
    Source(String),
}

impl Select {
    /// Reads `best`, `worst`, `random`, `all` or `source:NAME`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "best" => Some(Self::Best),
            "worst" => Some(Self::Worst),
            "random" => Some(Self::Random),
            "all" => Some(Self::All),
            _ => word.strip_prefix("source:").filter(|name| !name.is_empty()).map(|name| Self::Source(name.into())),
        }
    }
}

/// A candidate, as far as the choice goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored<'a> {
    /// Its mean log-probability.
    pub score: f64,
    /// A random number of its own.
    pub lot: u64,
    /// Where its text comes from; more than one source if several gave the same text.
    pub sources: &'a [String],
}

/// The positions of the candidates to train on, at most `keep` of them unless all are wanted.
///
/// The likeliest, the least likely, the one with the smallest lot comes first; candidates that tie stay in their order.
pub fn pick(select: &Select, candidates: &[Scored<'_>], keep: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let score = |at: &usize| candidates[*at].score;
    match select {
        Select::Best => order.sort_by(|a, b| score(b).total_cmp(&score(a))),
        Select::Worst => order.sort_by(|a, b| score(a).total_cmp(&score(b))),
        Select::Random => order.sort_by_key(|at| candidates[*at].lot),
        Select::All => return order,
        Select::Source(name) => order.retain(|at| candidates[*at].sources.contains(name)),
    }
    order.truncate(keep);
    order
}

/// The mean, if there is anything to take it of.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0_usize);
    for value in values {
        sum += value;
        count += 1;
    }
    (count != 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(scores: &[f64]) -> Vec<Scored<'static>> {
        // The lots turn the order round.
        let candidate = |(at, &score): (usize, &f64)| Scored { score, lot: 100 - at as u64, sources: &[] };
        scores.iter().enumerate().map(candidate).collect()
    }

    #[track_caller]
    fn check(select: &Select, scores: &[f64], keep: usize, expected: &[usize]) {
        assert_eq!(pick(select, &candidates(scores), keep), expected);
    }

    /// The golden vector: -.4 against -.5, the first is picked.
    #[test]
    fn the_mean_decides_not_the_sum() {
        let scores = [mean_logprob(&[-0.2, -0.4, -0.6]), mean_logprob(&[-0.1, -0.9])].map(|mean| mean.expect("tokens"));
        // The log-probabilities are float32.
        assert!((scores[0] + 0.4).abs() < 1e-7 && (scores[1] + 0.5).abs() < 1e-7, "{scores:?}");
        check(&Select::Best, &scores, 1, &[0]);
        check(&Select::Worst, &scores, 1, &[1]);
        // By their sums, -1.2 and -1.0, the second would have been picked.
        check(&Select::Best, &[-1.2, -1.0], 1, &[1]);
    }

    #[test]
    fn a_response_without_tokens_has_no_mean() {
        assert_eq!(mean_logprob(&[]), None);
        assert_eq!(mean_logprob(&[f32::NAN, -1.0]), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn candidates_that_tie_stay_in_their_order() {
        check(&Select::Best, &[-0.5, -0.4, -0.4], 1, &[1]);
        check(&Select::Best, &[-0.5, -0.4, -0.4, -0.3], 3, &[3, 1, 2]);
        check(&Select::Worst, &[-0.5, -0.5, -0.4], 1, &[0]);
    }

    #[test]
    fn an_impossible_response_is_never_better() {
        check(&Select::Best, &[f64::NEG_INFINITY, -9.0], 1, &[1]);
    }

    #[test]
    fn controls_pick_what_they_say() {
        check(&Select::Random, &[-0.1, -0.2, -0.3], 1, &[2]);
        check(&Select::Random, &[-0.1, -0.2, -0.3], 2, &[2, 1]);
        check(&Select::All, &[-0.3, -0.1], 1, &[0, 1]);
        let names = ["gold", "m"].map(String::from);
        let scored = |sources| Scored { score: -1.0, lot: 0, sources };
        let three = [scored(&names[..1]), scored(&names[1..]), scored(&names[..])];
        assert_eq!(pick(&Select::Source("m".into()), &three, 5), [1, 2]);
        assert_eq!(pick(&Select::Source("n".into()), &three, 5), [] as [usize; 0]);
    }

    #[test]
    fn words_are_read() {
        assert_eq!(Select::parse("worst"), Some(Select::Worst));
        assert_eq!(Select::parse("source:a:b"), Some(Select::Source("a:b".into())));
        assert_eq!(Select::parse("source:"), None);
        assert_eq!(Select::parse("longest"), None);
    }

    #[test]
    fn a_mean_of_nothing_is_none() {
        assert_eq!(mean([1.0, 2.0]), Some(1.5));
        assert_eq!(mean([]), None);
    }
}
