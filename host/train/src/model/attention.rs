//! Causal self-attention with grouped key and value heads (Ainslie et al. 2023, arXiv 2305.13245).

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::error::ModelError;
use crate::model::cache::LayerCache;
use crate::model::config::{LayerKind, ModelConfig};
use crate::model::mixing::{Score, Span, attend, attend_by_row};
use crate::model::norm::RmsNorm;
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
    /// As the configuration lists them.
    pub(crate) ropes: Vec<Rope>,
    /// For each window that some layer has.
    pub(crate) spans: Vec<(Option<usize>, Span)>,
}

impl Pass {
    fn span(&self, window: Option<usize>) -> &Span {
        let found = self.spans.iter().find(|(own, _)| *own == window);
        &found.expect("a pass is made for the windows of its own decoder").1
    }
}

/// `softmax(score(q, k) + mask) v`, projected in and out; queries and keys are normed by head first if the model has it so.
///
/// Queries, keys and values come from matrices of their own, or from `qkv_proj`.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Hidden to query heads.
    pub q_proj: Option<Projection>,
    /// Hidden to key heads.
    pub k_proj: Option<Projection>,
    /// Hidden to value heads.
    pub v_proj: Option<Projection>,
    /// Hidden to query, key and value heads, in this order.
    pub qkv_proj: Option<Projection>,
    /// Query heads to hidden.
    pub o_proj: Projection,
    /// Of each query head.
    pub q_norm: Option<RmsNorm>,
    /// Of each key head.
    pub k_norm: Option<RmsNorm>,
    #[module(skip)]
    heads: Heads,
    #[module(skip)]
    kind: LayerKind,
    #[module(skip)]
    score: Score,
}

impl SelfAttention {
    pub(crate) fn load(
        source: &mut dyn TensorSource,
        name: &str,
        config: &ModelConfig,
        kind: LayerKind,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let heads = Heads { query: config.heads, key: config.kv_heads, width: config.head_dim };
        let hidden = config.hidden_size;
        let (query, key) = (heads.query * heads.width, heads.key * heads.width);
        let (biases, norms) = (config.biases, config.norms);
        let mut load = |part: &str, shape: [usize; 2], has_bias: bool| {
            Projection::load(source, &format!("{name}.{part}"), shape, has_bias, device)
        };
        let mut parts = [None, None, None, None];
        if config.is_fused {
            parts[3] = Some(load("qkv_proj", [hidden, query + 2 * key], biases.qkv)?);
        } else {
            for (part, (name, output)) in parts.iter_mut().zip([("q_proj", query), ("k_proj", key), ("v_proj", key)]) {
                *part = Some(load(name, [hidden, output], biases.qkv)?);
            }
        }
        let [q_proj, k_proj, v_proj, qkv_proj] = parts;
        let o_proj = load("o_proj", [query, hidden], biases.attention_output)?;
        let mut norm = |part: &str| {
            if !norms.is_by_head {
                return Ok(None);
            }
            RmsNorm::load(source, &format!("{name}.{part}"), heads.width, config, device).map(Some)
        };
        let (q_norm, k_norm) = (norm("q_norm")?, norm("k_norm")?);
        let score = Score { divisor: config.score_divisor, cap: config.soft_caps.attention };
        Ok(Self { q_proj, k_proj, v_proj, qkv_proj, o_proj, q_norm, k_norm, heads, kind, score })
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
        let [q, k, v] = self.queries_keys_values(x);
        let q = q.reshape([rows, columns, query, width]);
        let k = k.reshape([rows, columns, key, width]);
        let v = v.reshape([rows, columns, key, width]);
        let (rope, span) = (&pass.ropes[self.kind.rope], pass.span(self.kind.window));
        let q = rope.turn(normed(self.q_norm.as_ref(), q));
        let k = rope.turn(normed(self.k_norm.as_ref(), k));
        let (mixed, map) = match cache {
            None => {
                let (mixed, map) = attend(q, k, v, span, self.score);
                (mixed, Some(map))
            }
            Some(cache) => {
                let (k, v) = cache.extend(k, v, span.offset);
                (attend_by_row(q, k, v, span, self.score), None)
            }
        };
        (self.o_proj.forward(mixed.reshape([rows, columns, query * width])), map)
    }

    fn queries_keys_values(&self, x: Tensor<3>) -> [Tensor<3>; 3] {
        match [&self.q_proj, &self.k_proj, &self.v_proj, &self.qkv_proj] {
            [Some(q), Some(k), Some(v), _] => [q.forward(x.clone()), k.forward(x.clone()), v.forward(x)],
            [_, _, _, Some(all)] => {
                let all = all.forward(x);
                let (query, key) = (self.heads.query * self.heads.width, self.heads.key * self.heads.width);
                [(0, query), (query, key), (query + key, key)].map(|(start, len)| all.clone().narrow(2, start, len))
            }
            _ => unreachable!("queries, keys and values are loaded in one form or the other"),
        }
    }

    /// What an adapter may be attached to, by name.
    pub(crate) fn projections(&self) -> [(&'static str, Option<&Projection>); 5] {
        [
            ("q_proj", self.q_proj.as_ref()),
            ("k_proj", self.k_proj.as_ref()),
            ("v_proj", self.v_proj.as_ref()),
            ("qkv_proj", self.qkv_proj.as_ref()),
            ("o_proj", Some(&self.o_proj)),
        ]
    }

    pub(crate) fn projections_mut(&mut self) -> [Option<&mut Projection>; 5] {
        [
            self.q_proj.as_mut(),
            self.k_proj.as_mut(),
            self.v_proj.as_mut(),
            self.qkv_proj.as_mut(),
            Some(&mut self.o_proj),
        ]
    }
}

fn normed(norm: Option<&RmsNorm>, x: Tensor<4>) -> Tensor<4> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}
