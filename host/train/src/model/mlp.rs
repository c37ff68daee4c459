//! The gated feed-forward block (Shazeer 2020, arXiv 2002.05202).

use burn::module::Module;
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};

use crate::error::ModelError;
use crate::fused;
use crate::model::config::{Activation, ModelConfig};
use crate::model::projection::Projection;
use crate::model::weights::TensorSource;

/// `y = (act(x G) * (x U)) D`.
///
/// `G` and `U` are matrices of their own, or side by side in `gate_up_proj`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `G`: hidden to intermediate, through the activation.
    pub gate_proj: Option<Projection>,
    /// `U`: hidden to intermediate.
    pub up_proj: Option<Projection>,
    /// `G` and `U`: hidden to twice intermediate.
    pub gate_up_proj: Option<Projection>,
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
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let mut load = |part: &str, shape: [usize; 2]| {
            Projection::load(source, &format!("{name}.{part}"), shape, config.biases.mlp, device)
        };
        let mut parts = [None, None, None];
        if config.is_fused {
            parts[2] = Some(load("gate_up_proj", [hidden, 2 * wide])?);
        } else {
            parts[0] = Some(load("gate_proj", [hidden, wide])?);
            parts[1] = Some(load("up_proj", [hidden, wide])?);
        }
        let [gate_proj, up_proj, gate_up_proj] = parts;
        let down_proj = load("down_proj", [wide, hidden])?;
        Ok(Self { gate_proj, up_proj, gate_up_proj, down_proj, activation: config.activation })
    }

    /// Applies the block to `[rows, columns, hidden]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (gate, up) = self.gate_and_up(x);
        self.down_proj.forward(match self.activation {
            Activation::Silu => fused::silu_mul(gate, up),
            Activation::Gelu => gelu(gate) * up,
            Activation::GeluTanh => fused::gelu_mul(gate, up),
        })
    }

    fn gate_and_up(&self, x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        match [&self.gate_proj, &self.up_proj, &self.gate_up_proj] {
            [Some(gate), Some(up), _] => (gate.forward(x.clone()), up.forward(x)),
            [_, _, Some(both)] => {
                let both = both.forward(x);
                let wide = both.dims()[2] / 2;
                (both.clone().narrow(2, 0, wide), both.narrow(2, wide, wide))
            }
            _ => unreachable!("gate and up are loaded in one form or the other"),
        }
    }

    /// What an adapter may be attached to, by name.
    pub(crate) fn projections(&self) -> [(&'static str, Option<&Projection>); 4] {
        [
            ("gate_proj", self.gate_proj.as_ref()),
            ("up_proj", self.up_proj.as_ref()),
            ("gate_up_proj", self.gate_up_proj.as_ref()),
            ("down_proj", Some(&self.down_proj)),
        ]
    }

    pub(crate) fn projections_mut(&mut self) -> [Option<&mut Projection>; 4] {
        [self.gate_proj.as_mut(), self.up_proj.as_mut(), self.gate_up_proj.as_mut(), Some(&mut self.down_proj)]
    }
}
