//! Which language a text is written in, and what a pair of translations is worth.

use std::collections::BTreeMap;

/// The characters of a language: ranges, ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Characters(Vec<(char, char)>);

impl Characters {
    /// Reads single characters and ranges, such as `a-zäöü`; a hyphen at an end stands for itself. None if a range runs backwards.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: Vec<char> = text.chars().collect();
        let (mut ranges, mut rest) = (Vec::new(), letters.as_slice());
        while let [first, others @ ..] = rest {
            let (range, others) = match others {
                ['-', last, others @ ..] => ((*first, *last), others),
                _ => ((*first, *first), others),
            };
            if range.1 < range.0 {
                return None;
            }
            ranges.push(range);
            rest = others;
        }
        Some(Self(ranges))
    }

    /// How many characters of a text are of the language.
    pub fn count(&self, text: &str) -> usize {
        text.chars().filter(|letter| self.0.iter().any(|(first, last)| first <= letter && letter <= last)).count()
    }
}

/// The language that most characters of a text are of; none if no character is of any, or two languages have as many.
pub fn language<'a>(text: &str, languages: &'a BTreeMap<String, Characters>) -> Option<&'a str> {
    let counts: Vec<(usize, &str)> = languages.iter().map(|(name, set)| (set.count(text), name.as_str())).collect();
    let most = counts.iter().map(|(count, _)| *count).max().filter(|most| 0 < *most)?;
    let mut best = counts.iter().filter(|(count, _)| *count == most);
    match (best.next(), best.next()) {
        (Some((_, name)), None) => Some(name),
        _ => None,
    }
}

/// Why texts in two languages are no record: a prompt and an answer each in source and target language.
pub fn fault(source: [&str; 2], target: [&str; 2]) -> Option<&'static str> {
    let is_empty = |text: &str| text.trim().is_empty();
    if source.into_iter().any(is_empty) {
        Some("an empty text in the source language")
    } else if target.into_iter().any(is_empty) {
        Some("an empty translation")
    } else if source[1].trim() == target[1].trim() {
        Some("the translated answer is a copy")
    } else if source[0].trim() == target[0].trim() {
        Some("the translated prompt is a copy")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages() -> BTreeMap<String, Characters> {
        let set = |(name, text): (&str, &str)| (name.to_owned(), Characters::parse(text).expect("a set"));
        [("digits", "0-9"), ("letters", "a-jx-")].map(set).into()
    }

    #[test]
    fn characters_are_single_ones_and_ranges() {
        let set = Characters::parse("a-cx-").expect("a set");
        assert_eq!(set.count("abcd x-y"), 5);
        assert_eq!(Characters::parse("z-a"), None);
        assert_eq!(Characters::parse("가-힣").expect("a set").count("a 한국어"), 3);
    }

    #[test]
    fn a_text_is_of_the_language_with_most_characters() {
        let languages = languages();
        assert_eq!(language("12a", &languages), Some("digits"));
        assert_eq!(language("ab1 !", &languages), Some("letters"));
        assert_eq!(language("a1", &languages), None);
        assert_eq!(language("??", &languages), None);
    }

    #[test]
    fn copies_and_empty_texts_are_no_records() {
        assert_eq!(fault(["a", "b"], ["c", "d"]), None);
        assert_eq!(fault(["a", "b"], ["c", " b\n"]), Some("the translated answer is a copy"));
        assert_eq!(fault(["a", "b"], ["a", "d"]), Some("the translated prompt is a copy"));
        assert_eq!(fault(["a", "b"], [" ", "d"]), Some("an empty translation"));
        assert_eq!(fault(["a", ""], ["c", "d"]), Some("an empty text in the source language"));
    }
}
