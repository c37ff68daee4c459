//! Numbers as people and models write them.

use crate::math::Rational;

/// A number, and whether a percent sign follows it.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    value: Rational,
    is_percent: bool,
}

impl Number {
    /// Whether two numbers are at most `tolerance` apart. If only one is in percent, either reading of it may agree: 50% is 50 and is 0.5.
    pub(super) fn agrees(&self, gold: &Self, tolerance: &Rational) -> bool {
        let as_share =
            |number: &Self| Rational::from_decimal("100").and_then(|hundred| number.value.divided_by(&hundred));
        self.value.is_near(&gold.value, tolerance)
            || match (self.is_percent, gold.is_percent) {
                (true, false) => as_share(self).is_some_and(|share| share.is_near(&gold.value, tolerance)),
                (false, true) => as_share(gold).is_some_and(|share| share.is_near(&self.value, tolerance)),
                _ => false,
            }
    }
}

/// All numbers of a text, in order.
///
/// Read are signs, currencies, thousands in groups of three (`1,234`, `1 234`, `1'234`, `1_234`), decimals, fractions (`1/2`, `2 1/2`, `\frac{1}{2}`),
/// exponents (`1e3`, `1.5 × 10^3`), percent signs and glued units (`42km`). Passed over are names (`x2`), versions (`1.2.3`), and what is too long.
pub(super) fn numbers(text: &str) -> Vec<Number> {
    let letters = simplified(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let scan = Scan { letters: &letters };
        if !scan.starts_number(at) {
            at += 1;
        } else if scan.is_name(at) {
            at = scan.end_of(at + 1, char::is_alphanumeric);
        } else {
            let (number, end) = scan.number(at);
            found.extend(number);
            at = end;
        }
    }
    found
}

/// A text in plain characters: LaTeX spacing and fractions, other minus signs, spaces and digits are replaced.
fn simplified(text: &str) -> Vec<char> {
    let mut text = text.to_owned();
    for (from, to) in [
        ("{,}", ","),
        ("\\,", ""),
        ("\\!", ""),
        ("\\$", "$"),
        ("\\%", "%"),
        ("\\times", "×"),
        ("\\cdot", "×"),
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
    ] {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    let plain = |letter| match letter {
        '\u{2212}' | '\u{2010}' | '\u{2011}' | '\u{2013}' | '\u{fe63}' | '\u{ff0d}' => '-',
        '\u{a0}' | '\u{2009}' | '\u{202f}' => ' ',
        '\u{ff10}'..='\u{ff19}' => char::from(b'0' + (letter as u32 - 0xff10) as u8),
        '’' => '\'',
        '·' | '⋅' | '*' => '×',
        other => other,
    };
    unfolded(&text).chars().map(plain).collect()
}

/// A text with ` 1/2` for `\frac{1}{2}`.
fn unfolded(text: &str) -> String {
    let mut parts = text.split("\\frac{");
    let mut unfolded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let fraction = part.split_once("}{").and_then(|(top, rest)| Some((top, rest.split_once('}')?)));
        match fraction.filter(|(top, (bottom, _))| is_digits(top) && is_digits(bottom)) {
            Some((top, (bottom, rest))) => {
                if unfolded.ends_with(|letter: char| letter.is_ascii_digit()) {
                    unfolded.push(' ');
                }
                unfolded.extend([top, "/", bottom, rest]);
            }
            None => unfolded.extend(["\\frac{", part]),
        }
    }
    unfolded
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit())
}

/// Looks at a text from given places.
struct Scan<'a> {
    letters: &'a [char],
}

impl Scan<'_> {
    fn letter(&self, at: usize) -> Option<char> {
        self.letters.get(at).copied()
    }

    /// All letters from `at`, which may lie behind the end.
    fn rest(&self, at: usize) -> &[char] {
        self.letters.get(at..).unwrap_or_default()
    }

    fn is_digit(&self, at: usize) -> bool {
        self.letter(at).is_some_and(|letter| letter.is_ascii_digit())
    }

    fn before(&self, at: usize) -> Option<char> {
        at.checked_sub(1).and_then(|before| self.letter(before))
    }

    /// Where the run of letters from `at` that are such ends.
    fn end_of(&self, at: usize, is_such: impl Fn(char) -> bool) -> usize {
        let run = self.rest(at).iter().take_while(|letter| is_such(**letter)).count();
        at + run
    }

    fn digits(&self, at: usize) -> (String, usize) {
        let end = self.end_of(at, |letter| letter.is_ascii_digit());
        (self.rest(at)[..end - at].iter().collect(), end)
    }

    fn starts_number(&self, at: usize) -> bool {
        self.is_digit(at)
            || (self.letter(at) == Some('.')
                && self.is_digit(at + 1)
                && !self.before(at).is_some_and(char::is_alphanumeric))
    }

    /// Whether the digits at `at` belong to a name: `x2` or `a_1`, but not `USD5`.
    fn is_name(&self, at: usize) -> bool {
        let word = self.letters[..at].iter().rev().take_while(|letter| letter.is_alphabetic()).count();
        self.before(at) == Some('_') || word == 1
    }

    /// Whether a minus sign belongs to the number that starts at `at`: right before it or its currency, and not after an operand.
    fn is_negative(&self, at: usize) -> bool {
        let currency = self.letters[..at].iter().rev().take_while(|letter| is_currency(**letter)).count();
        let sign = at - currency;
        let is_operand = |letter: char| letter.is_alphanumeric() || matches!(letter, ')' | ']' | '}' | '%');
        self.before(sign) == Some('-') && !self.before(sign - 1).is_some_and(is_operand)
    }

    /// The number that starts at `at`, none if it is no usable one, and where it ends.
    fn number(&self, at: usize) -> (Option<Number>, usize) {
        let (text, end) = self.decimal(at);
        if self.letter(end) == Some('.') && self.is_digit(end + 1) && text.contains('.') {
            return (None, self.end_of(end, |letter| letter == '.' || letter.is_ascii_digit()));
        }
        let (exponent, end) = self.exponent(end).map_or((Some(0), end), |(exponent, end)| (exponent, end));
        let value = exponent.and_then(|exponent| Rational::from_scientific(&text, exponent));
        let (value, end) = value.map_or((None, end), |value| {
            let follows_slash =
                self.before(at) == Some('/') && at.checked_sub(2).is_some_and(|before| self.is_digit(before));
            let (value, end) = if follows_slash { (value, end) } else { self.fraction(value, end) };
            (Some(value), end)
        });
        let (is_percent, end) = self.percent(end);
        let value = value.map(|value| if self.is_negative(at) { value.negated() } else { value });
        (value.map(|value| Number { value, is_percent }), end)
    }

    /// Digits with grouped thousands and decimals, without the separators.
    fn decimal(&self, at: usize) -> (String, usize) {
        let (mut text, mut end) = self.digits(at);
        if let Some(separator @ (',' | ' ' | '\'' | '_')) = self.letter(end).filter(|_| (1..=3).contains(&text.len())) {
            while self.letter(end) == Some(separator) && self.digits(end + 1).0.len() == 3 {
                text.push_str(&self.digits(end + 1).0);
                end += 4;
            }
        }
        if self.letter(end) == Some('.') && self.is_digit(end + 1) {
            let (decimals, after) = self.digits(end + 1);
            (text, end) = (format!("{text}.{decimals}"), after);
        }
        (text, end)
    }

    /// The exponent of ten at `at`, none if it is too large, and where it ends; none if there is none.
    fn exponent(&self, at: usize) -> Option<(Option<i32>, usize)> {
        let start = if matches!(self.letter(at), Some('e' | 'E')) {
            at + 1
        } else {
            let sign = self.end_of(at, |letter| letter == ' ');
            let ten = self.end_of(sign + 1, |letter| letter == ' ');
            let is_power = matches!(self.letter(sign), Some('×' | 'x')) && self.rest(ten).starts_with(&['1', '0', '^']);
            is_power.then(|| self.end_of(ten + 3, |letter| letter == '{'))?
        };
        let is_negative = self.letter(start) == Some('-');
        let first = start + usize::from(matches!(self.letter(start), Some('-' | '+')));
        let (digits, end) = self.digits(first);
        let is_glued = self.letter(end).is_some_and(char::is_alphanumeric);
        let end = end + usize::from(self.letter(end) == Some('}'));
        let value = digits.parse::<i32>().ok().map(|value| if is_negative { -value } else { value });
        (!digits.is_empty() && !is_glued).then_some((value, end))
    }

    /// A fraction that the whole `value` is the top of, or that follows it; else the value itself. Then where it ends.
    fn fraction(&self, value: Rational, end: usize) -> (Rational, usize) {
        if let Some((bottom, after)) = self.bottom(end) {
            return value.divided_by(&bottom).map_or((value, end), |quotient| (quotient, after));
        }
        if self.letter(end) == Some(' ') && self.is_digit(end + 1) {
            let (top, slash) = self.digits(end + 1);
            let mixed = self.bottom(slash).and_then(|(bottom, after)| {
                let part = Rational::from_decimal(&top)?.divided_by(&bottom)?;
                Some((value.plus(&part), after))
            });
            return mixed.unwrap_or((value, end));
        }
        (value, end)
    }

    /// The bottom of a fraction whose slash is at `at`; none in a date such as `1/2/2024`.
    fn bottom(&self, at: usize) -> Option<(Rational, usize)> {
        let is_fraction = self.letter(at) == Some('/') && self.is_digit(at + 1);
        let (text, end) = is_fraction.then(|| self.decimal(at + 1))?;
        let is_date = self.letter(end) == Some('/') && self.is_digit(end + 1);
        Some((Rational::from_decimal(&text).filter(|_| !is_date)?, end))
    }

    fn percent(&self, at: usize) -> (bool, usize) {
        let sign = self.end_of(at, |letter| letter == ' ');
        let word: String = self.rest(sign).iter().take(7).collect();
        match self.letter(sign) {
            Some('%') => (true, sign + 1),
            _ if word.eq_ignore_ascii_case("percent") => (true, sign + 7),
            _ => (false, at),
        }
    }
}

fn is_currency(letter: char) -> bool {
    matches!(letter, '$' | '€' | '£' | '¥' | '₹')
}

#[cfg(test)]
mod tests;
