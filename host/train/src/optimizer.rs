//! `AdamW` over the parameters of a decoder by their names: gradients, their norm, the update, and a state that can be saved.
//!
//! Names are paths in the decoder, such as `model.layers.0.self_attn.q_proj.weight`, or `...weight.lora.a` for an adapter's factor.

mod gradients;
mod parameters;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use tunesmith_core::plan::TrainPlan;

use crate::error::ModelError;
use crate::extra::ExtraParameters;
use crate::fused::{self, AdamStep};
use crate::model::weights::{TensorSource, WeightFiles, headers};
use crate::model::{Decoder, NamedTensor, WeightType};
use crate::tensor_values;

pub use gradients::NamedGradients;
pub use parameters::{digest_of_trained, shapes_of_trained, trained_parameters};
#[cfg(test)]
pub(crate) use tests::plan as test_plan;

/// Decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101) on Adam (Kingma and Ba 2015, arXiv 1412.6980).
///
/// With `g` the gradient and `t` the number of the parameter's own update, from 1: `p = p (1 - lr wd)`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
/// `p = p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`. Vectors (norms and biases) are not decayed, as in transformers.
#[derive(Debug, Clone)]
pub struct AdamW {
    betas: [f64; 2],
    epsilon: f64,
    weight_decay: f64,
    moments: BTreeMap<String, Moments>,
}

/// Running means of the gradient and of its square, flat, and how many gradients they have seen: not all parameters are used from the start.
#[derive(Debug, Clone)]
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
    updates: u32,
}

impl AdamW {
    /// Without any state yet.
    pub fn new(plan: &TrainPlan) -> Self {
        Self { betas: plan.betas, epsilon: plan.epsilon, weight_decay: plan.weight_decay, moments: BTreeMap::new() }
    }

    /// Updates every parameter that has a gradient; gives the decoder ready for the next forward pass.
    #[must_use]
    pub fn update(&mut self, decoder: Decoder, gradients: NamedGradients, learning_rate: f64) -> Decoder {
        let mut mapper = Update { optimizer: self, gradients, learning_rate, path: Vec::new() };
        decoder.map(&mut mapper)
    }

    /// Takes part in the update that [`AdamW::update`] made just before: a plugin's extra parameters, each with its own rate.
    ///
    /// `rate` gives the learning rate of this step from a parameter's own highest one, if it has one. Parameters without a gradient stay.
    pub fn update_extra(
        &mut self,
        extra: &mut ExtraParameters,
        mut gradients: NamedGradients,
        rate: impl Fn(Option<f64>) -> f64,
    ) {
        for (key, extra) in extra.each() {
            let value = extra.value.clone().inner();
            let Some(gradient) = gradients.take(&key) else { continue };
            let is_decayed = 2 <= extra.shape.len();
            let value = self.step_at(&key, value, gradient, Rate { learning: rate(extra.peak), is_decayed });
            extra.value = Tensor::from_inner(value).require_grad();
        }
    }

    /// Writes the moments by parameter name to a safetensors file, with the number of updates as `NAME.updates`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let mut tensors = Vec::with_capacity(3 * self.moments.len());
        for (name, moments) in &self.moments {
            for (part, tensor) in [("mean", &moments.mean), ("square", &moments.square)] {
                tensors.push(NamedTensor {
                    name: format!("{name}.{part}"),
                    shape: tensor.dims().to_vec(),
                    values: tensor_values(tensor.clone()),
                });
            }
            // Exact in float32 for as many steps as a run can have.
            let updates = vec![moments.updates as f32];
            tensors.push(NamedTensor { name: format!("{name}.updates"), shape: vec![1], values: updates });
        }
        crate::model::export::save_tensors(path, &tensors, WeightType::F32)
    }

    /// Reads what [`AdamW::save`] wrote while `decoder` and `extra` were trained.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read or belongs to other parameters.
    pub fn load(plan: &TrainPlan, path: &Path, decoder: &Decoder, extra: &ExtraParameters) -> Result<Self, ModelError> {
        let mut optimizer = Self::new(plan);
        let mut shapes = shapes_of_trained(decoder);
        shapes.extend(extra.all().map(|(key, extra)| (key, extra.shape.clone())));
        // What no loss has used yet has no moments: layers behind an exit, a parameter for later.
        let there = headers::names(path)?;
        shapes.retain(|name, _| there.contains(&format!("{name}.mean")));
        let flat = |shape: &[usize]| vec![shape.iter().product::<usize>()];
        let expected = shapes
            .iter()
            .flat_map(|(name, shape)| {
                [("mean", flat(shape)), ("square", flat(shape)), ("updates", vec![1])]
                    .map(|(part, shape)| (format!("{name}.{part}"), shape))
            })
            .collect();
        let mut file = WeightFiles::load_file(path, &expected)?;
        let device = decoder.device().inner();
        for (name, shape) in shapes {
            let shape = flat(&shape);
            let mut take = |part: &str| -> Result<Tensor<1>, ModelError> {
                let values = file.take(&format!("{name}.{part}"), &shape)?;
                Ok(Tensor::from_data(TensorData::new(values, shape.clone()), &device))
            };
            let (mean, square) = (take("mean")?, take("square")?);
            let updates = file.take(&format!("{name}.updates"), &[1])?[0] as u32;
            let moments = Moments { mean, square, updates };
            optimizer.moments.insert(name, moments);
        }
        Ok(optimizer)
    }

    /// The new value of one parameter of the model.
    fn step<const D: usize>(&mut self, name: &str, value: Tensor<D>, gradient: Tensor<1>, lr: f64) -> Tensor<D> {
        self.step_at(name, value, gradient, Rate { learning: lr, is_decayed: 2 <= D })
    }

    /// The new value of one parameter.
    fn step_at<const D: usize>(&mut self, name: &str, value: Tensor<D>, gradient: Tensor<1>, rate: Rate) -> Tensor<D> {
        let shape = value.dims();
        let [b1, b2] = self.betas;
        let mut moments = self.moments.remove(name).unwrap_or_else(|| {
            let zeros = Tensor::zeros([shape.iter().product::<usize>()], &gradient.device());
            Moments { mean: zeros.clone(), square: zeros, updates: 0 }
        });
        moments.updates += 1;
        let correction = |beta: f64| 1.0 - beta.powi(moments.updates as i32);
        let decay = if rate.is_decayed { rate.learning * self.weight_decay } else { 0.0 };
        let step = AdamStep {
            betas: [b1 as f32, b2 as f32],
            rests: [(1.0 - b1) as f32, (1.0 - b2) as f32],
            root: correction(b2).powf(-0.5) as f32,
            epsilon: self.epsilon as f32,
            rate: (rate.learning / correction(b1)) as f32,
            keep: (1.0 - decay) as f32,
        };
        let flat = value.reshape([-1]);
        let [flat, mean, square] = fused::adamw([flat, moments.mean, moments.square], gradient, &step);
        self.moments.insert(name.to_owned(), Moments { mean, square, ..moments });
        flat.reshape(shape)
    }
}

/// How fast one parameter moves.
#[derive(Clone, Copy)]
struct Rate {
    learning: f64,
    is_decayed: bool,
}

/// Walks through the decoder and puts new values in place.
struct Update<'a> {
    optimizer: &'a mut AdamW,
    gradients: NamedGradients,
    learning_rate: f64,
    path: Vec<String>,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let Some(gradient) = self.gradients.take(&name) else { return param };
        param.map(|value| {
            let value = self.optimizer.step(&name, value.inner(), gradient, self.learning_rate);
            Tensor::from_inner(value).require_grad()
        })
    }
}
