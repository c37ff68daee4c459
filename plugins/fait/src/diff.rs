//! Differences of two sequences: of lines as Python's `difflib` finds them, of characters by the fewest edits.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// A stretch of `left` and the stretch of `right` that stands in its place. One of them may be empty, not both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where in `left`.
    pub left: Range<usize>,
    /// Where in `right`.
    pub right: Range<usize>,
}

/// What differs, in order: the opcodes of `difflib.SequenceMatcher(None, left, right, autojunk=False)` other than `equal`.
pub fn changes<T: Eq + Hash>(left: &[T], right: &[T]) -> Vec<Change> {
    let mut places: HashMap<&T, Vec<usize>> = HashMap::new();
    for (place, item) in right.iter().enumerate() {
        places.entry(item).or_default().push(place);
    }
    let mut matches = Vec::new();
    let mut todo = vec![(0..left.len(), 0..right.len())];
    while let Some((own, other)) = todo.pop() {
        let (at, there, size) = longest_match(left, &places, &own, &other);
        if size == 0 {
            continue;
        }
        matches.push((at, there, size));
        todo.push((own.start..at, other.start..there));
        todo.push((at + size..own.end, there + size..other.end));
    }
    matches.sort_unstable();
    matches.push((left.len(), right.len(), 0));
    let (mut changes, mut at, mut there) = (Vec::new(), 0, 0);
    for (start, other, size) in matches {
        if at < start || there < other {
            changes.push(Change { left: at..start, right: there..other });
        }
        (at, there) = (start + size, other + size);
    }
    changes
}

/// The longest stretch that both ranges have in common, the first one in `left` and then in `right` among equals: where it starts, and its length.
fn longest_match<T: Eq + Hash>(
    left: &[T],
    places: &HashMap<&T, Vec<usize>>,
    own: &Range<usize>,
    other: &Range<usize>,
) -> (usize, usize, usize) {
    let mut best = (own.start, other.start, 0);
    // The length of the match that ends at the line before, by its place in `right`.
    let mut before: HashMap<usize, usize> = HashMap::new();
    for at in own.clone() {
        let mut now = HashMap::new();
        let there = places.get(&left[at]).map_or(&[][..], Vec::as_slice);
        for &place in there.iter().filter(|place| other.contains(place)) {
            let size = 1 + place.checked_sub(1).and_then(|place| before.get(&place)).copied().unwrap_or(0);
            now.insert(place, size);
            if best.2 < size {
                best = (at + 1 - size, place + 1 - size, size);
            }
        }
        before = now;
    }
    best
}

/// Which items differ under an alignment with the fewest replacements, insertions and deletions (Levenshtein).
///
/// An item of either side is true if it is replaced or stands alone. Where items of one side stand alone, nothing of the other side differs, so
/// its neighbour is marked in their place: the next item, or at the end the last one. Among alignments of equal cost the one that keeps items
/// towards the end together is taken.
pub fn edits<T: Eq>(left: &[T], right: &[T]) -> (Vec<bool>, Vec<bool>) {
    let (rows, columns) = (left.len(), right.len());
    let width = columns + 1;
    let mut cost = vec![0_u32; (rows + 1) * width];
    for (column, cost) in cost.iter_mut().take(width).enumerate() {
        *cost = column as u32;
    }
    for row in 1..=rows {
        cost[row * width] = row as u32;
        for column in 1..=columns {
            let replaced = cost[(row - 1) * width + column - 1] + u32::from(left[row - 1] != right[column - 1]);
            let alone = cost[(row - 1) * width + column].min(cost[row * width + column - 1]) + 1;
            cost[row * width + column] = replaced.min(alone);
        }
    }
    let (mut lefts, mut rights) = (vec![false; rows], vec![false; columns]);
    let (mut row, mut column) = (rows, columns);
    while 0 < row || 0 < column {
        let here = cost[row * width + column];
        let differ = 0 < row && 0 < column && left[row - 1] != right[column - 1];
        if 0 < row && 0 < column && here == cost[(row - 1) * width + column - 1] + u32::from(differ) {
            (row, column) = (row - 1, column - 1);
            lefts[row] |= differ;
            rights[column] |= differ;
        } else if 0 < column && here == cost[row * width + column - 1] + 1 {
            column -= 1;
            rights[column] = true;
            mark_neighbour(&mut lefts, row);
        } else {
            row -= 1;
            lefts[row] = true;
            mark_neighbour(&mut rights, column);
        }
    }
    (lefts, rights)
}

/// Marks what comes next at `place`, or the last item at the end.
pub fn mark_neighbour(marks: &mut [bool], place: usize) {
    let last = marks.len().saturating_sub(1);
    if let Some(mark) = marks.get_mut(place.min(last)) {
        *mark = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with the opcodes that Python 3.11's `difflib` gives for the lines, each a letter.
    #[track_caller]
    fn check(left: &str, right: &str, expected: &[[usize; 4]]) {
        let items = |text: &str| text.chars().collect::<Vec<_>>();
        let found: Vec<[usize; 4]> = changes(&items(left), &items(right))
            .into_iter()
            .map(|Change { left, right }| [left.start, left.end, right.start, right.end])
            .collect();
        assert_eq!(found, expected, "{left} to {right}");
    }

    #[test]
    fn changes_of_lines_are_those_of_difflib() {
        check("abc", "abc", &[]);
        check("", "", &[]);
        check("", "ab", &[[0, 0, 0, 2]]);
        check("ab", "", &[[0, 2, 0, 0]]);
        check("abcd", "abxd", &[[2, 3, 2, 3]]);
        check("abcabc", "bcabca", &[[0, 1, 0, 0], [6, 6, 5, 6]]);
        check("abcdef", "acbdef", &[[1, 1, 1, 2], [2, 3, 3, 3]]);
        check("qabxcd", "abycdf", &[[0, 1, 0, 0], [3, 4, 2, 3], [6, 6, 5, 6]]);
        check("aabbaabb", "abab", &[[0, 1, 0, 0], [3, 5, 2, 2], [7, 8, 4, 4]]);
        check("private", "privet", &[[4, 5, 4, 5], [6, 7, 6, 6]]);
        check("xaxbxcx", "axbxc", &[[0, 1, 0, 0], [6, 7, 5, 5]]);
        check("bbcdaadcb", "bdddbbbda", &[[0, 0, 0, 4], [2, 3, 6, 7], [5, 9, 9, 9]]);
        check("abacacddd", "ddbcaabdb", &[[0, 0, 0, 5], [2, 6, 7, 7], [7, 9, 8, 9]]);
        check("cdcddcdbc", "acbcabcca", &[[0, 0, 0, 1], [1, 7, 2, 2], [9, 9, 4, 9]]);
        check("addacadba", "cddaaadcc", &[[0, 1, 0, 1], [4, 5, 4, 5], [7, 9, 7, 9]]);
        check("bacaaaabd", "ccbacccbd", &[[0, 0, 0, 2], [3, 7, 5, 7]]);
        check("dddacdbcd", "cccadcadb", &[[0, 0, 0, 4], [1, 3, 5, 6], [4, 5, 7, 7], [7, 9, 9, 9]]);
    }

    #[test]
    fn characters_that_are_replaced_or_added_differ_on_their_side() {
        #[track_caller]
        fn check(left: &str, right: &str, lefts: &str, rights: &str) {
            let items = |text: &str| text.chars().collect::<Vec<_>>();
            let shown =
                |marks: Vec<bool>| marks.into_iter().map(|mark| if mark { '^' } else { '.' }).collect::<String>();
            let (found, others) = edits(&items(left), &items(right));
            assert_eq!((shown(found), shown(others)), (lefts.into(), rights.into()), "{left} to {right}");
        }
        check("kitten", "sitting", "^...^^", "^...^.^");
        check("a<b", "a<=b", "..^", "..^.");
        check("a<=b", "a<b", "..^.", "..^");
        check("x+", "x", ".^", "^");
        check("", "ab", "", "^^");
        check("ab", "", "^^", "");
        check("same", "same", "....", "....");
        check("𝒳=1", "𝒳=2", "..^", "..^");
    }

    #[test]
    fn the_marks_of_both_sides_are_as_many_as_the_distance_needs() {
        // Distances from the textbook: kitten/sitting 3, saturday/sunday 3, flaw/lawn 2.
        for (left, right, distance) in [("kitten", "sitting", 3), ("saturday", "sunday", 3), ("flaw", "lawn", 2)] {
            let items = |text: &str| text.chars().collect::<Vec<_>>();
            let (lefts, rights) = edits(&items(left), &items(right));
            let count = |marks: &[bool]| marks.iter().filter(|mark| **mark).count();
            // A replacement marks both sides, and so does an addition with its neighbour.
            assert!(count(&lefts).max(count(&rights)) <= distance, "{left} to {right}");
            assert!(0 < count(&lefts) && 0 < count(&rights), "{left} to {right}");
        }
    }
}
