//! How texts are cut into words. Numbers move with it, so it is what the usual tools do to the letter.

/// The words of a text as `mteval-v13a.pl` and sacreBLEU's `13a` cut it.
pub fn words_13a(text: &str) -> Vec<String> {
    let mut text = text.trim_end_matches(is_blank).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (name, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(name, character);
    }
    let spaced: Vec<char> = [' '].into_iter().chain(text.chars()).chain([' ']).collect();
    let signs = spaced.into_iter().flat_map(|it| if is_sign(it) { vec![' ', it, ' '] } else { vec![it] });
    let is_point = |it: char| matches!(it, '.' | ',');
    let is_digit = |it: char| it.is_ascii_digit();
    let cut = spread(&signs.collect::<Vec<_>>(), |a, b| (!is_digit(a) && is_point(b)).then(|| vec![a, ' ', b, ' ']));
    let cut = spread(&cut, |a, b| (is_point(a) && !is_digit(b)).then(|| vec![' ', a, ' ', b]));
    let cut = spread(&cut, |a, b| (is_digit(a) && b == '-').then(|| vec![a, ' ', b, ' ']));
    let text: String = cut.into_iter().collect();
    text.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The words of a text as the package `rouge-score` cuts it: runs of the letters a to z and digits.
pub fn words_rouge(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|it: char| !(it.is_ascii_lowercase() || it.is_ascii_digit()));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Blanks as Python has them: Unicode's, and four separators of ASCII.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// A sign that is a word wherever it stands: all of ASCII but apostrophes, commas, dashes and points.
fn is_sign(character: char) -> bool {
    matches!(character, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/')
}

/// Replaces pairs of neighbours from the left; what belonged to one pair is in no other.
fn spread(text: &[char], pair: impl Fn(char, char) -> Option<Vec<char>>) -> Vec<char> {
    let (mut found, mut at) = (Vec::with_capacity(text.len() * 2), 0);
    while at < text.len() {
        if let Some(new) = text.get(at + 1).and_then(|next| pair(text[at], *next)) {
            found.extend(new);
            at += 2;
        } else {
            found.push(text[at]);
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_words_and_points_in_numbers_are_not() {
        let check = |text: &str, expected: &str| assert_eq!(words_13a(text).join(" "), expected);
        check("Hello, world!", "Hello , world !");
        check("It's $1,000.50.", "It's $ 1,000.50 .");
        check("1990-1995, a-b", "1990 - 1995 , a-b");
        check("a &amp;lt; b", "a < b");
        check("...", ". . .");
        check(" \n", "");
    }

    #[test]
    fn rouge_has_letters_and_digits_only() {
        assert_eq!(words_rouge("It's 3.5 \u{e9}T\u{c9}!").join(" "), "it s 3 5 t");
    }
}
