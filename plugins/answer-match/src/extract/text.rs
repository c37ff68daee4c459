//! Short texts: what follows a marker, and what is compared.

/// What follows each occurrence of `marker`, ASCII letters in any case, up to the next one, in order.
pub(super) fn after_each<'a>(text: &'a str, marker: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut rest = after_first(text, marker).map(|(_, rest)| rest);
    while let Some(part) = rest {
        let next = after_first(part, marker);
        parts.push(next.map_or(part, |(before, _)| before));
        rest = next.map(|(_, after)| after);
    }
    parts
}

/// What is before and after the first occurrence of `marker`.
fn after_first<'a>(text: &'a str, marker: &str) -> Option<(&'a str, &'a str)> {
    text.char_indices().find_map(|(start, _)| {
        let end = start + marker.len();
        let is_there = text.get(start..end).is_some_and(|part| part.eq_ignore_ascii_case(marker));
        is_there.then(|| (&text[..start], &text[end..]))
    })
}

/// A text as it is compared: one space between words, without case and punctuation if they do not count.
pub(super) fn plain(text: &str, folds_case: bool, strips_punctuation: bool) -> String {
    let is_kept = |letter: &char| !(strips_punctuation && is_punctuation(*letter));
    let kept: String = text.chars().filter(is_kept).collect();
    let folded = if folds_case { kept.to_lowercase() } else { kept };
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Punctuation of ASCII, and the quotes, dashes and dots of other keyboards.
fn is_punctuation(letter: char) -> bool {
    letter.is_ascii_punctuation() || matches!(letter, '\u{2010}'..='\u{2027}' | '«' | '»' | '¿' | '¡' | '、' | '。')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_in_any_case_and_each_time() {
        assert_eq!(after_each("The Answer is 4, ANSWER IS 5", "answer is"), [" 4, ", " 5"]);
        assert_eq!(after_each("é#### 4", "####"), [" 4"]);
        assert_eq!(after_each("none", "####"), [""; 0]);
        assert_eq!(after_each("#########", "####"), ["", "#"]);
    }

    #[test]
    fn texts_are_compared_without_what_does_not_count() {
        assert_eq!(plain("  The  “Eiffel”\tTower. ", true, true), "the eiffel tower");
        assert_eq!(plain("U.S.A.", true, true), "usa");
        assert_eq!(plain("U.S.A.", false, false), "U.S.A.");
        assert_eq!(plain("ÉCOLE", true, true), "école");
        assert_eq!(plain("...", true, true), "");
    }
}
