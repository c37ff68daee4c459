//! Which samples are unlike the gold answer: the filter of Self-Contrast as plain functions.

use std::collections::HashSet;

/// The cosine of the angle between two vectors; 0.0 where one of them is all zeros.
pub fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if lengths == 0.0 { 0.0 } else { dot(one, other) / lengths }
}

/// The texts without exact duplicates, in the order in which they first appear.
pub fn unique<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    texts.filter(|text| seen.insert(*text)).collect()
}

/// The position, among unique samples in ascending order of similarity, from which on they are too similar: `min(int(share * samples), unique - 1)`.
pub fn cut(share: f64, samples: usize, unique: usize) -> usize {
    ((share * samples as f64) as usize).min(unique.saturating_sub(1))
}

/// The places of unique samples that are less similar than the one at the cut; none of one or no sample.
///
/// `samples` counts all that were drawn, duplicates too.
pub fn unlike(similarities: &[f64], share: f64, samples: usize) -> Vec<usize> {
    let mut ascending = similarities.to_vec();
    ascending.sort_by(f64::total_cmp);
    let Some(limit) = ascending.get(cut(share, samples, similarities.len())) else { return Vec::new() };
    (0..similarities.len()).filter(|place| similarities[*place] < *limit).collect()
}

/// The mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_is_of_the_angle_alone() {
        assert!((cosine(&[3.0, 0.0], &[1.0, 1.0]) - 0.5_f64.sqrt()).abs() < 1e-12);
        assert!((cosine(&[2.0, -1.0], &[-4.0, 2.0]) + 1.0).abs() < 1e-12);
        assert!(cosine(&[0.0, 0.0], &[1.0, 1.0]).abs() < f64::EPSILON);
    }

    #[test]
    fn the_cut_is_that_of_the_paper() {
        assert_eq!(cut(0.75, 32, 32), 24);
        assert_eq!(cut(0.75, 32, 20), 19);
        assert_eq!(cut(0.75, 32, 1), 0);
        assert_eq!(cut(1.0, 32, 32), 31);
        assert_eq!(cut(0.5, 5, 5), 2);
    }

    #[test]
    fn the_most_similar_are_removed_and_with_them_their_equals() {
        assert_eq!(unlike(&[0.9, 0.1, 0.5, 0.3], 0.5, 4), [1, 3]);
        // With few unique samples the most similar one is always removed.
        assert_eq!(unlike(&[0.9, 0.1, 0.5], 0.75, 32), [1, 2]);
        assert_eq!(unlike(&[0.9, 0.1, 0.9], 0.75, 32), [1]);
        assert!(unlike(&[0.2], 0.75, 32).is_empty() && unlike(&[], 0.75, 32).is_empty());
    }

    #[test]
    fn duplicates_are_exact() {
        assert_eq!(unique(["b", "a", "b", "a "].into_iter()), ["b", "a", "a "]);
    }
}
