//! How good and how well calibrated class probabilities are.

use crate::math::argmax;

/// The least probability that a negative log-likelihood sees, as scikit-learn clips float64: 2^-52.
const LEAST: f64 = f64::EPSILON;

/// Metrics of distributions over classes, one per row, against the rows' classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// The share of rows whose most likely class is the right one.
    pub accuracy: f64,
    /// The unweighted mean over classes of `2 tp / (2 tp + fp + fn)`; classes that are neither there nor predicted do not count.
    pub macro_f1: f64,
    /// The expected calibration error of the most likely class, in 0.0 to 1.0: `sum_m |B_m| / n * |accuracy(B_m) - confidence(B_m)|`.
    pub ece: f64,
    /// The mean of `-log p` of the right class, in nats.
    pub nll: f64,
    /// The mean of `-sum_c p_c log p_c`, in nats.
    pub entropy: f64,
    /// The mean probability of the most likely class.
    pub confidence: f64,
}

impl Metrics {
    /// Metrics of these rows; none of no rows. `bins` of equal width, each without its lower and with its upper bound.
    pub fn of(rows: &[Vec<f64>], golds: &[usize], bins: usize) -> Option<Self> {
        let predictions: Vec<(usize, f64)> =
            rows.iter().map(|p| argmax(p)).zip(rows).map(|(at, p)| (at, p[at])).collect();
        let are_right: Vec<bool> = predictions.iter().zip(golds).map(|((at, _), gold)| at == gold).collect();
        let confidences: Vec<f64> = predictions.iter().map(|(_, confidence)| *confidence).collect();
        let classes: Vec<usize> = predictions.iter().map(|(at, _)| *at).collect();
        Some(Self {
            accuracy: mean(are_right.iter().map(|is_right| f64::from(u8::from(*is_right))))?,
            macro_f1: macro_f1(&classes, golds)?,
            ece: ece(&confidences, &are_right, bins),
            nll: mean(rows.iter().zip(golds).map(|(p, gold)| -p[*gold].max(LEAST).ln()))?,
            entropy: mean(rows.iter().map(|p| entropy(p)))?,
            confidence: mean(confidences.iter().copied())?,
        })
    }

    /// The means of metrics, one by one; none of none.
    pub fn mean_of(all: &[Self]) -> Option<Self> {
        let over = |field: fn(&Self) -> f64| mean(all.iter().map(field));
        Some(Self {
            accuracy: over(|it| it.accuracy)?,
            macro_f1: over(|it| it.macro_f1)?,
            ece: over(|it| it.ece)?,
            nll: over(|it| it.nll)?,
            entropy: over(|it| it.entropy)?,
            confidence: over(|it| it.confidence)?,
        })
    }

    /// The metrics by their names.
    pub fn named(&self) -> [(&'static str, f64); 6] {
        let Self { accuracy, macro_f1, ece, nll, entropy, confidence } = *self;
        [
            ("accuracy", accuracy),
            ("macro-f1", macro_f1),
            ("ece", ece),
            ("nll", nll),
            ("entropy", entropy),
            ("confidence", confidence),
        ]
    }
}

/// The expected calibration error: how far accuracy and confidence are apart, bin by bin, weighed by the bins' rows. Empty bins do not count.
pub fn ece(confidences: &[f64], are_right: &[bool], bins: usize) -> f64 {
    let mut sums = vec![0.0; bins.max(1)];
    for (confidence, is_right) in confidences.iter().zip(are_right) {
        // The bin `m` of `bins` holds m/bins < confidence <= (m + 1)/bins; 0.0 is in the first.
        let bin = (confidence * sums.len() as f64).ceil() as usize;
        let bin = bin.clamp(1, sums.len()) - 1;
        sums[bin] += f64::from(u8::from(*is_right)) - confidence;
    }
    sums.iter().map(|sum| f64::abs(*sum)).sum::<f64>() / confidences.len().max(1) as f64
}

fn macro_f1(predictions: &[usize], golds: &[usize]) -> Option<f64> {
    let last = predictions.iter().chain(golds).max()?;
    let count = |is: &dyn Fn(usize, usize) -> bool| {
        predictions.iter().zip(golds).filter(|(prediction, gold)| is(**prediction, **gold)).count() as f64
    };
    let of_class = |class: usize| {
        let right = count(&|prediction, gold| prediction == class && gold == class);
        let missed = count(&|prediction, gold| (prediction == class) != (gold == class));
        (0.0 < right + missed).then(|| 2.0 * right / (2.0 * right + missed))
    };
    mean((0..=*last).filter_map(of_class))
}

fn entropy(p: &[f64]) -> f64 {
    p.iter().filter(|value| 0.0 < **value).map(|value| -value * value.ln()).sum()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count != 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    #[track_caller]
    fn check(found: f64, expected: f64) {
        assert!((found - expected).abs() <= reference::TOLERANCE, "{found} is not {expected}");
    }

    #[test]
    fn metrics_are_those_of_scikit_learn_and_scipy() {
        let reference = reference::read();
        for (name, rows) in &reference.combined {
            let metrics = Metrics::of(rows, &reference.golds, 10).expect("there are rows");
            for (metric, value) in metrics.named() {
                check(value, reference.metrics[name][metric]);
            }
            let confidences: Vec<f64> = rows.iter().map(|p| p[argmax(p)]).collect();
            let are_right: Vec<bool> = rows.iter().zip(&reference.golds).map(|(p, gold)| argmax(p) == *gold).collect();
            check(ece(&confidences, &are_right, 3), reference.metrics[name]["ece-3-bins"]);
        }
    }

    #[test]
    fn the_calibration_error_of_a_few_rows_by_hand() {
        // One bin: |(1 + 0) / 2 - (0.9 + 0.8) / 2|.
        check(ece(&[0.9, 0.8], &[true, false], 1), 0.35);
        // Two rows in one bin of ten, one in another: (|1 - 0.92 - 0.98 + 0| + |1 - 0.55|) / 3.
        check(ece(&[0.92, 0.98, 0.55], &[true, false, true], 10), (0.9 + 0.45) / 3.0);
        // A bound belongs to the bin below it: 0.5 and 0.45 cancel in part, 0.5 and 0.55 would not.
        check(ece(&[0.5, 0.45], &[true, false], 10), 0.05 / 2.0);
        check(ece(&[0.0, 1.0], &[false, true], 10), 0.0);
        check(ece(&[], &[], 10), 0.0);
    }

    #[test]
    fn certainty_and_ignorance() {
        let sure = Metrics::of(&[vec![1.0, 0.0], vec![1.0, 0.0]], &[0, 1], 10).expect("there are rows");
        check(sure.entropy, 0.0);
        check(sure.ece, 0.5);
        check(sure.nll, -f64::EPSILON.ln() / 2.0);
        let unsure = Metrics::of(&[vec![0.5, 0.5]], &[1], 10).expect("there is a row");
        check(unsure.entropy, std::f64::consts::LN_2);
        assert_eq!(Metrics::of(&[], &[], 10), None);
    }

    #[test]
    fn fewer_rows_than_bins_are_no_trouble() {
        let metrics = Metrics::of(&[vec![0.3, 0.7]], &[1], 1000).expect("there is a row");
        check(metrics.ece, 0.3);
    }
}
