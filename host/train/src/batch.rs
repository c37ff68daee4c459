//! A micro-batch as tensors: what an objective asks for, made when it asks and once only.

mod candidates;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;
use tunesmith_core::data::TokenLogprobs;
use tunesmith_core::error::ServiceError;
use tunesmith_core::stage::{Batch, Draws, Port};
use tunesmith_core::tensors::{TensorId, Tensors};

use crate::batching::{Encoder, Lines, MicroBatch};
use crate::error::ModelError;
use crate::extra::ExtraParameters;
use crate::model::logprobs::Target;
use crate::model::{Decoder, TokenBatch};
use crate::tensor_values;
use crate::tensors::BurnTensors;

/// Sums over all micro-batches of an optimiser step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Totals {
    /// The sum of all weights.
    pub weight: f64,
    /// The number of rows.
    pub rows: usize,
    /// The number of micro-batches.
    pub micro_batches: usize,
    /// The optimiser step, from 0.
    pub step: u32,
}

/// The two models of a step.
#[derive(Clone, Debug)]
pub struct PolicyPair {
    /// In training: with autodiff.
    pub policy: Decoder,
    /// What the policy started from: without autodiff and without an adapter.
    pub reference: Decoder,
}

/// A micro-batch as tensors in one engine.
pub struct TensorBatch {
    engine: Arc<BurnTensors>,
    models: PolicyPair,
    micro: Arc<MicroBatch>,
    layout: TokenBatch,
    weights: Vec<f32>,
    totals: Totals,
    extra: ExtraParameters,
    encoder: Option<Arc<Encoder>>,
    is_packed: bool,
    hidden: Mutex<BTreeMap<Under, Tensor<3>>>,
    logprobs: Mutex<BTreeMap<Under, Tensor<2>>>,
}

/// Whose log-probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Under {
    Policy,
    Reference,
}

impl TensorBatch {
    /// Lays out a micro-batch. `weights` has one number per token, flat and without padding; where the mask is false it does not count.
    ///
    /// # Errors
    ///
    /// Fails when the micro-batch has no row.
    pub fn new(
        engine: Arc<BurnTensors>,
        models: PolicyPair,
        micro: Arc<MicroBatch>,
        weights: &[f32],
        totals: Totals,
    ) -> Result<Self, ModelError> {
        let layout = micro.layout()?;
        let weights = micro.padded_where_masked(weights);
        let extra = ExtraParameters::default();
        let (encoder, hidden, logprobs) = (None, Mutex::default(), Mutex::default());
        let is_packed = false;
        Ok(Self { engine, models, micro, layout, weights, totals, extra, encoder, is_packed, hidden, logprobs })
    }

    /// The batch whose own forward passes have several rows on a line, or one. What is offered has one row per line all the same.
    #[must_use]
    pub fn with_packing(self, is_packed: bool) -> Self {
        Self { is_packed, ..self }
    }

    /// The batch with the tokenizer that says which candidates may be drawn.
    #[must_use]
    pub fn with_encoder(self, encoder: Arc<Encoder>) -> Self {
        Self { encoder: Some(encoder), ..self }
    }

    /// The batch with the extra parameters that its objective trains.
    #[must_use]
    pub fn with_extra(self, extra: ExtraParameters) -> Self {
        Self { extra, ..self }
    }

    /// The engine with its burn types.
    pub fn engine(&self) -> &Arc<BurnTensors> {
        &self.engine
    }

    /// The weights as [B, T], row by row.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The sums over the whole step.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Log-probability of each token that is trained on, [B, T]; 0.0 elsewhere. Computed at the first call; each call gives the same graph.
    fn logprobs(&self, under: Under) -> Result<Tensor<2>, ServiceError> {
        let mut known = self.logprobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(logprobs) = known.get(&under) {
            return Ok(logprobs.clone());
        }
        let (rows, width) = (self.layout.rows(), self.layout.width());
        let targets = targets(&self.micro, width);
        let logprobs = self.decoder(under).spread_logprobs(self.hidden(under)?, &targets, [rows, width]);
        known.insert(under, logprobs.clone());
        Ok(logprobs)
    }

    fn decoder(&self, under: Under) -> &Decoder {
        match under {
            Under::Policy => &self.models.policy,
            Under::Reference => &self.models.reference,
        }
    }

    /// The hidden states before the head, [B, T, hidden]: one forward pass, however many ask.
    fn hidden(&self, under: Under) -> Result<Tensor<3>, ServiceError> {
        let mut known = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hidden) = known.get(&under) {
            return Ok(hidden.clone());
        }
        let decoder = self.decoder(under);
        let hidden = if self.is_packed { self.packed_hidden(decoder) } else { decoder.hidden(&self.layout) };
        let hidden = hidden.map_err(failed)?;
        known.insert(under, hidden.clone());
        Ok(hidden)
    }

    /// The same, of rows that lie several on a line of the forward pass. In padding stands what belongs to another place.
    fn packed_hidden(&self, decoder: &Decoder) -> Result<Tensor<3>, ModelError> {
        let lines = Lines::new(&self.micro, true)?;
        let hidden = decoder.hidden(&lines.layout)?;
        let [count, line, size] = hidden.dims();
        let (rows, width) = (self.layout.rows(), self.layout.width());
        let mut places = vec![0_i32; rows * width];
        for ((row, start), places) in self.micro.rows.iter().zip(lines.starts).zip(places.chunks_mut(width)) {
            for (place, source) in places.iter_mut().zip(start..start + row.tokens.len()) {
                *place = source as i32;
            }
        }
        let places = TensorData::new(places, [rows * width]);
        let places = Tensor::<1, Int>::from_data(places, &hidden.device().inner());
        Ok(hidden.reshape([count * line, size]).select(0, places).reshape([rows, width, size]))
    }

    fn rows_tensor(&self, values: Vec<f32>) -> TensorId {
        self.engine.insert_float(self.floats(values, [self.micro.rows.len()]))
    }

    fn floats<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), &self.models.reference.device().inner())
    }

    fn numbers(&self, column: &str) -> Result<TensorId, ServiceError> {
        let number = |index: usize| {
            let example = &self.micro.rows[index].example;
            let found = example.columns.get(column).and_then(Value::as_f64).map(|value| value as f32);
            found.filter(|value| value.is_finite()).ok_or_else(|| {
                let there = example.columns.get(column).map_or("is missing".into(), |value| format!("is {value}"));
                ServiceError::Unsupported(format!("the column `{column}` of row {} {there}, not a number", example.id))
            })
        };
        let values = (0..self.micro.rows.len()).map(number).collect::<Result<Vec<f32>, _>>()?;
        Ok(self.rows_tensor(values))
    }
}

impl Batch for TensorBatch {
    fn tensors(&self) -> Arc<dyn Tensors> {
        Arc::clone(&self.engine) as Arc<dyn Tensors>
    }

    fn port(&self, port: &Port) -> Result<Option<TensorId>, ServiceError> {
        let shape = [self.layout.rows(), self.layout.width()];
        let id = match port {
            Port::Tokens => self.engine.insert_int(self.layout.tensor(&self.models.reference.device().inner())),
            Port::Mask => {
                let ones = vec![1.0; self.micro.tokens()];
                self.engine.insert_float(self.floats(self.micro.padded_where_masked(&ones), shape))
            }
            Port::Weights => self.engine.insert_float(self.floats(self.weights.clone(), shape)),
            Port::Advantages => return Ok(None),
            Port::TokenLogprobs(under) => {
                let logprobs = match under.as_str() {
                    "policy" => self.logprobs(Under::Policy)?,
                    "reference" => self.logprobs(Under::Reference)?,
                    // One update per batch: the policy of a moment ago is the policy of now, without its gradient.
                    "old" => self.logprobs(Under::Policy)?.inner(),
                    other => return Err(unknown_model(other)),
                };
                self.engine.insert_float(logprobs)
            }
            Port::Groups => {
                let groups = TensorData::new(self.micro.groups.clone(), [self.micro.groups.len()]);
                let device = self.models.reference.device().inner();
                self.engine.insert_int(Tensor::<1, Int>::from_data(groups, &device))
            }
            Port::Chosen => {
                let chosen = |is_chosen: bool| if is_chosen { 1.0 } else { 0.0 };
                let values: Option<Vec<f32>> = self.micro.rows.iter().map(|row| row.is_chosen.map(chosen)).collect();
                match values {
                    Some(values) => self.rows_tensor(values),
                    None => return Ok(None),
                }
            }
            Port::Numbers(column) => self.numbers(column)?,
            Port::Parameter(name) => self.extra.offer(name, &self.engine)?,
            other => return Err(ServiceError::Unsupported(format!("this host has no {other:?}"))),
        };
        Ok(Some(id))
    }

    fn vocabulary(&self) -> usize {
        self.models.policy.config().vocab_size
    }

    fn samples(&self, draws: &Draws) -> Result<TensorId, ServiceError> {
        self.draw(draws)
    }

    fn candidate_logprobs(&self, under: &str, candidates: TensorId) -> Result<TensorId, ServiceError> {
        self.logprobs_of(under, candidates)
    }

    fn rows(&self) -> usize {
        self.micro.rows.len()
    }

    fn total_weight(&self) -> f64 {
        self.totals.weight
    }

    fn total_rows(&self) -> usize {
        self.totals.rows
    }

    fn micro_batches(&self) -> usize {
        self.totals.micro_batches
    }

    fn step(&self) -> u32 {
        self.totals.step
    }
}

/// Log-probabilities for `weigh`: of every token, without gradient, computed when they are asked for.
pub struct BatchLogprobs {
    models: PolicyPair,
    micro: Arc<MicroBatch>,
    is_packed: bool,
    known: Mutex<BTreeMap<Under, Vec<f32>>>,
}

impl BatchLogprobs {
    /// Of this micro-batch.
    pub fn new(models: PolicyPair, micro: Arc<MicroBatch>) -> Self {
        Self { models, micro, is_packed: false, known: Mutex::default() }
    }

    /// Computed with several rows on a line, or one.
    #[must_use]
    pub fn with_packing(self, is_packed: bool) -> Self {
        Self { is_packed, ..self }
    }

    fn compute(&self, under: Under) -> Result<Vec<f32>, ModelError> {
        let lines = Lines::new(&self.micro, self.is_packed)?;
        let logprobs = match under {
            Under::Policy => self.models.policy.valid().token_logprobs(&lines.layout)?,
            Under::Reference => self.models.reference.token_logprobs(&lines.layout)?,
        };
        let padded = tensor_values(logprobs);
        let rows = self.micro.rows.iter().zip(lines.starts);
        Ok(rows.flat_map(|(row, start)| padded[start..start + row.tokens.len()].to_vec()).collect())
    }
}

impl TokenLogprobs for BatchLogprobs {
    fn token_logprobs(&self, under: &str) -> Result<Vec<f32>, ServiceError> {
        let under = match under {
            "policy" | "old" => Under::Policy,
            "reference" => Under::Reference,
            other => return Err(unknown_model(other)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = known.get(&under) {
            return Ok(values.clone());
        }
        let values = self.compute(under).map_err(failed)?;
        known.insert(under, values.clone());
        Ok(values)
    }
}

/// The places whose tokens are trained on.
fn targets(micro: &MicroBatch, width: usize) -> Vec<Target> {
    let mut targets = Vec::new();
    for (row_number, row) in micro.rows.iter().enumerate() {
        for (column, id) in row.tokens.iter().enumerate().skip(1) {
            if row.mask[column] {
                targets.push(Target { index: row_number * width + column - 1, id: *id });
            }
        }
    }
    targets
}

fn unknown_model(name: &str) -> ServiceError {
    ServiceError::Unsupported(format!(
        "there are no log-probabilities under `{name}`; there are `policy`, `reference` and `old`"
    ))
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn failed(error: ModelError) -> ServiceError {
    ServiceError::Failed(error.to_string())
}
