//! Which answer becomes the target: the rules of S3FT and SSR as plain functions. `plugins/ssr` compiles this same file.

use std::collections::BTreeMap;

/// Where a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The model's own answer.
    Own,
    /// The model's rewording of the gold answer.
    Paraphrase,
    /// The gold answer.
    Gold,
}

impl Source {
    /// The word for the training set.
    pub fn provenance(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Paraphrase => "paraphrase",
            Self::Gold => "gold",
        }
    }
}

/// Whether the judge is asked about an answer at all. An empty answer is wrong; so is one that was cut, if `unfinished_is_wrong`.
pub fn is_usable(text: &str, is_finished: bool, unfinished_is_wrong: bool) -> bool {
    !text.trim().is_empty() && (is_finished || !unfinished_is_wrong)
}

/// Whether a verdict's score, 0.0 (wrong, undecided) to 1.0 (right), accepts the answer. `accept_at` is greater than 0.0.
pub fn is_accepted(score: f32, accept_at: f32) -> bool {
    0.0 < score && accept_at <= score
}

/// `accepted / asked` in 0.0 to 1.0; 0.0 if nothing was asked.
pub fn rate(accepted: usize, asked: usize) -> f64 {
    if asked == 0 { 0.0 } else { accepted as f64 / asked as f64 }
}

/// The template with `{prompt}` and `{gold}` replaced, in one pass: braces inside the texts stay as they are.
pub fn fill(template: &str, prompt: &str, gold: &str) -> String {
    let mut filled = String::with_capacity(template.len() + prompt.len() + gold.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let (text, len) = [("{prompt}", prompt), ("{gold}", gold)]
            .into_iter()
            .find(|(mark, _)| rest.starts_with(mark))
            .map_or(("{", 1), |(mark, text)| (text, mark.len()));
        filled.push_str(text);
        rest = &rest[len..];
    }
    filled.push_str(rest);
    filled
}

/// The accept rate of each class: how many of its rows were accepted, as a share in 0.0 to 1.0. Sorted by class.
pub fn rates_by_class<'a>(rows: impl Iterator<Item = (&'a str, bool)>) -> Vec<(String, f64)> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (class, is_accepted) in rows {
        let count = counts.entry(class).or_default();
        count.0 += usize::from(is_accepted);
        count.1 += 1;
    }
    counts.into_iter().map(|(class, (accepted, asked))| (class.to_owned(), rate(accepted, asked))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_wrong_whatever_the_settings() {
        assert!(!is_usable(" \n", true, true));
        assert!(!is_usable("", true, false));
    }

    #[test]
    fn a_cut_answer_is_wrong_unless_allowed() {
        assert!(!is_usable("4", false, true));
        assert!(is_usable("4", false, false));
        assert!(is_usable("4", true, true));
    }

    #[test]
    fn a_score_is_accepted_from_the_threshold_on_and_zero_never() {
        assert!(is_accepted(1.0, 1.0));
        assert!(!is_accepted(0.99, 1.0));
        assert!(is_accepted(0.5, 0.5));
        assert!(!is_accepted(0.0, 0.0));
    }

    #[test]
    fn a_template_is_filled_in_one_pass() {
        assert_eq!(fill("Q {prompt} A {gold}.", "{gold}", "{prompt}"), "Q {gold} A {prompt}.");
        assert_eq!(fill("{{gold}} {other} {", "p", "g"), "{g} {other} {");
    }

    #[test]
    fn rates_are_shares_of_what_was_asked() {
        assert!((rate(53, 600) - 0.088_333).abs() < 1e-6);
        assert!(rate(0, 0).abs() < f64::EPSILON);
        let rows = [("yes", true), ("no", false), ("yes", false)];
        assert_eq!(rates_by_class(rows.into_iter()), [("no".to_owned(), 0.0), ("yes".to_owned(), 0.5)]);
    }
}
