//! From class scores to one distribution: softmax over classes, batch calibration, and three ways to combine an ensemble.

use serde::Deserialize;

/// How the distributions of an ensemble become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// `p_c = mean_k p_kc`.
    Mean,
    /// `p_c = max_k p_kc`, divided by their sum.
    Max,
    /// The mean over the variants that say what the weightiest group of agreeing variants says; a group weighs the sum of its probabilities.
    Majority,
}

/// `exp(z_c) / sum_c exp(z_c)`: log-probabilities of the classes' tokens become probabilities among the classes. All 1/C if nothing is possible.
pub fn softmax(scores: &[f64]) -> Vec<f64> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !top.is_finite() {
        return vec![1.0 / scores.len().max(1) as f64; scores.len()];
    }
    let exps: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|value| value / sum).collect()
}

/// The first of the largest; 0 of nothing.
pub fn argmax(values: &[f64]) -> usize {
    let first = |best: usize, (at, value): (usize, &f64)| if values[best] < *value { at } else { best };
    values.iter().enumerate().fold(0, first)
}

/// Batch calibration of one variant's scores, row by row: `z' = (z - mean(z)) / sqrt(var(z))` per class over all rows (variance over n).
///
/// Scores may be log-probabilities in place of logits: each row is first centred over its classes, so that what is the same for all
/// classes of a row does not count. A class whose scores do not vary becomes 0.0.
pub fn calibrate(rows: &mut [Vec<f64>]) {
    for row in rows.iter_mut() {
        let mean = row.iter().sum::<f64>() / row.len().max(1) as f64;
        for score in row.iter_mut() {
            *score -= mean;
        }
    }
    let count = rows.len().max(1) as f64;
    for class in 0..rows.first().map_or(0, Vec::len) {
        let mean = rows.iter().map(|row| row[class]).sum::<f64>() / count;
        let variance = rows.iter().map(|row| (row[class] - mean).powi(2)).sum::<f64>() / count;
        let scale = if variance > 0.0 { variance.sqrt() } else { f64::INFINITY };
        for row in rows.iter_mut() {
            row[class] = (row[class] - mean) / scale;
        }
    }
}

/// One distribution out of those of all variants, of which there is at least one.
pub fn combine(how: Combine, variants: &[Vec<f64>]) -> Vec<f64> {
    match how {
        Combine::Mean => mean(variants.iter()),
        Combine::Max => {
            let classes = 0..variants[0].len();
            let top = |class: usize| variants.iter().map(|p| p[class]).fold(0.0, f64::max);
            let tops: Vec<f64> = classes.map(top).collect();
            let sum: f64 = tops.iter().sum();
            tops.into_iter().map(|value| value / sum).collect()
        }
        Combine::Majority => {
            let mut weights = vec![0.0; variants[0].len()];
            for variant in variants {
                let label = argmax(variant);
                weights[label] += variant[label];
            }
            let winner = argmax(&weights);
            mean(variants.iter().filter(|variant| argmax(variant) == winner))
        }
    }
}

/// The mean of distributions, class by class.
fn mean<'a>(variants: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut sums: Vec<f64> = Vec::new();
    let mut count = 0.0;
    for variant in variants {
        sums.resize(variant.len(), 0.0);
        sums.iter_mut().zip(variant).for_each(|(sum, value)| *sum += value);
        count += 1.0;
    }
    sums.into_iter().map(|sum| sum / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    #[track_caller]
    fn check(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{found:?} is not {expected:?}");
        for (one, other) in found.iter().zip(expected) {
            assert!((one - other).abs() <= reference::TOLERANCE, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn distributions_and_their_combinations_are_those_of_numpy_and_scipy() {
        let reference = reference::read();
        for (row, (scores, expected)) in reference.scores.iter().zip(&reference.probabilities).enumerate() {
            let variants: Vec<Vec<f64>> = scores.iter().map(|scores| softmax(scores)).collect();
            variants.iter().zip(expected).for_each(|(found, expected)| check(found, expected));
            for (how, name) in [(Combine::Mean, "mean"), (Combine::Max, "max"), (Combine::Majority, "majority")] {
                check(&combine(how, &variants), &reference.combined[name][row]);
            }
        }
    }

    #[test]
    fn batch_calibration_is_that_of_numpy_and_forgets_what_all_classes_share() {
        let reference = reference::read();
        let mut rows: Vec<Vec<f64>> = reference.scores.iter().map(|variants| variants[0].clone()).collect();
        let mut shifted = rows.clone();
        shifted.iter_mut().enumerate().for_each(|(row, scores)| scores.iter_mut().for_each(|it| *it -= row as f64));
        calibrate(&mut rows);
        calibrate(&mut shifted);
        for ((found, other), expected) in rows.iter().zip(&shifted).zip(&reference.calibrated) {
            check(found, expected);
            check(other, expected);
        }
        let mut single = [vec![-1.0, -2.0]];
        calibrate(&mut single);
        check(&single[0], &[0.0, 0.0]);
    }

    #[test]
    fn an_ensemble_of_one_changes_nothing() {
        let alone = [vec![0.2, 0.5, 0.3]];
        for how in [Combine::Mean, Combine::Max, Combine::Majority] {
            check(&combine(how, &alone), &alone[0]);
        }
    }

    #[test]
    fn a_majority_is_weighed_by_its_probabilities_and_a_tie_goes_to_the_first_class() {
        // Two variants for the second class weigh 0.52 + 0.51, one for the first 0.99: numbers win here, certainty below.
        let variants = [vec![0.99, 0.01], vec![0.48, 0.52], vec![0.49, 0.51]];
        check(&combine(Combine::Majority, &variants), &[0.485, 0.515]);
        let variants = [vec![0.98, 0.01, 0.01], vec![0.3, 0.36, 0.34], vec![0.3, 0.34, 0.36]];
        check(&combine(Combine::Majority, &variants), &[0.98, 0.01, 0.01]);
        let tie = [vec![0.25, 0.75], vec![0.75, 0.25]];
        check(&combine(Combine::Majority, &tie), &[0.75, 0.25]);
    }

    #[test]
    fn impossible_classes_leave_numbers() {
        check(&softmax(&[f64::NEG_INFINITY, -1.0]), &[0.0, 1.0]);
        check(&softmax(&[f64::NEG_INFINITY, f64::NEG_INFINITY]), &[0.5, 0.5]);
        check(&softmax(&[-1e300, -2e300]), &[1.0, 0.0]);
        assert_eq!((argmax(&[1.0, 2.0, 2.0]), argmax(&[])), (1, 0));
    }

    #[test]
    fn the_maximum_never_raises_the_mean_confidence_of_a_row() {
        let reference = reference::read();
        for variants in &reference.probabilities {
            let highest = variants.iter().map(|p| p[argmax(p)]).fold(0.0, f64::max);
            let combined = combine(Combine::Max, variants);
            assert!(combined[argmax(&combined)] <= highest + reference::TOLERANCE);
        }
    }
}
