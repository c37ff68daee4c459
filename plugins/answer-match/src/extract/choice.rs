//! Letters of choices.

/// All choices that a text names, in order: characters of `choices` that stand alone, in the case of `choices`.
///
/// A letter stands alone if neither neighbour is a letter or digit. A letter that a lower-case word follows is an article or a pronoun,
/// `A cat` or `I think`, unless brackets, a point or a colon mark it. A letter of the other case counts only in brackets: `(b)`, `b)`.
pub(super) fn choices(text: &str, choices: &str) -> Vec<char> {
    let letters: Vec<char> = text.chars().collect();
    let is_only = letters.iter().filter(|letter| letter.is_alphanumeric()).count() == 1;
    (0..letters.len()).filter_map(|at| choice_at(&letters, at, choices, is_only)).collect()
}

/// The choice at `at`, if there is one; `is_only` says that the text has no other letter or digit.
fn choice_at(letters: &[char], at: usize, choices: &str, is_only: bool) -> Option<char> {
    let letter = letters[at];
    let same = |choice: &char| *choice == letter || choice.to_lowercase().eq(letter.to_lowercase());
    let choice = choices.chars().find(|choice| *choice == letter).or_else(|| choices.chars().find(same))?;
    let before = at.checked_sub(1).map(|before| letters[before]);
    let after = letters.get(at + 1).copied();
    let joins = |neighbour: Option<char>| {
        neighbour.is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '\'' | '’' | '_'))
    };
    if joins(before) || joins(after) {
        return None;
    }
    let is_bracketed = matches!(after, Some(')' | ']' | '}'));
    let is_word =
        after == Some(' ') && letters.get(at + 2).is_some_and(|next| next.is_lowercase()) && letter.is_alphabetic();
    let counts = is_bracketed || is_only || (choice == letter && !is_word);
    counts.then_some(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(choices(text, "ABCD").into_iter().collect::<String>(), expected, "{text}");
    }

    #[test]
    fn letters_that_stand_alone_are_choices() {
        check("B", "B");
        check("b", "B");
        check("The answer is C.", "C");
        check("(B)", "B");
        check("**D**", "D");
        check("\\boxed{A}", "A");
        check("Answer: B) Paris", "B");
        check("A: no, B: yes", "AB");
        check("it is (b)", "B");
        check("A\nbecause of it", "A");
    }

    #[test]
    fn letters_of_words_are_none() {
        check("A cat sat", "");
        check("Bad", "");
        check("vitamin B12", "");
        check("D'accord", "");
        check("plan b is out", "");
        check("E", "");
        check("", "");
    }

    #[test]
    fn digits_can_be_choices() {
        assert_eq!(choices("Option 3 is it, not 13", "1234"), ['3']);
    }
}
