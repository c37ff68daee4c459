//! Candidates for a token: drawn from the policy, and how likely each is.

#[cfg(test)]
mod tests;

use burn::module::Module as _;
use burn::tensor::{Int, Tensor, TensorData};
use tunesmith_core::error::ServiceError;
use tunesmith_core::stage::Draws;
use tunesmith_core::tensors::TensorId;

use super::{TensorBatch, Under, targets, unknown_model};
use crate::model::logprobs::spread;
use crate::random::Random;
use crate::tensor_values;

/// Places whose logits over the whole vocabulary exist at once.
const PLACES: usize = 64;

impl TensorBatch {
    /// Tokens drawn from the policy for every place that is trained on: [B, T, count], 0 elsewhere.
    ///
    /// A place's draws depend on the seed, its row and its column, not on padding.
    pub(super) fn draw(&self, draws: &Draws) -> Result<TensorId, ServiceError> {
        let encoder = self.encoder.as_ref().ok_or_else(|| {
            ServiceError::Unsupported("this batch has no tokenizer that says which candidates may be drawn".into())
        })?;
        let drawable = encoder.drawable();
        let (rows, width, count) = (self.layout.rows(), self.layout.width(), draws.count);
        let hidden = self.hidden(Under::Policy)?.inner();
        let policy = self.models.policy.valid();
        let mut ids = vec![0_i32; rows * width * count];
        for targets in targets(&self.micro, width).chunks(PLACES) {
            let places: Vec<usize> = targets.iter().map(|target| target.index).collect();
            let logits = tensor_values(policy.logits_at(hidden.clone(), &places));
            for (target, logits) in targets.iter().zip(logits.chunks(policy.config().vocab_size)) {
                let (place, own) = (target.index + 1, target.id as usize);
                let stream = (((place / width) as u64) << 32) | (place % width) as u64;
                let may = |id: usize| drawable.get(id).copied().unwrap_or(false) || id == own;
                let out = &mut ids[place * count..(place + 1) * count];
                fill(out, logits, draws.temperature, may, &mut Random::numbered(draws.seed, stream));
            }
        }
        let ids = TensorData::new(ids, [rows, width, count]);
        Ok(self.engine.insert_int(Tensor::<3, Int>::from_data(ids, &self.models.reference.device().inner())))
    }

    /// The log-probability of every candidate, [B, T, K]; 0.0 where nothing is trained on.
    pub(super) fn logprobs_of(&self, under: &str, candidates: TensorId) -> Result<TensorId, ServiceError> {
        let (model, is_detached) = match under {
            "policy" => (Under::Policy, false),
            "old" => (Under::Policy, true),
            "reference" => (Under::Reference, false),
            other => return Err(unknown_model(other)),
        };
        let candidates = self.engine.int::<3>(candidates).map_err(|error| ServiceError::Failed(error.to_string()))?;
        let (rows, width) = (self.layout.rows(), self.layout.width());
        let [its_rows, its_width, count] = candidates.dims();
        if (its_rows, its_width) != (rows, width) {
            let what = format!("candidates have shape {:?}, the batch has [{rows}, {width}]", candidates.dims());
            return Err(ServiceError::Failed(what));
        }
        let values = candidates.into_data().convert::<i32>().try_into_vec::<i32>();
        let values = values.map_err(|error| ServiceError::Failed(format!("the device gave no integers: {error:?}")))?;
        let decoder = self.decoder(model);
        let vocabulary = decoder.config().vocab_size;
        let places: Vec<usize> = targets(&self.micro, width).iter().map(|target| target.index).collect();
        let own = places.iter().flat_map(|place| &values[(place + 1) * count..(place + 2) * count]);
        let id = |&id: &i32| u32::try_from(id).ok().filter(|id| (*id as usize) < vocabulary).ok_or(id);
        let ids = own.map(id).collect::<Result<Vec<u32>, i32>>();
        let ids = ids.map_err(|id| ServiceError::Failed(format!("{id} is no token of {vocabulary}")))?;
        let logprobs = decoder.candidate_logprobs(self.hidden(model)?, &places, &ids);
        let logprobs = spread(logprobs, &places, [rows, width, count]);
        Ok(self.engine.insert_float(if is_detached { logprobs.inner() } else { logprobs }))
    }
}

/// Fills `out` with ids drawn from `softmax(logits / temperature)` among those that may be drawn; at least one may.
fn fill(out: &mut [i32], logits: &[f32], temperature: f32, may: impl Fn(usize) -> bool, random: &mut Random) {
    let temperature = f64::from(temperature);
    let drawable = || logits.iter().enumerate().filter(|(id, _)| may(*id));
    let largest = drawable().map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0_f64;
    // The sums up to each id grow, so that a number below the last one finds its id by bisection.
    let (mut ids, mut sums) = (Vec::new(), Vec::new());
    for (id, logit) in drawable() {
        sum += (f64::from(logit - largest) / temperature).exp();
        ids.push(id as i32);
        sums.push(sum);
    }
    for out in out {
        let number = random.uniform() * sum;
        let found = sums.partition_point(|sum| *sum <= number);
        *out = ids[found.min(ids.len() - 1)];
    }
}
