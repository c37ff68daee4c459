//! A micro-batch as tensors: what an objective asks for, made when it asks and once only.

mod candidates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;
use tunesmith_core::data::{CHOSEN, REJECTED, TokenLogprobs};
use tunesmith_core::error::ServiceError;
use tunesmith_core::stage::{Batch, Draws, Port};
use tunesmith_core::tensors::{TensorId, Tensors};

use crate::batching::{EncodedRow, Encoder, Lines, MicroBatch, Sampled};
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
    /// The number of groups.
    pub groups: usize,
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
    /// What the policy is compared with: the model that it started from, or in a later phase the policy as that began. Without autodiff.
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
    /// At which rollouts were sampled.
    temperature: f32,
    hidden: Mutex<BTreeMap<Under, Tensor<3>>>,
    /// By model and the bits of the temperature.
    logprobs: Mutex<BTreeMap<(Under, u32), Tensor<2>>>,
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
        let (is_packed, temperature) = (false, 1.0);
        Ok(Self {
            engine,
            models,
            micro,
            layout,
            weights,
            totals,
            extra,
            encoder,
            is_packed,
            temperature,
            hidden,
            logprobs,
        })
    }

    /// The batch of rollouts that were sampled at this temperature.
    #[must_use]
    pub fn with_temperature(self, temperature: f32) -> Self {
        Self { temperature, ..self }
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
    fn logprobs(&self, under: Under, temperature: f32) -> Result<Tensor<2>, ServiceError> {
        let mut known = self.logprobs.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (under, temperature.to_bits());
        if let Some(logprobs) = known.get(&key) {
            return Ok(logprobs.clone());
        }
        let shape = [self.layout.rows(), self.layout.width()];
        let targets = targets(&self.micro, shape[1]);
        let (decoder, hidden) = (self.decoder(under), self.hidden(under)?);
        let logprobs = if temperature.to_bits() == 1.0_f32.to_bits() {
            decoder.spread_logprobs(hidden, &targets, shape)
        } else {
            decoder.spread_logprobs_at(hidden, &targets, shape, temperature)
        };
        known.insert(key, logprobs.clone());
        Ok(logprobs)
    }

    /// Log-probabilities by the name of a model, at a temperature.
    fn logprobs_under(&self, under: &str, temperature: f32) -> Result<Tensor<2>, ServiceError> {
        match under {
            "policy" => self.logprobs(Under::Policy, temperature),
            "reference" => self.logprobs(Under::Reference, temperature),
            "old" => self.old(temperature),
            other => Err(unknown_model(other)),
        }
    }

    /// Log-probabilities under the policy that sampled: as they were kept, or while nothing was updated since, those of the policy as it is.
    fn old(&self, temperature: f32) -> Result<Tensor<2>, ServiceError> {
        let rows = &self.micro.rows;
        let kept = || rows.iter().map(|row| row.sampled.as_ref().and_then(|sampled| sampled.old.as_ref()));
        if kept().all(|old| old.is_some()) && temperature.to_bits() == self.temperature.to_bits() {
            return Ok(self.per_token(kept().flatten().flatten().copied()));
        }
        let now = self.logprobs(Under::Policy, temperature)?.inner();
        let is_given = |row: &Arc<EncodedRow>| row.sampled.as_ref().is_some_and(|sampled| sampled.is_off_policy);
        if !rows.iter().any(is_given) {
            return Ok(now);
        }
        let sampled = rows.iter().flat_map(|row| vec![f32::from(u8::from(!is_given(row))); row.tokens.len()]);
        Ok(now * self.per_token(sampled))
    }

    /// One number per token, flat and without padding, as [B, T], 0.0 where nothing is trained on.
    fn per_token(&self, values: impl Iterator<Item = f32>) -> Tensor<2> {
        let values: Vec<f32> = values.collect();
        self.floats(self.micro.padded_where_masked(&values), [self.layout.rows(), self.layout.width()])
    }

    /// Numbers that belong to rollouts, [B, T]; none if a row is no rollout, or has none.
    fn of_sampled(&self, of: impl Fn(&Sampled) -> Option<&Vec<f32>>) -> Option<TensorId> {
        let lists: Option<Vec<&Vec<f32>>> =
            self.micro.rows.iter().map(|row| row.sampled.as_ref().and_then(&of)).collect();
        lists.map(|lists| self.engine.insert_float(self.per_token(lists.into_iter().flatten().copied())))
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

    fn token_numbers(&self, name: &str) -> Result<TensorId, ServiceError> {
        self.of_sampled(|sampled| sampled.numbers.get(name)).ok_or_else(|| {
            let known: BTreeSet<&String> = self
                .micro
                .rows
                .iter()
                .filter_map(|row| row.sampled.as_ref())
                .flat_map(|it| it.numbers.keys())
                .collect();
            let what = format!("there are no numbers `{}` per token; there are {known:?}", name.escape_debug());
            ServiceError::Unsupported(what)
        })
    }

    /// `log(sum(p^2))` of the policy's distributions, [B, T].
    fn collisions(&self) -> Result<Tensor<2>, ServiceError> {
        let collision = |_: &[Target], logprobs: Tensor<2>| logprobs.mul_scalar(2.0).exp().sum_dim(1).log();
        let hidden = self.hidden(Under::Policy)?.inner();
        Ok(self.over_vocabulary(&self.models.policy.valid(), &hidden, 1.0, collision))
    }

    fn over_vocabulary(
        &self,
        decoder: &Decoder,
        hidden: &Tensor<3>,
        temperature: f32,
        pick: impl Fn(&[Target], Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let shape = [self.layout.rows(), self.layout.width()];
        decoder.spread_over_vocabulary(hidden, &targets(&self.micro, shape[1]), shape, temperature, pick)
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
            Port::Advantages => return Ok(self.of_sampled(|sampled| Some(&sampled.advantages))),
            Port::TokenLogprobs(under) => {
                // What sampled is compared at the temperature at which it sampled.
                let temperature = if under == "old" { self.temperature } else { 1.0 };
                self.engine.insert_float(self.logprobs_under(under, temperature)?)
            }
            Port::TokenNumbers(name) => return self.token_numbers(name).map(Some),
            Port::HiddenStates => self.engine.insert_float(self.hidden(Under::Policy)?),
            Port::TokenCollisions => self.engine.insert_float(self.collisions()?),
            Port::OffPolicy => {
                let is_given = |row: &Arc<EncodedRow>| row.sampled.as_ref().is_some_and(|it| it.is_off_policy);
                self.rows_tensor(self.micro.rows.iter().map(|row| f32::from(u8::from(is_given(row)))).collect())
            }
            Port::Groups => {
                let groups = TensorData::new(self.micro.groups.clone(), [self.micro.groups.len()]);
                let device = self.models.reference.device().inner();
                self.engine.insert_int(Tensor::<1, Int>::from_data(groups, &device))
            }
            Port::Chosen => {
                if !self.micro.rows.iter().any(|row| matches!(row.role.as_str(), CHOSEN | REJECTED)) {
                    return Ok(None);
                }
                let is_chosen = |row: &Arc<EncodedRow>| f32::from(u8::from(row.role == CHOSEN));
                self.rows_tensor(self.micro.rows.iter().map(is_chosen).collect())
            }
            Port::Numbers(column) => self.numbers(column)?,
            Port::Parameter(name) => self.extra.offer(name, &self.engine)?,
            other => return Err(ServiceError::Unsupported(format!("this host has no {other:?}"))),
        };
        Ok(Some(id))
    }

    fn logprobs_at(&self, under: &str, temperature: f32) -> Result<TensorId, ServiceError> {
        Ok(self.engine.insert_float(self.logprobs_under(under, temperature)?))
    }

    fn entropies(&self, temperature: f32) -> Result<TensorId, ServiceError> {
        let entropy = |_: &[Target], logprobs: Tensor<2>| (logprobs.clone().exp() * logprobs).sum_dim(1).neg();
        let hidden = self.hidden(Under::Policy)?;
        let entropies = self.over_vocabulary(&self.models.policy, &hidden, temperature, entropy);
        Ok(self.engine.insert_float(entropies))
    }

    fn ids(&self) -> Vec<u64> {
        self.micro.rows.iter().map(|row| row.example.id).collect()
    }

    fn roles(&self) -> Vec<String> {
        self.micro.rows.iter().map(|row| row.role.clone()).collect()
    }

    fn temperature(&self) -> f32 {
        self.temperature
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

    fn total_groups(&self) -> usize {
        self.totals.groups
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
