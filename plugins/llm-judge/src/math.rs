//! From the texts of a judge to a verdict: reading, counting, and what two orders say together.

/// What stands behind the last marker, without blanks and marks of emphasis; of a text without the marker all of it.
pub(crate) fn verdict_text<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let is_decoration = |sign: char| sign.is_whitespace() || "*_`\"'([{#".contains(sign);
    match last_place(text, marker) {
        Some(place) => Some(text[place..].trim_start_matches(is_decoration)),
        // A judge that says the verdict and nothing else need not introduce it.
        None => Some(text.trim_matches(is_decoration)).filter(|text| !text.contains(char::is_whitespace)),
    }
}

/// Where the text goes on behind the marker's last place, whatever its case.
fn last_place(text: &str, marker: &str) -> Option<usize> {
    let is_here = |at: usize| text.get(at..at + marker.len()).is_some_and(|part| part.eq_ignore_ascii_case(marker));
    (0..text.len()).rev().find(|&at| is_here(at)).map(|at| at + marker.len())
}

/// Which of two words a verdict is: `true` for the first. None for anything else, also for the choice between them, as in `yes or no`.
pub(crate) fn word(text: &str, words: [&str; 2]) -> Option<bool> {
    let is_mark = |sign: char| !sign.is_alphanumeric();
    let (place, rest) = words.iter().enumerate().find_map(|(place, word)| Some((place, behind(text, word)?)))?;
    let next = rest.trim_start_matches(is_mark);
    let offered = match behind(next, "or") {
        Some(after) => Some(after.trim_start_matches(is_mark)),
        None => rest.trim_start().starts_with('/').then_some(next),
    };
    let is_choice = offered.is_some_and(|offered| behind(offered, words[1 - place]).is_some());
    (!is_choice).then_some(place == 0)
}

/// What comes behind a word at the beginning of a text, whatever its case.
fn behind<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.get(..word.len()).filter(|part| part.eq_ignore_ascii_case(word)).map(|_| &text[word.len()..])?;
    (!rest.starts_with(char::is_alphanumeric)).then_some(rest)
}

/// The number that a text begins with, if it is on the scale. `7/10` is 7 if the scale ends at 10, and nothing otherwise.
pub(crate) fn grade(text: &str, lowest: f64, highest: f64) -> Option<f64> {
    let (number, rest) = leading_number(text)?;
    if let Some(after) = rest.trim_start().strip_prefix('/') {
        let (whole, _) = leading_number(after.trim_start())?;
        if whole.to_bits() != highest.to_bits() {
            return None;
        }
    }
    // `7-8`, `70%` and `7,5` are no grades.
    let digit = |sign: char| sign.is_ascii_digit();
    let is_part =
        rest.starts_with(['-', '–', '%']) || rest.strip_prefix(',').is_some_and(|after| after.starts_with(digit));
    (!is_part && (lowest..=highest).contains(&number)).then_some(number)
}

/// A decimal number and what comes behind it.
fn leading_number(text: &str) -> Option<(f64, &str)> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|sign: char| sign.is_ascii_digit()).len();
    let sign = usize::from(text.starts_with(['-', '+']));
    let whole = digits(&text[sign..]);
    let mut end = sign + whole;
    if let Some(after) = text[end..].strip_prefix('.') {
        let part = digits(after);
        end += if part > 0 { 1 + part } else { 0 };
    }
    let rest = &text[end..];
    let is_number = whole > 0 && !rest.starts_with(char::is_alphanumeric);
    is_number.then(|| text[..end].parse().ok()).flatten().map(|number| (number, rest))
}

/// What most say; none where as many say the one as the other, or nobody says anything.
pub(crate) fn majority(votes: &[bool]) -> Option<bool> {
    let yes = votes.iter().filter(|vote| **vote).count();
    let no = votes.len() - yes;
    (yes != no).then_some(yes > no)
}

/// The mean grade as a share of the scale: 0.0 is the lowest, 1.0 the highest. None without grades.
pub(crate) fn share(grades: &[f64], lowest: f64, highest: f64) -> Option<f64> {
    let mean = grades.iter().sum::<f64>() / grades.len() as f64;
    (!grades.is_empty()).then(|| ((mean - lowest) / (highest - lowest)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_word(text: &str, expected: Option<bool>) {
        let found = verdict_text(text, "Verdict:").and_then(|text| word(text, ["yes", "no"]));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn the_word_behind_the_last_marker_counts() {
        check_word("It fits.\nVerdict: yes", Some(true));
        check_word("verdict: no\nOn second thought, **VERDICT:** **Yes**.", Some(true));
        check_word("Verdict: no, because yes would be wrong", Some(false));
        check_word("No.", Some(false));
        check_word("**yes**", Some(true));
    }

    #[test]
    fn what_is_no_verdict_is_none() {
        for text in ["", "Verdict:", "Verdict: not sure", "Verdict: yesterday", "I would say yes", "Verdict: maybe yes"]
        {
            check_word(text, None);
        }
        for text in [
            "Verdict: yes or no",
            "Verdict: yes/no",
            "Verdict: `yes` or `no`",
            "Verdict: no / yes",
            "Verdict: YES OR NO",
        ] {
            check_word(text, None);
        }
        check_word("Verdict: yes, or nearly so", Some(true));
    }

    #[track_caller]
    fn check_grade(text: &str, expected: Option<f64>) {
        assert_eq!(verdict_text(text, "Score:").and_then(|text| grade(text, 1.0, 10.0)), expected, "{text}");
    }

    #[test]
    fn grades_are_read_and_must_be_on_the_scale() {
        check_grade("Good.\nScore: 7", Some(7.0));
        check_grade("Score: 3 at first\nscore: **7.5**", Some(7.5));
        check_grade("Score: 7/10", Some(7.0));
        check_grade("Score: [[8]]", Some(8.0));
        check_grade("Score: 7.", Some(7.0));
        check_grade("Score: 7, since it is short", Some(7.0));
        check_grade("9", Some(9.0));
        for text in [
            "Score: 11",
            "Score: 0",
            "Score: -3",
            "Score: 7/5",
            "Score: seven",
            "Score: 7th",
            "Score: 7-8",
            "Score: 70%",
            "Score: 7,5",
            "about 7",
            "Score: NaN",
            "Score: .",
        ] {
            check_grade(text, None);
        }
    }

    #[test]
    fn texts_of_any_characters_are_read() {
        check_word("Verdict: ж", None);
        check_word("ÄVerdict: yes ж", Some(true));
        check_grade("Score: 7ж", None);
        assert_eq!(verdict_text("жж yes", "ж"), Some("yes"));
    }

    #[test]
    fn a_majority_is_more_than_half_of_those_who_say_something() {
        assert_eq!(majority(&[true, false, true]), Some(true));
        assert_eq!(majority(&[false]), Some(false));
        assert_eq!(majority(&[true, false]), None);
        assert_eq!(majority(&[]), None);
    }

    #[test]
    fn the_mean_grade_is_a_share_of_the_scale() {
        assert_eq!(share(&[1.0, 10.0], 1.0, 10.0), Some(0.5));
        assert_eq!(share(&[10.0], 1.0, 10.0), Some(1.0));
        assert_eq!(share(&[], 1.0, 10.0), None);
    }
}
