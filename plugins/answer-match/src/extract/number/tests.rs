//! What is read as which number.

use super::*;

/// Checks that a text has exactly these numbers, given as plain decimals or fractions; `%` at the end asks for a percent sign.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = numbers(text);
    assert_eq!(found.len(), expected.len(), "`{text}` has {found:?}");
    let zero = Rational::from_decimal("0").expect("a decimal");
    for (number, expected) in found.iter().zip(expected) {
        let (digits, is_percent) = expected.strip_suffix('%').map_or((*expected, false), |digits| (digits, true));
        let (digits, is_negative) = digits.strip_prefix('-').map_or((digits, false), |digits| (digits, true));
        let (top, bottom) = digits.split_once('/').unwrap_or((digits, "1"));
        let read = |text| Rational::from_decimal(text).expect("a decimal");
        let value = read(top).divided_by(&read(bottom)).expect("a divisor");
        let value = if is_negative { value.negated() } else { value };
        assert!(number.value.is_near(&value, &zero), "`{text}` has {number:?}, not {expected}");
        assert_eq!(number.is_percent, is_percent, "`{text}`");
    }
}

#[test]
fn plain_numbers() {
    check("42", &["42"]);
    check("The answer is 42.", &["42"]);
    check("3.14", &["3.14"]);
    check(".5", &["0.5"]);
    check("5.", &["5"]);
    check("007", &["7"]);
    check("", &[]);
    check("no number", &[]);
    check("4, 5 and 6", &["4", "5", "6"]);
    check("4,5", &["4", "5"]);
}

#[test]
fn thousands_in_groups_of_three() {
    check("$1,234.50", &["1234.50"]);
    check("1 234", &["1234"]);
    check("1\u{202f}234\u{a0}567", &["1234567"]);
    check("1'234", &["1234"]);
    check("1_000_000", &["1000000"]);
    check("1{,}234", &["1234"]);
    check("1\\,234", &["1234"]);
    check("12,34", &["12", "34"]);
    check("1234,567", &["1234", "567"]);
    check("1,234,56", &["1234", "56"]);
    check("12 3456", &["12", "3456"]);
}

#[test]
fn signs() {
    check("-3", &["-3"]);
    check("\u{2212}3", &["-3"]);
    check("+3", &["3"]);
    check("-$5", &["-5"]);
    check("$-5", &["-5"]);
    check("x = -5", &["-5"]);
    check("(-5)", &["-5"]);
    check("7-5", &["7", "5"]);
    check("7 - 5", &["7", "5"]);
    check("3\u{2013}5", &["3", "5"]);
    check("2)-1", &["2", "1"]);
    check("1 -.5", &["1", "-0.5"]);
}

#[test]
fn currencies_and_units() {
    check("42km", &["42"]);
    check("42 km", &["42"]);
    check("€9.99 each", &["9.99"]);
    check("USD5", &["5"]);
    check("$42$", &["42"]);
    check("\\$42", &["42"]);
    check("\\boxed{42}", &["42"]);
    check("**42**", &["42"]);
    check("3rd", &["3"]);
}

#[test]
fn fractions() {
    check("1/2", &["1/2"]);
    check("-1/2", &["-1/2"]);
    check("2 1/2", &["5/2"]);
    check("\\frac{1}{2}", &["1/2"]);
    check("2\\frac{1}{2}", &["5/2"]);
    check("\\dfrac{3}{4}", &["3/4"]);
    check("\\frac{x}{2}", &["2"]);
    check("1/0", &["1", "0"]);
    check("12/05/2024", &["12", "5", "2024"]);
    check("1.5/2", &["3/4"]);
    check("and/or 5", &["5"]);
    check("3/", &["3"]);
}

#[test]
fn exponents() {
    check("1e3", &["1000"]);
    check("1.5E-2", &["0.015"]);
    check("2e+2", &["200"]);
    check("1.5 × 10^3", &["1500"]);
    check("1.5 \\times 10^{-3}", &["0.0015"]);
    check("2*10^2", &["200"]);
    check("3x", &["3"]);
    check("3 x 4", &["3", "4"]);
    check("2e", &["2"]);
    check("1e999999999999", &[]);
    check("1e100000", &[]);
}

#[test]
fn percentages() {
    check("50%", &["50%"]);
    check("50 %", &["50%"]);
    check("50\\%", &["50%"]);
    check("12.5 percent", &["12.5%"]);
}

#[test]
fn names_versions_and_monsters_are_passed_over() {
    check("x2 = 7", &["7"]);
    check("a_1", &[]);
    check("H2O", &[]);
    check("version 1.2.3", &[]);
    check("192.168.0.1 or 7", &["7"]);
    check(&"9".repeat(1000), &[]);
    check("3:45", &["3", "45"]);
}

#[track_caller]
fn check_agreement(answer: &str, gold: &str, tolerance: &str, expected: bool) {
    let [answer, gold] = [answer, gold].map(|text| numbers(text).remove(0));
    assert_eq!(answer.agrees(&gold, &Rational::from_decimal(tolerance).expect("a decimal")), expected);
}

#[test]
fn numbers_agree_by_value() {
    check_agreement("$1,234.50", "1234.5", "0", true);
    check_agreement("0.5", "1/2", "0", true);
    check_agreement("0.30000000000000004", "0.3", "0", false);
    check_agreement("0.33", "1/3", "0.01", true);
    check_agreement("-3", "3", "0", false);
}

#[test]
fn a_percentage_agrees_with_either_reading() {
    check_agreement("50%", "0.5", "0", true);
    check_agreement("50%", "50", "0", true);
    check_agreement("0.5", "50%", "0", true);
    check_agreement("50%", "0.5%", "0", false);
    check_agreement("0.5", "50", "0", false);
}

#[test]
fn no_text_breaks_the_reader() {
    let letters: Vec<char> = "0123456789..,,  --//%$eE+x×^{}\\_'()é".chars().collect();
    let mut state = 1_u64;
    for length in 0..3000 {
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            letters[(state >> 33) as usize % letters.len()]
        };
        let text: String = (0..length % 40).map(|_| letter()).collect();
        for number in numbers(&text) {
            assert!(
                number.agrees(&number, &Rational::from_decimal("0").expect("a decimal")),
                "`{text}` has {number:?}"
            );
        }
    }
}
