//! One update of `AdamW`, in one pass over memory.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::AdamStep;
use super::flex::{dense, elements};

/// Elements that are one line of work.
const LINE: usize = 1 << 14;

/// Parameter, mean and square after the step, in the memory of the arguments where nobody else holds it.
pub(super) fn adamw([value, mean, square]: [FlexTensor; 3], gradient: FlexTensor, step: &AdamStep) -> [FlexTensor; 3] {
    let [mut value, mut mean, mut square] = [dense(value), dense(mean), dense(square)];
    let gradient = dense(gradient);
    let AdamStep { betas, rests, root, epsilon, rate, keep } = *step;
    value
        .storage_mut::<f32>()
        .par_chunks_mut(LINE)
        .zip(mean.storage_mut::<f32>().par_chunks_mut(LINE))
        .zip(square.storage_mut::<f32>().par_chunks_mut(LINE))
        .zip(elements(&gradient).par_chunks(LINE))
        .for_each(|(((values, means), squares), gradients)| {
            for (((value, mean), square), &gradient) in values.iter_mut().zip(means).zip(squares).zip(gradients) {
                // In the order of the plain form, so that both round alike.
                *mean = *mean * betas[0] + gradient * rests[0];
                *square = *square * betas[1] + gradient * gradient * rests[1];
                let change = *mean / (square.sqrt() * root + epsilon) * rate;
                *value = *value * keep - change;
            }
        });
    [value, mean, square]
}
