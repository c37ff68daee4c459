//! Text for people: escapes for what plugins say, hints for misspelt words.

/// Bytes of the longest name of a metric, reason or provenance.
const NAME_BYTES: usize = 200;

/// A name, a reason, a provenance: short, and harmless in a terminal.
pub(crate) fn name(text: &str) -> String {
    escape(text, NAME_BYTES)
}

/// The text without characters that steer a terminal or turn the reading direction, in about `limit` bytes at most.
///
/// What is left out is told by `...`, which may come on top of the limit.
pub(crate) fn escape(text: &str, limit: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(limit) + 3);
    for character in text.chars() {
        let before = safe.len();
        match character {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push(' '),
            _ if is_harmful(character) => safe.extend(character.escape_unicode()),
            _ => safe.push(character),
        }
        if limit < safe.len() {
            safe.truncate(before);
            safe.push_str("...");
            break;
        }
    }
    safe
}

fn is_harmful(character: char) -> bool {
    let is_invisible = matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    character.is_control() || is_invisible
}

/// `did you mean ...?` if a known word is close, and the list of all known words.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if known.is_empty() {
        return "there are none".into();
    }
    let closest = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min();
    let list = known.iter().map(|candidate| format!("`{candidate}`")).collect::<Vec<_>>().join(", ");
    match closest {
        Some((far, candidate)) if far <= 1 + candidate.len() / 4 => {
            format!("did you mean `{candidate}`? known are {list}")
        }
        _ => format!("known are {list}"),
    }
}

/// The number of single-character insertions, deletions and replacements between two words (Levenshtein 1966).
fn distance(left: &str, right: &str) -> usize {
    // A hostile manifest may hold words of any length; nobody needs a hint for those.
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown_not_obeyed() {
        assert_eq!(escape("\u{1b}[31mred\u{9b}0m\nnext\u{202e}", 100), "\\u{1b}[31mred\\u{9b}0m\\nnext\\u{202e}");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(escape("ääää", 5), "ää...");
    }

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn far_words_get_no_suggestion() {
        assert_eq!(hint("zzzzzz", ["alpha"]), "known are `alpha`");
    }
}
