//! Which characters of right and wrong code differ, by line and by character, and which tokens hold them.

use std::ops::Range;

use crate::diff::{Change, changes, edits, mark_neighbour};

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparing {
    /// Whether blanks within and after a line's text do not count.
    pub ignores_blanks: bool,
    /// Blocks of more characters than this are not aligned.
    pub longest: usize,
}

/// What of a text differs from another. One entry per character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// The character stands in a line that differs.
    pub lines: Vec<bool>,
    /// The character itself differs.
    pub characters: Vec<bool>,
}

impl Marks {
    /// Of a text that does not differ.
    pub fn none(characters: usize) -> Self {
        Self { lines: vec![false; characters], characters: vec![false; characters] }
    }

    /// Adds what differs from yet another text.
    pub fn add(&mut self, other: &Self) {
        for (own, others) in [(&mut self.lines, &other.lines), (&mut self.characters, &other.characters)] {
            own.iter_mut().zip(others).for_each(|(own, other)| *own |= other);
        }
    }

    /// The share of characters that differ.
    pub fn share(&self) -> f64 {
        self.characters.iter().filter(|mark| **mark).count() as f64 / self.characters.len().max(1) as f64
    }
}

/// Compares two texts; gives the marks of each.
///
/// Lines are compared first. Within a block of lines that others stand in for, the characters are aligned; lines that are only in one text differ as
/// a whole, and in the other one the neighbour of their place is marked.
pub fn compare(left: &[char], right: &[char], comparing: Comparing) -> (Marks, Marks) {
    let (left, right) = (Text::new(left, comparing), Text::new(right, comparing));
    let (mut lefts, mut rights) = (Marks::none(left.characters.len()), Marks::none(right.characters.len()));
    for Change { left: own, right: other } in changes(&left.keys(), &right.keys()) {
        let (own_places, other_places) = (left.places(&own), right.places(&other));
        if own_places.is_empty() && other_places.is_empty() {
            // Lines of blanks alone.
            continue;
        }
        left.mark_lines(&own, &mut lefts.lines);
        right.mark_lines(&other, &mut rights.lines);
        if own.is_empty() {
            put(&other_places, &vec![true; other_places.len()], &mut rights.characters);
            left.mark_neighbour(own.start, &mut lefts.characters);
        } else if other.is_empty() {
            put(&own_places, &vec![true; own_places.len()], &mut lefts.characters);
            right.mark_neighbour(other.start, &mut rights.characters);
        } else {
            let (own_marks, other_marks) = if own_places.len().max(other_places.len()) <= comparing.longest {
                edits(&left.at(&own_places), &right.at(&other_places))
            } else {
                (vec![true; own_places.len()], vec![true; other_places.len()])
            };
            put(&own_places, &own_marks, &mut lefts.characters);
            put(&other_places, &other_marks, &mut rights.characters);
        }
    }
    (lefts, rights)
}

fn put(places: &[usize], marks: &[bool], all: &mut [bool]) {
    for (place, mark) in places.iter().zip(marks) {
        all[*place] |= mark;
    }
}

/// A text, its lines, and which of its characters count.
struct Text<'a> {
    characters: &'a [char],
    /// Each line with its line break.
    lines: Vec<Range<usize>>,
    counts: Vec<bool>,
}

impl<'a> Text<'a> {
    fn new(characters: &'a [char], comparing: Comparing) -> Self {
        let (mut lines, mut start) = (Vec::new(), 0);
        for line in characters.split_inclusive(|letter| *letter == '\n') {
            lines.push(start..start + line.len());
            start += line.len();
        }
        let mut counts = vec![true; characters.len()];
        if comparing.ignores_blanks {
            for line in &lines {
                let text = &characters[line.clone()];
                let indentation = text.iter().take_while(|letter| letter.is_whitespace() && **letter != '\n').count();
                for place in line.clone().skip(indentation) {
                    counts[place] = !characters[place].is_whitespace();
                }
                // A line of blanks alone has no indentation that could matter.
                if text.iter().all(|letter| letter.is_whitespace()) {
                    counts[line.clone()].fill(false);
                }
            }
        }
        Self { characters, lines, counts }
    }

    /// Each line as it is compared: its characters that count.
    fn keys(&self) -> Vec<String> {
        (0..self.lines.len()).map(|line| self.at(&self.places(&(line..line + 1))).into_iter().collect()).collect()
    }

    /// The places of the characters of these lines that count.
    fn places(&self, lines: &Range<usize>) -> Vec<usize> {
        self.lines[lines.clone()].iter().flat_map(Clone::clone).filter(|place| self.counts[*place]).collect()
    }

    fn at(&self, places: &[usize]) -> Vec<char> {
        places.iter().map(|place| self.characters[*place]).collect()
    }

    fn mark_lines(&self, lines: &Range<usize>, marks: &mut [bool]) {
        for place in self.places(lines) {
            marks[place] = true;
        }
    }

    /// Marks the first character that counts from this line on, or the last one of the text.
    fn mark_neighbour(&self, line: usize, marks: &mut [bool]) {
        let all = self.places(&(0..self.lines.len()));
        let start = self.lines.get(line).map_or(self.characters.len(), |line| line.start);
        let next = all.partition_point(|place| *place < start);
        let mut own = vec![false; all.len()];
        mark_neighbour(&mut own, next);
        put(&all, &own, marks);
    }
}

/// Whether any marked character lies in a token's range of characters.
pub fn overlaps(marks: &[bool], span: &Range<usize>) -> bool {
    marks.get(span.start..span.end.min(marks.len())).is_some_and(|own| own.contains(&true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Comparing = Comparing { ignores_blanks: true, longest: 2000 };

    fn letters(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    /// Compares right with wrong code: the marks of both, one letter per character: `=` for a line that differs, `^` for a character, `.` for neither.
    #[track_caller]
    fn check(comparing: Comparing, right: &str, wrong: &str, expected: &str, others: &str) {
        let show = |marks: &Marks| -> String {
            let letter = |(line, character): (&bool, &bool)| {
                if *character {
                    '^'
                } else if *line {
                    '='
                } else {
                    '.'
                }
            };
            marks.lines.iter().zip(&marks.characters).map(letter).collect()
        };
        let (marks, other) = compare(&letters(right), &letters(wrong), comparing);
        assert_eq!((show(&marks), show(&other)), (expected.into(), others.into()), "{right:?} and {wrong:?}");
    }

    #[test]
    fn a_changed_line_is_marked_and_in_it_the_characters_that_differ() {
        let marks = "..........==========.=.^.=.";
        check(PLAIN, "def f(a):\n    return a + 1\n", "def f(a):\n    return a - 1\n", marks, marks);
    }

    #[test]
    fn equal_texts_have_no_marks() {
        check(PLAIN, "a\nb", "a\nb", "...", "...");
        check(PLAIN, "", "", "", "");
    }

    #[test]
    fn a_missing_line_marks_all_of_it_and_elsewhere_the_neighbour_of_its_place() {
        check(PLAIN, "a\nbc\nd", "a\nd", "..^^..", "..^");
        check(PLAIN, "a\nd", "a\nbc\nd", "..^", "..^^..");
        // At the end there is nothing behind the place.
        check(PLAIN, "a\nd", "a\nd\nbc", "..^", "....^^");
    }

    #[test]
    fn blanks_do_not_count_but_indentation_does() {
        check(PLAIN, "a=b+1", "a = b + 1  ", ".....", "...........");
        check(PLAIN, "if a:\n  b\n  c", "if a:\n  b\nc", "..........^^=", "..........^");
        let strict = Comparing { ignores_blanks: false, ..PLAIN };
        check(strict, "a=b", "a =b", "=^=", "=^==");
        check(PLAIN, "a\n\nb", "a\nb", "....", "...");
    }

    #[test]
    fn a_block_that_is_too_long_differs_as_a_whole() {
        let short = Comparing { longest: 3, ..PLAIN };
        check(short, "abcd", "abce", "^^^^", "^^^^");
        check(short, "abc", "abe", "==^", "==^");
    }

    #[test]
    fn marks_of_several_variants_add_up() {
        let right = letters("a+b\nc");
        let mut marks = Marks::none(5);
        for wrong in ["a-b\nc", "a+b\nd"] {
            marks.add(&compare(&right, &letters(wrong), PLAIN).0);
        }
        assert_eq!(marks.characters, [false, true, false, false, true]);
        assert_eq!(marks.lines, [true, true, true, false, true]);
        assert!((marks.share() - 0.4).abs() < 1e-12);
    }

    #[test]
    fn a_token_is_marked_if_it_holds_a_marked_character() {
        let marks = [false, true, false];
        assert!(overlaps(&marks, &(0..2)) && overlaps(&marks, &(1..2)));
        assert!(!overlaps(&marks, &(0..1)) && !overlaps(&marks, &(2..3)));
        // The end token stands for nothing; a range beyond the text is no token of it.
        assert!(!overlaps(&marks, &(1..1)) && !overlaps(&marks, &(3..3)) && !overlaps(&marks, &(5..9)));
    }
}
