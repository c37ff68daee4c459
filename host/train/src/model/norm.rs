//! Root mean square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::error::ModelError;
use crate::fused;
use crate::model::config::ModelConfig;
use crate::model::projection::vector;
use crate::model::weights::TensorSource;

/// `y = x / sqrt(mean(x^2) + epsilon) * factor` over the last dimension, where the factor is `weight` or `1 + weight`.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// One number per dimension.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
    #[module(skip)]
    is_offset: bool,
}

impl RmsNorm {
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        width: usize,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let weight = vector(source.take(&format!("{name}.weight"), &[width])?, device);
        Ok(Self { weight, epsilon: config.norm_epsilon, is_offset: config.norms.is_offset })
    }

    /// Normalises `[.., width]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.val();
        let factor = if self.is_offset { weight.add_scalar(1.0) } else { weight };
        fused::rms_norm(x, factor, self.epsilon)
    }
}
