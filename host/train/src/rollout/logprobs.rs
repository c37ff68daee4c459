//! Log-probabilities of rollouts, and what a value head says of them, computed when somebody asks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::Tensor;
use tunesmith_core::data::TokenLogprobs;
use tunesmith_core::error::ServiceError;

use crate::batching::EncodedRow;
use crate::error::ModelError;
use crate::model::logprobs::Target;
use crate::model::{Decoder, TokenBatch};
use crate::run::{RunError, Training};
use crate::service::with_causes;
use crate::tensor_values;

/// The name of a value head's weights among extra parameters, and of its estimates among numbers per token.
pub(super) const VALUE: &str = "value";
/// The name of its bias.
const VALUE_BIAS: &str = "value-bias";

/// Numbers on the sampled tokens of one step, flat in the order of the rollouts.
pub(super) struct RolloutLogprobs {
    policy: Decoder,
    reference: Decoder,
    temperature: f32,
    /// The weights of the value head and its bias.
    head: Option<(Tensor<1>, f32)>,
    /// What goes through the model together, as in training.
    batches: Vec<Tokens>,
    is_off_policy: Vec<bool>,
    lengths: Vec<usize>,
    known: Mutex<BTreeMap<String, Arc<Vec<f32>>>>,
}

struct Tokens {
    layout: TokenBatch,
    /// Every sampled token, in order.
    targets: Vec<Target>,
}

/// The rollouts of one reward call.
pub(super) struct Part {
    whole: Arc<RolloutLogprobs>,
    tokens: Range<usize>,
}

impl RolloutLogprobs {
    /// Of these sequences, of which the last `lengths` tokens were sampled; so many go through the model together as `sizes` says.
    pub(super) fn new(
        training: &Training<'_>,
        temperature: f32,
        (rows, lengths): (&[EncodedRow], Vec<usize>),
        sizes: &[usize],
    ) -> Result<Self, RunError> {
        let mut batches = Vec::with_capacity(sizes.len());
        let mut first = 0;
        for size in sizes {
            let rows = &rows[first..first + size];
            let tokens: Vec<&[u32]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
            let layout = TokenBatch::right_padded(&tokens)?;
            let targets = rows.iter().zip(&lengths[first..]).enumerate().flat_map(|(number, (row, length))| {
                let start = number * layout.width();
                let sampled = row.tokens.len() - length..row.tokens.len();
                sampled.map(move |column| Target { index: start + column - 1, id: row.tokens[column] })
            });
            let targets = targets.collect();
            batches.push(Tokens { layout, targets });
            first += size;
        }
        let value = training.extra.value(VALUE).map(Tensor::inner);
        let bias = training.extra.value(VALUE_BIAS).and_then(|bias| tensor_values(bias).first().copied());
        Ok(Self {
            policy: training.models.policy.valid(),
            reference: training.models.reference.clone(),
            temperature,
            head: value.map(|value| (value, bias.unwrap_or(0.0))),
            batches,
            is_off_policy: rows.iter().map(|row| row.role == tunesmith_core::data::REFERENCE).collect(),
            lengths,
            known: Mutex::default(),
        })
    }

    /// The same numbers, of these rollouts only.
    pub(super) fn part(self: &Arc<Self>, rollouts: Range<usize>) -> Part {
        let start = self.lengths[..rollouts.start].iter().sum::<usize>();
        let tokens = start..start + self.lengths[rollouts].iter().sum::<usize>();
        Part { whole: Arc::clone(self), tokens }
    }

    /// Log-probabilities under the policy that sampled, 0.0 for completions that were given.
    pub(super) fn old(&self) -> Result<Vec<f32>, RunError> {
        let mut values = self.numbers("policy").map_err(RunError::Model)?.to_vec();
        let mut rest = values.as_mut_slice();
        for (length, is_off_policy) in self.lengths.iter().zip(&self.is_off_policy) {
            let (own, others) = rest.split_at_mut(*length);
            if *is_off_policy {
                own.fill(0.0);
            }
            rest = others;
        }
        Ok(values)
    }

    /// What the value head estimates before each token.
    pub(super) fn values(&self) -> Result<Vec<f32>, RunError> {
        Ok(self.numbers(VALUE).map_err(RunError::Model)?.to_vec())
    }

    /// Computed once, whoever asks.
    fn numbers(&self, name: &str) -> Result<Arc<Vec<f32>>, ModelError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = known.get(name) {
            return Ok(Arc::clone(values));
        }
        let mut values = Vec::new();
        for Tokens { layout, targets } in &self.batches {
            let decoder = if name == "reference" { &self.reference } else { &self.policy };
            let hidden = decoder.hidden(layout)?;
            let shape = [layout.rows(), layout.width()];
            let spread = match (&self.head, name) {
                (Some((head, bias)), VALUE) => {
                    let [rows, columns, size] = hidden.dims();
                    let products = hidden * head.clone().reshape([1, 1, size]);
                    // The state before a token predicts it.
                    let padding = Tensor::zeros([rows, 1], &products.device());
                    let estimates = products.sum_dim(2).reshape([rows, columns]) + *bias;
                    Tensor::cat(vec![padding, estimates.narrow(1, 0, columns - 1)], 1)
                }
                _ => decoder.spread_logprobs_at(hidden, targets, shape, self.temperature),
            };
            let spread = tensor_values(spread);
            values.extend(targets.iter().map(|target| spread[target.index + 1]));
        }
        let values = Arc::new(values);
        known.insert(name.to_owned(), Arc::clone(&values));
        Ok(values)
    }

    fn under(&self, name: &str) -> Result<Arc<Vec<f32>>, ServiceError> {
        let name = match name {
            "policy" | "old" => "policy",
            "reference" => "reference",
            other => {
                return Err(ServiceError::Unsupported(format!(
                    "there are no log-probabilities under `{}`; there are `policy`, `old` and `reference`",
                    other.escape_debug()
                )));
            }
        };
        self.numbers(name).map_err(|error| ServiceError::Failed(with_causes(&error)))
    }

    fn named(&self, name: &str) -> Result<Arc<Vec<f32>>, ServiceError> {
        if name != VALUE || self.head.is_none() {
            let what = format!("this run has no numbers `{}` per token", name.escape_debug());
            return Err(ServiceError::Unsupported(what));
        }
        self.numbers(VALUE).map_err(|error| ServiceError::Failed(with_causes(&error)))
    }
}

impl TokenLogprobs for RolloutLogprobs {
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, ServiceError> {
        Ok(self.under(under)?.to_vec())
    }

    fn token_numbers(&self, name: &str) -> Result<Vec<f32>, ServiceError> {
        Ok(self.named(name)?.to_vec())
    }
}

impl TokenLogprobs for Part {
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, ServiceError> {
        Ok(self.whole.under(under)?[self.tokens.clone()].to_vec())
    }

    fn token_numbers(&self, name: &str) -> Result<Vec<f32>, ServiceError> {
        Ok(self.whole.named(name)?[self.tokens.clone()].to_vec())
    }
}
