//! Causal self-attention with grouped key and value heads (Ainslie et al. 2023, arXiv 2305.13245).

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::ModelError;
use crate::fused;
use crate::model::cache::LayerCache;
use crate::model::config::ModelConfig;
use crate::model::mixing::{Span, attend, attend_by_row};
use crate::model::projection::Projection;
use crate::model::rope::Rope;
use crate::model::weights::TensorSource;

/// Sizes of the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub key: usize,
    /// Width of one head.
    pub width: usize,
}

/// What all layers share in one forward pass.
pub(crate) struct Pass {
    pub(crate) rope: Rope,
    pub(crate) span: Span,
}

/// `softmax(q k^T / sqrt(d) + mask) v`, projected in and out.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Hidden to query heads.
    pub q_proj: Projection,
    /// Hidden to key heads.
    pub k_proj: Projection,
    /// Hidden to value heads.
    pub v_proj: Projection,
    /// Query heads to hidden.
    pub o_proj: Projection,
    #[module(skip)]
    heads: Heads,
}

impl SelfAttention {
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let heads = Heads { query: config.heads, key: config.kv_heads, width: config.head_dim };
        let hidden = config.hidden_size;
        let (query, key) = (heads.query * heads.width, heads.key * heads.width);
        let qkv_bias = config.biases.qkv;
        Ok(Self {
            q_proj: Projection::load(source, &format!("{name}.q_proj"), [hidden, query], qkv_bias, device)?,
            k_proj: Projection::load(source, &format!("{name}.k_proj"), [hidden, key], qkv_bias, device)?,
            v_proj: Projection::load(source, &format!("{name}.v_proj"), [hidden, key], qkv_bias, device)?,
            o_proj: Projection::load(
                source,
                &format!("{name}.o_proj"),
                [query, hidden],
                config.biases.attention_output,
                device,
            )?,
            heads,
        })
    }

    /// Applies the block to `[rows, columns, hidden]`; without a cache it also gives the attention map.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        pass: &Pass,
        cache: Option<&mut LayerCache>,
    ) -> (Tensor<3>, Option<Tensor<4>>) {
        let [rows, columns, _] = x.dims();
        let Heads { query, key, width } = self.heads;
        let q = self.q_proj.forward(x.clone()).reshape([rows, columns, query, width]);
        let k = self.k_proj.forward(x.clone()).reshape([rows, columns, key, width]);
        let v = self.v_proj.forward(x).reshape([rows, columns, key, width]);
        let q = fused::rope(q, pass.rope.cos.clone(), pass.rope.sin.clone());
        let k = fused::rope(k, pass.rope.cos.clone(), pass.rope.sin.clone());
        let (mixed, map) = match cache {
            None => {
                let (mixed, map) = attend(q, k, v, &pass.span);
                (mixed, Some(map))
            }
            Some(cache) => {
                let (k, v) = cache.extend(k, v, pass.span.offset);
                (attend_by_row(q, k, v, &pass.span), None)
            }
        };
        (self.o_proj.forward(mixed.reshape([rows, columns, query * width])), map)
    }
}
