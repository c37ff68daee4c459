//! Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on burn's own reparameterisation, in PEFT's file format.
//!
//! `y = x W + alpha / rank * (x A) B` with `W` frozen. burn attaches its `LoraAdapter` exactly as `Module::apply_lora` does, but
//! with factors from our own seeded generator; burn's initialiser draws from a global one.

use std::collections::BTreeMap;

use burn::module::{LoraAdapter, Module, Param, Reparameterizer};
use burn::tensor::{Tensor, TensorData};

use crate::error::ModelError;
use crate::model::decoder::Decoder;
use crate::model::layer::Layer;
use crate::random::Random;

pub mod merge;
pub mod peft;

/// The projections that an adapter can be attached to, in the order of a layer, where each is a matrix of its own.
pub const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The same where queries, keys and values come from one matrix, and gate and up from another (Phi 3).
pub const FUSED_TARGETS: [&str; 4] = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"];

/// Size, strength and place of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSettings {
    /// Inner width of the two factors; at least 1.
    pub rank: usize,
    /// The product is scaled by `alpha / rank`; above 0.
    pub alpha: f64,
    /// Names of projections that the model has, from [`TARGETS`] or [`FUSED_TARGETS`]; not empty. All of [`TARGETS`] together mean every
    /// projection of every model.
    pub targets: Vec<String>,
}

/// The projections of a model whose tensors have these names and shapes.
fn projections(shapes: &BTreeMap<String, Vec<usize>>) -> Vec<&'static str> {
    let known = TARGETS.iter().chain(FUSED_TARGETS.iter().filter(|target| !TARGETS.contains(target)));
    let is_there = |target: &&&str| shapes.keys().any(|name| name.ends_with(&format!(".{target}.weight")));
    known.filter(is_there).copied().collect()
}

impl LoraSettings {
    /// An adapter on every projection of every layer.
    pub fn new(rank: usize, alpha: f64) -> Self {
        Self { rank, alpha, targets: TARGETS.map(str::to_owned).into() }
    }

    /// The same settings with the targets that this model has.
    ///
    /// # Errors
    ///
    /// Fails when a setting is out of range, or a target is none of the model's projections.
    fn resolved(&self, decoder: &Decoder) -> Result<Self, ModelError> {
        let targets = decoder.targets();
        let resolved = self.on(&targets);
        resolved.check(decoder, &targets)?;
        Ok(resolved)
    }

    /// The same settings, with every projection of a model that has these if every one is meant.
    fn on(&self, projections: &[&str]) -> Self {
        let is_every = TARGETS.iter().all(|target| self.targets.iter().any(|own| own == target));
        let all = || projections.iter().map(|target| (*target).to_owned()).collect();
        Self { targets: if is_every { all() } else { self.targets.clone() }, ..self.clone() }
    }

    fn check(&self, decoder: &Decoder, known: &[&str]) -> Result<(), ModelError> {
        let sides = decoder.model.layers.iter().flat_map(Layer::projections);
        let widest = sides.flat_map(|(_, _, projection)| projection.weight.base().dims()).max().unwrap_or(0);
        if !(1..=widest).contains(&self.rank) {
            return Err(ModelError::request(format!(
                "adapter rank {} is not between 1 and {widest}, the widest side of a projection",
                self.rank
            )));
        }
        if !(self.alpha.is_finite() && 0.0 < self.alpha) {
            return Err(ModelError::request(format!("adapter alpha {} is not a number above 0", self.alpha)));
        }
        if self.targets.is_empty() {
            return Err(ModelError::request("an adapter needs at least one target projection"));
        }
        match self.targets.iter().find(|target| !known.contains(&target.as_str())) {
            Some(target) => Err(ModelError::request(format!(
                "the model has no projection `{target}` to adapt\nhint: it has {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }
}

impl Decoder {
    /// Attaches a fresh adapter and freezes everything else. `A` is uniform in `±1 / sqrt(input)` as in PEFT, `B` is zero, so the
    /// output does not change yet. The same seed gives the same factors, whatever the targets.
    ///
    /// # Errors
    ///
    /// Fails when the settings are out of range, or an adapter is attached already.
    pub fn with_adapter(self, settings: &LoraSettings, seed: u64) -> Result<Self, ModelError> {
        let settings = &settings.resolved(&self)?;
        if self.adapter_settings().is_some() {
            return Err(ModelError::request("the model has an adapter already\nhint: merge it or take it off first"));
        }
        let fresh = |path: &str, [input, output]: [usize; 2]| {
            let mut random = Random::named(seed, path);
            let bound = (input as f64).powf(-0.5);
            let a = (0..input * settings.rank).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
            Some((a, vec![0.0; settings.rank * output]))
        };
        Ok(self.attach(settings, fresh))
    }

    /// The same decoder without its adapter: the reference model. The weights are shared, not copied.
    #[must_use]
    pub fn without_adapter(&self) -> Self {
        let mut plain = self.clone();
        for layer in &mut plain.model.layers {
            for projection in layer.projections_mut() {
                *projection = projection.without_adapter();
            }
        }
        plain
    }

    /// The decoder with its adapter folded into the weights: `W + alpha / rank * A B`. Without autodiff.
    #[must_use]
    pub fn merged(&self) -> Self {
        self.valid().materialize()
    }

    /// Rank, alpha and targets of the attached adapter.
    pub fn adapter_settings(&self) -> Option<LoraSettings> {
        let mut settings: Option<LoraSettings> = None;
        self.for_each_adapter(|_, target, adapter| {
            let rank = adapter.a.base().dims()[1];
            let settings = settings.get_or_insert_with(|| LoraSettings {
                rank,
                alpha: adapter.scale * rank as f64,
                targets: Vec::new(),
            });
            if !settings.targets.iter().any(|known| known == target) {
                settings.targets.push(target.to_owned());
            }
        });
        settings
    }

    /// The projections of a layer, by name, in its order.
    fn targets(&self) -> Vec<&'static str> {
        let first = self.model.layers.iter().take(1);
        first.flat_map(Layer::projections).map(|(_, name, _)| name).collect()
    }

    /// Calls `visit` with the checkpoint name of the projection, its last part, and its adapter, in the model's order.
    pub(crate) fn for_each_adapter(&self, mut visit: impl FnMut(&str, &str, &LoraAdapter)) {
        for (index, layer) in self.model.layers.iter().enumerate() {
            for (block, target, projection) in layer.projections() {
                if let Some(adapter) = projection.weight.adapter() {
                    visit(&format!("model.layers.{index}.{block}.{target}"), target, adapter);
                }
            }
        }
    }

    /// Attaches factors `A` `[input, rank]` and `B` `[rank, output]`, row-major, to every target for which `factors` gives some.
    fn attach(
        self,
        settings: &LoraSettings,
        factors: impl FnMut(&str, [usize; 2]) -> Option<(Vec<f32>, Vec<f32>)>,
    ) -> Self {
        self.apply_reparameterization(Attach { settings, factors })
    }
}

struct Attach<'a, F> {
    settings: &'a LoraSettings,
    factors: F,
}

impl<F: FnMut(&str, [usize; 2]) -> Option<(Vec<f32>, Vec<f32>)>> Reparameterizer for Attach<'_, F> {
    type Reparam = LoraAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraAdapter>) {
        let base = param.set_require_grad(false);
        let Some(name) = path.strip_suffix(".weight") else { return (base, None) };
        let is_target = self.settings.targets.iter().any(|target| name.rsplit('.').next() == Some(target.as_str()));
        let dims = base.dims();
        let &[input, output] = dims.as_slice() else { return (base, None) };
        let Some((a, b)) = is_target.then(|| (self.factors)(name, [input, output])).flatten() else {
            return (base, None);
        };
        let device = base.base().device();
        let rank = self.settings.rank;
        let factor = |values: Vec<f32>, shape: [usize; 2]| Param::from_data(TensorData::new(values, shape), &device);
        let adapter = LoraAdapter {
            a: factor(a, [input, rank]),
            b: factor(b, [rank, output]),
            scale: self.settings.alpha / rank as f64,
        };
        (base, Some(adapter))
    }
}

#[cfg(test)]
mod tests;
