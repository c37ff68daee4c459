//! The gated feed-forward block (Shazeer 2020, arXiv 2002.05202).

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::ModelError;
use crate::fused;
use crate::model::config::{Activation, ModelConfig};
use crate::model::projection::Projection;
use crate::model::weights::TensorSource;

/// `y = (act(x G) * (x U)) D`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `G`: hidden to intermediate, through the activation.
    pub gate_proj: Projection,
    /// `U`: hidden to intermediate.
    pub up_proj: Projection,
    /// `D`: intermediate to hidden.
    pub down_proj: Projection,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let wide = [config.hidden_size, config.intermediate_size];
        let narrow = [config.intermediate_size, config.hidden_size];
        let bias = config.biases.mlp;
        Ok(Self {
            gate_proj: Projection::load(source, &format!("{name}.gate_proj"), wide, bias, device)?,
            up_proj: Projection::load(source, &format!("{name}.up_proj"), wide, bias, device)?,
            down_proj: Projection::load(source, &format!("{name}.down_proj"), narrow, bias, device)?,
            activation: config.activation,
        })
    }

    /// Applies the block to `[rows, columns, hidden]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = self.gate_proj.forward(x.clone());
        let up = self.up_proj.forward(x);
        self.down_proj.forward(match self.activation {
            Activation::Silu => fused::silu_mul(gate, up),
        })
    }
}
