//! Root mean square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::error::ModelError;
use crate::fused;
use crate::model::projection::vector;
use crate::model::weights::TensorSource;

/// `y = x / sqrt(mean(x^2) + epsilon) * weight` over the last dimension.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// One factor per dimension.
    pub weight: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        width: usize,
        epsilon: f64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let weight = vector(source.take(&format!("{name}.weight"), &[width])?, device);
        Ok(Self { weight, epsilon })
    }

    /// Normalises `[rows, columns, width]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        fused::rms_norm(x, self.weight.val(), self.epsilon)
    }
}
