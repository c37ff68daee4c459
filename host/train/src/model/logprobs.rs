//! Log-probabilities of given tokens, without forming the logits of a whole batch at once.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::error::ModelError;
use crate::fused;
use crate::model::batch::TokenBatch;
use crate::model::decoder::Decoder;
use crate::tensor_values;

/// Places whose logits over the whole vocabulary are made at once.
const PLACES: usize = 64;

/// Which hidden state predicts which token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// `row * width + column` of the hidden state; the token predicted stands one column further.
    pub index: usize,
    /// The token's id.
    pub id: u32,
}

/// A prompt and the completion whose log-probabilities are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// May be empty.
    pub completion: Vec<u32>,
}

impl TokenBatch {
    /// Every token that has one before it in its segment, in row-major order.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for row in 0..self.rows() {
            for segment in self.segments(row) {
                for column in segment.start + 1..segment.end {
                    let index = row * self.width() + column;
                    targets.push(Target { index: index - 1, id: self.tokens()[index] });
                }
            }
        }
        targets
    }
}

impl Decoder {
    /// Log-probability of each target, given hidden states `[rows, columns, hidden]`: `[targets]`, in order.
    ///
    /// `log p = logit[id] - log sum exp(logits)`, in float32, of logits within the model's limit. Gradients flow to the hidden states and
    /// the head.
    pub fn target_logprobs(&self, hidden: Tensor<3>, targets: &[Target]) -> Tensor<1> {
        if targets.is_empty() {
            return Tensor::zeros([0], &hidden.device().inner());
        }
        let places: Vec<usize> = targets.iter().map(|target| target.index).collect();
        let ids: Vec<u32> = targets.iter().map(|target| target.id).collect();
        let chosen = states_at(hidden, &places);
        fused::token_logprobs(chosen, self.head_weight(), &ids, self.config().soft_caps.logits)
    }

    /// Log-probabilities of several candidates for each place, given hidden states `[rows, columns, hidden]`: `[places, candidates of each]`.
    ///
    /// `places` are as [`Target::index`]; `candidates` has those of the first place, then those of the second, and so on. As
    /// [`Decoder::target_logprobs`] otherwise.
    pub fn candidate_logprobs(&self, hidden: Tensor<3>, places: &[usize], candidates: &[u32]) -> Tensor<2> {
        let chosen = states_at(hidden, places);
        fused::candidate_logprobs(chosen, self.head_weight(), candidates, self.config().soft_caps.logits)
    }

    /// Logits of these places, given hidden states `[rows, columns, hidden]`: `[places, vocabulary]`.
    pub fn logits_at(&self, hidden: Tensor<3>, places: &[usize]) -> Tensor<2> {
        let logits = self.head(states_at(hidden, places).unsqueeze_dim(0));
        logits.reshape([places.len(), self.config().vocab_size])
    }

    /// Log-probability of every token of a batch given those before it: `[rows, columns]`; 0 for the first token of a segment and
    /// in padding. Gradients flow.
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`].
    pub fn token_logprobs(&self, batch: &TokenBatch) -> Result<Tensor<2>, ModelError> {
        Ok(self.spread_logprobs(self.hidden(batch)?, &batch.targets(), [batch.rows(), batch.width()]))
    }

    /// The targets' log-probabilities, each where its token stands in `[rows, columns]`, and 0.0 elsewhere. As [`Decoder::target_logprobs`]
    /// otherwise: only targets go through the head.
    pub fn spread_logprobs(&self, hidden: Tensor<3>, targets: &[Target], [rows, columns]: [usize; 2]) -> Tensor<2> {
        let places: Vec<usize> = targets.iter().map(|target| target.index).collect();
        let logprobs = self.target_logprobs(hidden, targets).reshape([targets.len(), 1]);
        spread(logprobs, &places, [rows, columns, 1]).reshape([rows, columns])
    }

    /// As [`Decoder::spread_logprobs`], of logits divided by `temperature`, which is above 0.0.
    pub fn spread_logprobs_at(
        &self,
        hidden: Tensor<3>,
        targets: &[Target],
        shape: [usize; 2],
        temperature: f32,
    ) -> Tensor<2> {
        if self.config().soft_caps.logits.is_none() {
            // Logits are a product of the hidden states: so they are divided where they are narrow.
            return self.spread_logprobs(hidden.div_scalar(temperature), targets, shape);
        }
        let pick = |targets: &[Target], logprobs: Tensor<2>| {
            let ids = int_tensor(targets.iter().map(|target| target.id as usize), &logprobs.device().inner());
            logprobs.gather(1, ids.reshape([targets.len(), 1]))
        };
        self.spread_over_vocabulary(&hidden, targets, shape, temperature, pick)
    }

    /// One number per target from all log-probabilities that predict it, `[targets, vocabulary]` to `[targets, 1]`, each where its token stands in
    /// `[rows, columns]`, and 0.0 elsewhere. Logits are divided by `temperature`, which is above 0.0.
    ///
    /// Logits of some targets exist at once; with gradients, until the backward pass.
    pub fn spread_over_vocabulary(
        &self,
        hidden: &Tensor<3>,
        targets: &[Target],
        [rows, columns]: [usize; 2],
        temperature: f32,
        pick: impl Fn(&[Target], Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let places: Vec<usize> = targets.iter().map(|target| target.index).collect();
        if places.is_empty() {
            return Tensor::zeros([rows, columns], &hidden.device().inner());
        }
        let part = |targets: &[Target]| {
            let places: Vec<usize> = targets.iter().map(|target| target.index).collect();
            let logits = self.logits_at(hidden.clone(), &places).div_scalar(temperature);
            pick(targets, log_softmax(logits, 1))
        };
        let values = Tensor::cat(targets.chunks(PLACES).map(part).collect(), 0);
        spread(values, &places, [rows, columns, 1]).reshape([rows, columns])
    }

    /// Log-probabilities of the completion tokens of each pair, in order. `batch` pairs are computed together, pairs of like
    /// length first, which does not change the results' order.
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`], and when a prompt is empty.
    pub fn score(&self, pairs: &[Pair], batch: usize) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|index| pairs[*index].prompt.len() + pairs[*index].completion.len());
        let mut scores = vec![Vec::new(); pairs.len()];
        for indices in order.chunks(batch.max(1)) {
            if let Some(index) = indices.iter().find(|index| pairs[**index].prompt.is_empty()) {
                return Err(ModelError::request(format!("the prompt of pair {index} is empty")));
            }
            let sequences: Vec<Vec<u32>> =
                indices.iter().map(|index| [&pairs[*index].prompt[..], &pairs[*index].completion].concat()).collect();
            let batch = TokenBatch::right_padded(&sequences)?;
            let mut targets = Vec::new();
            for (row, index) in indices.iter().enumerate() {
                let before = row * batch.width() + pairs[*index].prompt.len() - 1;
                let ids = pairs[*index].completion.iter().enumerate();
                targets.extend(ids.map(|(place, id)| Target { index: before + place, id: *id }));
            }
            let logprobs = tensor_values(self.target_logprobs(self.hidden(&batch)?, &targets));
            let mut rest = logprobs.as_slice();
            for index in indices {
                let (own, others) = rest.split_at(pairs[*index].completion.len());
                scores[*index] = own.to_vec();
                rest = others;
            }
        }
        Ok(scores)
    }
}

/// Puts the numbers of each place, `[places, count]`, where the token after it stands in `[rows, columns, count]`, and 0.0 elsewhere.
pub(crate) fn spread(values: Tensor<2>, places: &[usize], [rows, columns, count]: [usize; 3]) -> Tensor<3> {
    let device = values.device().inner();
    if places.is_empty() {
        return Tensor::zeros([rows, columns, count], &device);
    }
    let mut sources = vec![0; rows * columns];
    for (number, place) in places.iter().enumerate() {
        sources[place + 1] = number + 1;
    }
    // One row of zeros stands in for all other places.
    let with_zeros = Tensor::cat(vec![Tensor::zeros([1, count], &device), values], 0);
    with_zeros.select(0, int_tensor(sources.into_iter(), &device)).reshape([rows, columns, count])
}

/// The hidden states of these places of `[rows, columns, hidden]`: `[places, hidden]`.
fn states_at(hidden: Tensor<3>, places: &[usize]) -> Tensor<2> {
    let [rows, columns, width] = hidden.dims();
    let device = hidden.device().inner();
    hidden.reshape([rows * columns, width]).select(0, int_tensor(places.iter().copied(), &device))
}

fn int_tensor(values: impl Iterator<Item = usize>, device: &burn::tensor::Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|value| value as i32).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
