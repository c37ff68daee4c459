//! BLEU from counts of common sequences of words, and ROUGE-L.

use std::collections::HashMap;

/// What happens to orders without a match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Smoothing {
    /// This is added to both counts of every order but the first.
    AddK(f64),
    /// Half a match for the first such order, a quarter for the second, and so on.
    Exp,
    /// So much of a match.
    Floor(f64),
    /// The score is 0.
    None,
}

/// How BLEU is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bleu {
    /// What happens to orders without a match.
    pub smoothing: Smoothing,
    /// The longest sequences that are compared.
    pub order: usize,
    /// Whether orders longer than the text are left out.
    pub is_effective: bool,
}

/// What BLEU is computed from; of a corpus the sum over its texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Sequences of each order that the reference has too, from one word on.
    matches: Vec<u64>,
    /// All sequences of each order.
    all: Vec<u64>,
    /// Words of the text.
    length: u64,
    /// Words of its reference.
    reference: u64,
}

impl Counts {
    /// Of nothing, for sequences of up to `order` words.
    pub fn none(order: usize) -> Self {
        Self { matches: vec![0; order], all: vec![0; order], length: 0, reference: 0 }
    }

    /// Of a text.
    pub fn of(text: &[String], reference: &[String], order: usize) -> Self {
        let mut counts = Self { length: text.len() as u64, reference: reference.len() as u64, ..Self::none(order) };
        for size in 1..=order {
            let there = sequences(reference, size);
            let said = sequences(text, size);
            counts.all[size - 1] = said.values().sum();
            let common = said.iter().map(|(words, count)| (*count).min(there.get(words).copied().unwrap_or(0)));
            counts.matches[size - 1] = common.sum();
        }
        counts
    }

    /// Adds those of another text.
    pub fn add(&mut self, other: &Self) {
        self.matches.iter_mut().zip(&other.matches).for_each(|(sum, count)| *sum += count);
        self.all.iter_mut().zip(&other.all).for_each(|(sum, count)| *sum += count);
        self.length += other.length;
        self.reference += other.reference;
    }
}

fn sequences(words: &[String], size: usize) -> HashMap<&[String], u64> {
    let mut counts = HashMap::new();
    for sequence in words.windows(size) {
        *counts.entry(sequence).or_insert(0) += 1;
    }
    counts
}

impl Bleu {
    /// The score in 0.0 to 1.0; 0.0 where no word is common.
    pub fn score(&self, counts: &Counts) -> f64 {
        if counts.matches.iter().all(|count| *count == 0) {
            return 0.0;
        }
        let (mut logarithms, mut halved) = (Vec::new(), 1.0);
        for (at, (&matches, &all)) in counts.matches.iter().zip(&counts.all).enumerate() {
            let more = if let Smoothing::AddK(k) = self.smoothing { f64::from(u8::from(at > 0)) * k } else { 0.0 };
            let (mut matches, all) = (matches as f64 + more, all as f64 + more);
            if all == 0.0 {
                if !self.is_effective {
                    return 0.0;
                }
                break;
            }
            if matches == 0.0 {
                matches = match self.smoothing {
                    Smoothing::Exp => {
                        halved /= 2.0;
                        halved
                    }
                    Smoothing::Floor(value) => value,
                    Smoothing::AddK(_) | Smoothing::None => return 0.0,
                };
            }
            logarithms.push((matches / all).ln());
        }
        let (length, reference) = (counts.length as f64, counts.reference as f64);
        let brevity = if length < reference { 1.0 - reference / length } else { 0.0 };
        let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
        (brevity + mean).exp().clamp(0.0, 1.0)
    }
}

/// F1 of the longest common subsequence.
pub fn rouge_l(text: &[String], reference: &[String]) -> f64 {
    let mut row = vec![0_usize; reference.len() + 1];
    for word in text {
        let mut diagonal = 0;
        for (at, other) in reference.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    let common = row[reference.len()];
    if common == 0 { 0.0 } else { 2.0 * common as f64 / (text.len() + reference.len()) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn score(bleu: Bleu, text: &str, reference: &str) -> f64 {
        bleu.score(&Counts::of(&words(text), &words(reference), bleu.order))
    }

    const ADD_1: Bleu = Bleu { smoothing: Smoothing::AddK(1.0), order: 4, is_effective: true };

    #[test]
    fn the_golden_value() {
        let found = score(ADD_1, "the cat sat on mat", "the cat sat on the mat");
        // Orders: 5/5, (3 + 1)/(4 + 1), (2 + 1)/(3 + 1), (1 + 1)/(2 + 1); brevity exp(1 - 6/5).
        let expected = (-0.2_f64 + (0.8_f64 * 0.75 * 2.0 / 3.0).ln() / 4.0).exp();
        assert!((found - expected).abs() < 1e-12 && (found - 0.651_113).abs() < 5e-7, "{found}");
    }

    #[test]
    fn repeated_words_count_as_often_as_the_reference_has_them() {
        let first = Bleu { order: 1, ..ADD_1 };
        assert!((score(first, "the the the the the the the", "the cat is on the mat") - 2.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn short_texts_differ_by_the_order_that_counts() {
        let none = Bleu { smoothing: Smoothing::None, ..ADD_1 };
        assert!((score(none, "a b", "a b") - 1.0).abs() < 1e-12);
        assert!(score(Bleu { is_effective: false, ..none }, "a b", "a b") < 1e-12);
        assert!(score(none, "a b", "b a") < 1e-12);
    }

    #[test]
    fn the_longest_common_subsequence() {
        // a, c, e of 5 and 4 words.
        assert!((rouge_l(&words("a b c d e"), &words("a c x e")) - 6.0 / 9.0).abs() < 1e-12);
        assert!(rouge_l(&words("a"), &words("b")) < 1e-12);
        assert!(rouge_l(&[], &words("b")) < 1e-12);
    }
}
