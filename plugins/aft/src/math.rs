//! How long each draft may be, and how much drafts repeat each other.

/// The largest length to which all texts may be cut so that together they have at most `budget`; none if nothing has to be cut.
pub fn cap(lengths: &[usize], budget: usize) -> Option<usize> {
    if lengths.iter().sum::<usize>() <= budget {
        return None;
    }
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let mut rest = budget;
    for (at, length) in sorted.iter().enumerate() {
        let left = sorted.len() - at;
        if rest < length * left {
            return Some(rest / left);
        }
        rest -= length;
    }
    None
}

/// The texts, each cut to at most the same number of characters so that together they have at most `longest` (0: no limit), and whether any
/// was cut.
pub fn shortened(texts: &[String], longest: usize) -> (Vec<String>, bool) {
    let lengths: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    match cap(&lengths, longest).filter(|_| longest != 0) {
        None => (texts.to_vec(), false),
        Some(cap) => (texts.iter().map(|text| text.chars().take(cap).collect()).collect(), true),
    }
}

/// How many of the texts have come before.
pub fn repeated(texts: &[String]) -> usize {
    texts.iter().enumerate().filter(|(at, text)| texts[..*at].contains(text)).count()
}

/// The share of some in all; none of none.
pub fn share(some: usize, all: usize) -> Option<f64> {
    (all != 0).then(|| some as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_the_largest_that_fits() {
        assert_eq!(cap(&[3, 5, 2], 10), None);
        assert_eq!(cap(&[], 0), None);
        assert_eq!(cap(&[10, 10], 0), Some(0));
        let lengths = [9, 1, 4, 30, 4];
        for budget in 0..48 {
            let cap = cap(&lengths, budget).expect("48 are too many");
            let total = |cap: usize| lengths.iter().map(|length| cap.min(*length)).sum::<usize>();
            assert!(total(cap) <= budget && budget < total(cap + 1), "{cap} of {budget}");
        }
    }

    #[test]
    fn long_texts_are_cut_alike_and_short_ones_stay() {
        let texts = ["äöüäöü", "ab", "abcdefgh"].map(String::from);
        assert_eq!(shortened(&texts, 10), (vec!["äöüä".into(), "ab".into(), "abcd".into()], true));
        assert_eq!(shortened(&texts, 16), (texts.to_vec(), false));
        assert_eq!(shortened(&texts, 0), (texts.to_vec(), false));
    }

    #[test]
    fn repetitions_are_counted() {
        assert_eq!(repeated(&["a", "b", "a", "a"].map(String::from)), 2);
        assert_eq!((repeated(&[]), share(0, 0), share(1, 4)), (0, None, Some(0.25)));
    }
}
