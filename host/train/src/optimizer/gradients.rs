//! Gradients by parameter name, summed over micro-batches.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

use crate::extra::{Extra, ExtraParameters};
use crate::model::Decoder;
use crate::tensor_values;
use crate::total::total;

/// Elements that are summed in one piece. burn sums longer tensors in an order that depends on the threads.
const PIECE: usize = 1 << 20;

/// The gradients of one optimiser step, flat, in the order of names.
#[derive(Debug, Default)]
pub struct NamedGradients {
    by_name: BTreeMap<String, Tensor<1>>,
}

impl NamedGradients {
    /// The gradients that a backward pass left for the decoder's trained parameters.
    pub fn of(decoder: &Decoder, mut gradients: Gradients) -> Self {
        let mut visitor = Collect { gradients: &mut gradients, path: Vec::new(), by_name: BTreeMap::new() };
        decoder.visit(&mut visitor);
        Self { by_name: visitor.by_name }
    }

    /// As [`NamedGradients::of`], and those for a plugin's extra parameters.
    pub fn of_all(decoder: &Decoder, extra: &ExtraParameters, mut gradients: Gradients) -> Self {
        let own = |(key, extra): (String, &Extra)| Some((key, extra.value.grad_remove(&mut gradients)?));
        let of_extra: BTreeMap<_, _> = extra.all().filter_map(own).collect();
        let mut all = Self::of(decoder, gradients);
        all.by_name.extend(of_extra);
        all
    }

    /// The elements of each gradient, by parameter, in row-major order.
    pub fn values(&self) -> BTreeMap<String, Vec<f32>> {
        self.by_name.iter().map(|(name, gradient)| (name.clone(), tensor_values(gradient.clone()))).collect()
    }

    /// Whether no parameter has a gradient.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Those of these names, which are taken out.
    #[must_use]
    pub(crate) fn split_off(&mut self, names: impl Iterator<Item = String>) -> Self {
        let own = |name: String| self.by_name.remove(&name).map(|gradient| (name, gradient));
        Self { by_name: names.filter_map(own).collect() }
    }

    /// Adds those of another micro-batch.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        for (name, gradient) in other.by_name {
            let sum = match self.by_name.remove(&name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.by_name.insert(name, sum);
        }
        self
    }

    /// The L2 norm over all parameters. Not finite if one of the elements is not.
    pub fn norm(&self) -> f64 {
        self.squares(|_| true).sqrt()
    }

    /// The L2 norm of each parameter's gradient.
    pub fn norms(&self) -> BTreeMap<String, f64> {
        self.by_name.keys().map(|name| (name.clone(), self.squares(|other| other == name).sqrt())).collect()
    }

    /// Scales all gradients so that their norm is at most `limit`; 0 leaves them alone. `norm` is what [`NamedGradients::norm`] gave.
    #[must_use]
    pub fn clipped(self, norm: f64, limit: f64) -> Self {
        if limit == 0.0 || norm <= limit {
            return self;
        }
        // As PyTorch's `clip_grad_norm_`.
        let factor = limit / (norm + 1e-6);
        let scaled = self.by_name.into_iter().map(|(name, gradient)| (name, gradient.mul_scalar(factor)));
        Self { by_name: scaled.collect() }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Tensor<1>> {
        self.by_name.remove(name)
    }

    fn squares(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        let mut sums = Vec::new();
        for (_, gradient) in self.by_name.iter().filter(|(name, _)| wanted(name)) {
            let [len] = gradient.dims();
            for start in (0..len).step_by(PIECE) {
                let piece = gradient.clone().narrow(0, start, PIECE.min(len - start));
                sums.push(total(piece.square()));
            }
        }
        if sums.is_empty() {
            return 0.0;
        }
        // One transfer for all of them; the rest is summed here, in order.
        tensor_values(Tensor::cat(sums, 0)).into_iter().map(f64::from).sum()
    }
}

struct Collect<'a> {
    gradients: &'a mut Gradients,
    path: Vec<String>,
    by_name: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.base().grad_remove(self.gradients) {
            let len: usize = gradient.dims().iter().product();
            self.by_name.insert(self.path.join("."), gradient.reshape([len]));
        }
    }
}
