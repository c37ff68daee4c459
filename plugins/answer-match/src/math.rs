//! Exact numbers: natural numbers of any size, and fractions of them.

use std::cmp::Ordering;

/// The base of a limb: nine decimal digits.
const BASE: u64 = 1_000_000_000;

/// The most digits, and the largest exponent of ten, that a number may be written with. Longer ones are no answers, and would cost time.
const MOST: usize = 400;

/// A natural number, as limbs of nine decimal digits, lowest first, without zeros at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Natural(Vec<u32>);

impl Natural {
    /// Reads decimal digits; none if there is anything else.
    fn from_digits(digits: &str) -> Option<Self> {
        let limbs = digits.as_bytes().rchunks(9).map(|chunk| std::str::from_utf8(chunk).ok()?.parse().ok());
        let limbs = limbs.collect::<Option<Vec<u32>>>()?;
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| Self::trimmed(limbs))
    }

    fn trimmed(mut limbs: Vec<u32>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self(limbs)
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&self, other: &Self) -> Self {
        let mut carry = 0;
        let length = self.0.len().max(other.0.len()) + 1;
        let limb = |limbs: &[u32], at: usize| u64::from(limbs.get(at).copied().unwrap_or(0));
        let sum = (0..length).map(|at| {
            let sum = limb(&self.0, at) + limb(&other.0, at) + carry;
            carry = sum / BASE;
            (sum % BASE) as u32
        });
        Self::trimmed(sum.collect())
    }

    /// The distance between the two.
    fn distance(&self, other: &Self) -> Self {
        let (large, small) = if self < other { (other, self) } else { (self, other) };
        let mut borrow = 0;
        let difference = large.0.iter().enumerate().map(|(at, &limb)| {
            let taken = u64::from(small.0.get(at).copied().unwrap_or(0)) + borrow;
            borrow = u64::from(u64::from(limb) < taken);
            (u64::from(limb) + borrow * BASE - taken) as u32
        });
        Self::trimmed(difference.collect())
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = vec![0; self.0.len() + other.0.len()];
        for (low, &left) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (high, &right) in other.0.iter().chain(&[0]).enumerate().take(product.len() - low) {
                let sum = u64::from(product[low + high]) + u64::from(left) * u64::from(right) + carry;
                product[low + high] = (sum % BASE) as u32;
                carry = sum / BASE;
            }
        }
        Self::trimmed(product)
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// A fraction; its denominator is not zero.
#[derive(Debug, Clone)]
pub(crate) struct Rational {
    is_negative: bool,
    numerator: Natural,
    denominator: Natural,
}

impl Rational {
    /// Reads digits with at most one point, such as `12`, `0.5` or `.5`; none if the text is anything else or too long.
    pub(crate) fn from_decimal(text: &str) -> Option<Self> {
        Self::from_scientific(text, 0)
    }

    /// Reads digits with at most one point, times ten to the power of `exponent`.
    pub(crate) fn from_scientific(text: &str, exponent: i32) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{fraction}");
        let shift = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
        let zeros = usize::try_from(shift.unsigned_abs()).ok()?;
        if digits.is_empty() || MOST < digits.len() || MOST < zeros {
            return None;
        }
        let power = format!("1{}", "0".repeat(zeros));
        let (numerator, denominator) = (Natural::from_digits(&digits)?, Natural::from_digits(&power)?);
        let one = Natural(vec![1]);
        let (numerator, denominator) =
            if shift < 0 { (numerator, denominator) } else { (numerator.times(&denominator), one) };
        Some(Self { is_negative: false, numerator, denominator })
    }

    /// The negative.
    pub(crate) fn negated(mut self) -> Self {
        self.is_negative = !self.is_negative;
        self
    }

    /// The quotient; none if `divisor` is zero.
    pub(crate) fn divided_by(&self, divisor: &Self) -> Option<Self> {
        (!divisor.numerator.is_zero()).then(|| Self {
            is_negative: self.is_negative != divisor.is_negative,
            numerator: self.numerator.times(&divisor.denominator),
            denominator: self.denominator.times(&divisor.numerator),
        })
    }

    /// The sum of two numbers that are not negative.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let (left, right) = self.crossed(other);
        Self {
            is_negative: false,
            numerator: left.add(&right),
            denominator: self.denominator.times(&other.denominator),
        }
    }

    /// Both numerators over the common denominator.
    fn crossed(&self, other: &Self) -> (Natural, Natural) {
        (self.numerator.times(&other.denominator), other.numerator.times(&self.denominator))
    }

    /// Whether the two are at most `tolerance` apart.
    pub(crate) fn is_near(&self, other: &Self, tolerance: &Self) -> bool {
        let (left, right) = self.crossed(other);
        let distance = if self.is_negative == other.is_negative { left.distance(&right) } else { left.add(&right) };
        let denominator = self.denominator.times(&other.denominator);
        distance.times(&tolerance.denominator) <= tolerance.numerator.times(&denominator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Rational {
        let (sign, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (top, bottom) = digits.split_once('/').unwrap_or((digits, "1"));
        let read = |text| Rational::from_decimal(text).expect("a decimal");
        let value = read(top).divided_by(&read(bottom)).expect("a divisor");
        if sign { value.negated() } else { value }
    }

    #[track_caller]
    fn check(left: &str, right: &str, tolerance: &str, expected: bool) {
        assert_eq!(number(left).is_near(&number(right), &number(tolerance)), expected);
        assert_eq!(number(right).is_near(&number(left), &number(tolerance)), expected);
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        check("0.5", "1/2", "0", true);
        check("007", "7.00", "0", true);
        check("-0", "0", "0", true);
        check("2/6", "1/3", "0", true);
        check("1/3", "0.333", "0", false);
        check("3", "-3", "0", false);
    }

    #[test]
    fn sums_of_decimals_are_exact() {
        let sum = number("0.1").plus(&number("0.2"));
        assert!(sum.is_near(&number("0.3"), &number("0")));
    }

    #[test]
    fn numbers_of_any_size_are_exact() {
        check("123456789012345678901234567890", "123456789012345678901234567891", "0", false);
        check("123456789012345678901234567890", "123456789012345678901234567891", "1", true);
        check("1000000000", "999999999", "0", false);
        check("0.000000000000000000001", "0", "0", false);
    }

    #[test]
    fn a_tolerance_is_a_largest_distance() {
        check("3.14", "3.15", "0.01", true);
        check("3.14", "3.1501", "0.01", false);
        check("-0.004", "0.005", "0.009", true);
        check("-0.005", "0.005", "0.009", false);
    }

    #[test]
    fn exponents_shift_the_point() {
        let read = |text, exponent| Rational::from_scientific(text, exponent).expect("a number");
        assert!(read("1.5", 3).is_near(&number("1500"), &number("0")));
        assert!(read("25", -2).is_near(&number("0.25"), &number("0")));
        assert!(read("0.001", 3).is_near(&number("1"), &number("0")));
    }

    #[test]
    fn what_would_take_long_is_no_number() {
        assert!(Rational::from_scientific("1", 1_000_000_000).is_none());
        assert!(Rational::from_scientific("1", i32::MIN).is_none());
        assert!(Rational::from_decimal(&"9".repeat(401)).is_none());
        assert!(Rational::from_decimal("").is_none());
        assert!(Rational::from_decimal("1.2.3").is_none());
        assert!(Rational::from_decimal("1x").is_none());
        assert!(number("1").divided_by(&number("0")).is_none());
    }

    #[test]
    fn products_carry_across_limbs() {
        check("999999999999999999", "999999999999999999", "0", true);
        let nines = number("999999999999999999");
        let square = nines.divided_by(&number("1/999999999999999999")).expect("a divisor");
        assert!(square.is_near(&number("999999999999999998000000000000000001"), &number("0")));
    }
}
