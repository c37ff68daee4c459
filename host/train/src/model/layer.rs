//! One layer of the decoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::ModelError;
use crate::model::attention::{Pass, SelfAttention};
use crate::model::cache::LayerCache;
use crate::model::config::ModelConfig;
use crate::model::mlp::Mlp;
use crate::model::norm::RmsNorm;
use crate::model::projection::Projection;
use crate::model::weights::TensorSource;

/// One decoder layer: `x + attention(norm(x))`, then `x + mlp(norm(x))`; with norms around, what is added is normed once more.
#[derive(Module, Debug)]
pub struct Layer {
    /// Mixes the columns.
    pub self_attn: SelfAttention,
    /// Works on each column.
    pub mlp: Mlp,
    /// Before the attention.
    pub input_layernorm: RmsNorm,
    /// Before the feed-forward block; after the attention in models with norms around.
    pub post_attention_layernorm: RmsNorm,
    /// Before the feed-forward block in models with norms around.
    pub pre_feedforward_layernorm: Option<RmsNorm>,
    /// After the feed-forward block in models with norms around.
    pub post_feedforward_layernorm: Option<RmsNorm>,
}

/// The names of a layer's norms over the hidden size.
pub(crate) fn norm_names(config: &ModelConfig) -> &'static [&'static str] {
    const NAMES: [&str; 4] =
        ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"];
    if config.norms.is_around { &NAMES } else { &NAMES[..2] }
}

impl Layer {
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        index: usize,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let name = format!("model.layers.{index}");
        let mut norms = [None, None, None, None];
        for (norm, part) in norms.iter_mut().zip(norm_names(config)) {
            *norm = Some(RmsNorm::load(source, &format!("{name}.{part}"), config.hidden_size, config, device)?);
        }
        let [Some(input_layernorm), Some(post_attention_layernorm), before, after] = norms else {
            unreachable!("each layer has at least these two norms");
        };
        let kind = config.layer_kinds[index];
        Ok(Self {
            input_layernorm,
            post_attention_layernorm,
            pre_feedforward_layernorm: before,
            post_feedforward_layernorm: after,
            self_attn: SelfAttention::load(source, &format!("{name}.self_attn"), config, kind, device)?,
            mlp: Mlp::load(source, &format!("{name}.mlp"), config, device)?,
        })
    }

    /// Gives the layer's output and, without a cache, its attention map.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
    ) -> (Tensor<3>, Option<Tensor<4>>) {
        let (mixed, map) = self.self_attn.forward(self.input_layernorm.forward(x.clone()), pass, cache);
        let norms = (&self.pre_feedforward_layernorm, &self.post_feedforward_layernorm);
        let x = if let (Some(before), Some(after)) = norms {
            let x = x + self.post_attention_layernorm.forward(mixed);
            x.clone() + after.forward(self.mlp.forward(before.forward(x)))
        } else {
            let x = x + mixed;
            x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
        };
        (x, map)
    }

    /// The projections that an adapter may be attached to: block, name and the layer itself.
    pub(crate) fn projections(&self) -> impl Iterator<Item = (&'static str, &'static str, &Projection)> {
        let attention = self.self_attn.projections().into_iter().map(|(name, part)| ("self_attn", name, part));
        let mlp = self.mlp.projections().into_iter().map(|(name, part)| ("mlp", name, part));
        attention.chain(mlp).filter_map(|(block, name, part)| part.map(|part| (block, name, part)))
    }

    pub(crate) fn projections_mut(&mut self) -> impl Iterator<Item = &mut Projection> {
        self.self_attn.projections_mut().into_iter().chain(self.mlp.projections_mut()).flatten()
    }
}
