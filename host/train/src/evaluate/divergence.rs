//! How far the policy has moved from its reference on its own answers.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::batch::PolicyPair;
use crate::error::ModelError;
use crate::model::TokenBatch;
use crate::model::logprobs::Pair;
use crate::tensor_values;

/// Positions whose logits exist at the same time, for both models.
const CHUNK: usize = 128;

/// For each pair the mean over the completion's tokens of `KL(policy || reference) = sum_v p(v) (log p(v) - log q(v))`, over the whole
/// vocabulary, in nats; 0.0 for a completion without tokens. `batch` pairs run together.
pub(super) fn means(models: &PolicyPair, pairs: &[Pair], batch: usize) -> Result<Vec<f64>, ModelError> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|index| pairs[*index].prompt.len() + pairs[*index].completion.len());
    let mut means = vec![0.0; pairs.len()];
    for indices in order.chunks(batch) {
        let rows: Vec<&Pair> = indices.iter().map(|index| &pairs[*index]).collect();
        let each = divergences(models, &rows)?;
        let mut rest = each.as_slice();
        for (index, row) in indices.iter().zip(rows) {
            let (own, others) = rest.split_at(row.completion.len());
            rest = others;
            if !own.is_empty() {
                means[*index] = own.iter().map(|value| f64::from(*value)).sum::<f64>() / own.len() as f64;
            }
        }
    }
    Ok(means)
}

/// The divergence at each completion token, row by row.
fn divergences(models: &PolicyPair, rows: &[&Pair]) -> Result<Vec<f32>, ModelError> {
    let sequences: Vec<Vec<u32>> = rows.iter().map(|row| [&row.prompt[..], &row.completion].concat()).collect();
    let layout = TokenBatch::right_padded(&sequences)?;
    let mut places: Vec<i32> = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        // The state before a token predicts it.
        let first = number * layout.width() + row.prompt.len() - 1;
        places.extend((first..first + row.completion.len()).map(|place| place as i32));
    }
    let policy = models.policy.hidden(&layout)?;
    let reference = models.reference.hidden(&layout)?;
    let [batch, width, size] = policy.dims();
    let flat = |hidden: Tensor<3>| hidden.reshape([batch * width, size]);
    let (policy, reference) = (flat(policy), flat(reference));
    let mut values = Vec::with_capacity(places.len());
    for places in places.chunks(CHUNK) {
        let count = places.len();
        let places = Tensor::<1, Int>::from_data(TensorData::new(places.to_vec(), [count]), &policy.device());
        let pick = |hidden: &Tensor<2>| hidden.clone().select(0, places.clone()).unsqueeze_dim::<3>(0);
        let p = log_softmax(models.policy.head(pick(&policy)), 2);
        let q = log_softmax(models.reference.head(pick(&reference)), 2);
        values.extend(tensor_values((p.clone().exp() * (p - q)).sum_dim(2)));
    }
    Ok(values)
}
