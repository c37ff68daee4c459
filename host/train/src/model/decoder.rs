//! The decoder: embedding, layers, final norm, head. Its parameters carry their Hugging Face names.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::ModelError;
use crate::model::attention::Pass;
use crate::model::batch::TokenBatch;
use crate::model::cache::KvCache;
use crate::model::config::ModelConfig;
use crate::model::layer::{Layer, norm_names};
use crate::model::mixing::Span;
use crate::model::norm::RmsNorm;
use crate::model::projection::{Embedding, Projection};
use crate::model::rope::{Place, Rope};
use crate::model::weights::{RandomWeights, TensorSource};

/// A causal language model. The paths of its parameters are the names in a Hugging Face checkpoint.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Everything below the head.
    pub model: Backbone,
    /// Hidden to vocabulary; `None` if the embedding serves as the head.
    pub lm_head: Option<Projection>,
    #[module(skip)]
    config: ModelConfig,
}

/// Embedding, layers and final norm.
#[derive(Module, Debug)]
pub struct Backbone {
    /// One vector per token.
    pub embed_tokens: Embedding,
    /// In order.
    pub layers: Vec<Layer>,
    /// Applied after the last layer.
    pub norm: RmsNorm,
}

/// What a forward pass should give besides the last hidden states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// Compute logits for all columns.
    pub logits: bool,
    /// Hidden states to keep: 0 is the embedding, `i` the output of layer `i`; that of the last layer is taken after the final
    /// norm, as in transformers.
    pub hidden_layers: Vec<usize>,
    /// Layers, counted from 0, whose attention maps to keep.
    pub attention_layers: Vec<usize>,
    /// Stop after this many layers; final norm and head are applied there. `None` runs all layers.
    pub exit_after: Option<usize>,
}

/// What a forward pass gives.
#[derive(Clone, Debug)]
pub struct ForwardOutput {
    /// Hidden states after the final norm: `[rows, columns, hidden]`.
    pub last_hidden: Tensor<3>,
    /// As asked for by `hidden_layers`, in that order.
    pub hidden: Vec<Tensor<3>>,
    /// As asked for by `attention_layers`, in that order: `[rows, heads, columns, columns]`.
    pub attention: Vec<Tensor<4>>,
    /// `[rows, columns, vocabulary]`, if asked for.
    pub logits: Option<Tensor<3>>,
}

impl Decoder {
    /// Builds the decoder from a source of weights, on a device.
    ///
    /// # Errors
    ///
    /// Fails when the source lacks a tensor or has it in another shape.
    pub fn load(config: &ModelConfig, source: &mut dyn TensorSource, device: &Device) -> Result<Self, ModelError> {
        let embedding = [config.vocab_size, config.hidden_size];
        let embed_tokens = Embedding::load(source, "model.embed_tokens", embedding, device)?;
        let layers =
            (0..config.layers).map(|index| Layer::load(source, index, config, device)).collect::<Result<_, _>>()?;
        let norm = RmsNorm::load(source, "model.norm", config.hidden_size, config, device)?;
        let lm_head = if config.tied_head {
            None
        } else {
            Some(Projection::load(source, "lm_head", [config.hidden_size, config.vocab_size], false, device)?)
        };
        Ok(Self { model: Backbone { embed_tokens, layers, norm }, lm_head, config: config.clone() })
    }

    /// A decoder with fresh random weights: the same for the same configuration and seed, on every machine.
    ///
    /// # Errors
    ///
    /// Does not fail for a valid configuration.
    pub fn random(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let mut source = RandomWeights {
            seed,
            standard_deviation: config.initializer_range,
            norm: if config.norms.is_offset { 0.0 } else { 1.0 },
        };
        Self::load(config, &mut source, device)
    }

    /// Every tensor that a checkpoint of this configuration holds, with its shape there.
    pub fn tensor_shapes(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
        let hidden = config.hidden_size;
        let (query, key) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let wide = config.intermediate_size;
        let biases = config.biases;
        let mut shapes = BTreeMap::new();
        shapes.insert("model.embed_tokens.weight".to_owned(), vec![config.vocab_size, hidden]);
        shapes.insert("model.norm.weight".to_owned(), vec![hidden]);
        if !config.tied_head {
            shapes.insert("lm_head.weight".to_owned(), vec![config.vocab_size, hidden]);
        }
        for layer in 0..config.layers {
            for norm in norm_names(config) {
                shapes.insert(format!("model.layers.{layer}.{norm}.weight"), vec![hidden]);
            }
            for norm in ["q_norm", "k_norm"].iter().filter(|_| config.norms.is_by_head) {
                shapes.insert(format!("model.layers.{layer}.self_attn.{norm}.weight"), vec![config.head_dim]);
            }
            let inputs: &[(&str, usize, bool)] = if config.is_fused {
                &[("self_attn.qkv_proj", query + 2 * key, biases.qkv), ("mlp.gate_up_proj", 2 * wide, biases.mlp)]
            } else {
                &[
                    ("self_attn.q_proj", query, biases.qkv),
                    ("self_attn.k_proj", key, biases.qkv),
                    ("self_attn.v_proj", key, biases.qkv),
                    ("mlp.gate_proj", wide, biases.mlp),
                    ("mlp.up_proj", wide, biases.mlp),
                ]
            };
            let inputs = inputs.iter().map(|(name, output, has_bias)| (*name, *output, hidden, *has_bias));
            for (name, output, input, has_bias) in inputs.chain([
                ("self_attn.o_proj", hidden, query, biases.attention_output),
                ("mlp.down_proj", hidden, wide, biases.mlp),
            ]) {
                shapes.insert(format!("model.layers.{layer}.{name}.weight"), vec![output, input]);
                if has_bias {
                    shapes.insert(format!("model.layers.{layer}.{name}.bias"), vec![output]);
                }
            }
        }
        shapes
    }

    /// The configuration that the decoder was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device of the weights, with its autodiff state.
    pub fn device(&self) -> Device {
        self.model.norm.weight.base().device()
    }

    /// Runs the decoder on a batch.
    ///
    /// # Errors
    ///
    /// Fails when an id is outside the vocabulary, a segment is longer than the model's positions, or a wanted layer does not
    /// exist.
    pub fn forward(&self, batch: &TokenBatch, want: &Forward) -> Result<ForwardOutput, ModelError> {
        self.forward_embeddings(self.embed(batch)?, batch, want)
    }

    /// Runs the decoder on input embeddings `[rows, columns, hidden]`; `batch` tells what is padding, its ids are not used.
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`], and when the shapes disagree.
    pub fn forward_embeddings(
        &self,
        embeddings: Tensor<3>,
        batch: &TokenBatch,
        want: &Forward,
    ) -> Result<ForwardOutput, ModelError> {
        let expected = [batch.rows(), batch.width(), self.config.hidden_size];
        if embeddings.dims() != expected {
            return Err(ModelError::request(format!(
                "embeddings have shape {:?}, expected {expected:?}",
                embeddings.dims()
            )));
        }
        self.check_positions(batch.positions())?;
        self.check_want(want)?;
        let pass = self.pass(&batch.places(), &batch.first_keys(), batch.rows(), 0);
        let (last_hidden, hidden, attention) = self.layers(embeddings, &pass, want);
        let logits = want.logits.then(|| self.head(last_hidden.clone()));
        Ok(ForwardOutput { last_hidden, hidden, attention, logits })
    }

    /// Hidden states after the final norm: `[rows, columns, hidden]`.
    ///
    /// # Errors
    ///
    /// As [`Decoder::forward`].
    pub fn hidden(&self, batch: &TokenBatch) -> Result<Tensor<3>, ModelError> {
        Ok(self.forward(batch, &Forward::default())?.last_hidden)
    }

    /// Looks up the embeddings of a batch, scaled if the model has it so: `[rows, columns, hidden]`.
    ///
    /// # Errors
    ///
    /// Fails when an id is outside the vocabulary.
    pub fn embed(&self, batch: &TokenBatch) -> Result<Tensor<3>, ModelError> {
        self.check_ids(batch.tokens())?;
        Ok(self.embed_ids(batch.tensor(&self.plain_device())))
    }

    fn embed_ids(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let embeddings = self.model.embed_tokens.forward(ids);
        match self.config.embedding_scale {
            Some(scale) => embeddings.mul_scalar(scale),
            None => embeddings,
        }
    }

    /// Logits of hidden states: `[rows, columns, hidden]` to `[rows, columns, vocabulary]`.
    pub fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.capped(match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => self.model.embed_tokens.as_head(hidden),
        })
    }

    /// Logits within the model's limit, if it has one.
    pub(crate) fn capped<const D: usize>(&self, logits: Tensor<D>) -> Tensor<D> {
        match self.config.soft_caps.logits {
            Some(cap) => soft_capped(logits, cap),
            None => logits,
        }
    }

    /// The head's weight as `[vocabulary, hidden]`.
    pub(crate) fn head_weight(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight.val().transpose(),
            None => self.model.embed_tokens.weight.val(),
        }
    }

    /// Runs the next columns of a batch whose earlier columns are in `cache`, and adds them to it.
    ///
    /// `tokens` holds the same number of ids for each of the cache's rows, row by row; before the first real column of a row the
    /// ids do not matter. Gives hidden states after the final norm: `[rows, columns, hidden]`.
    ///
    /// # Errors
    ///
    /// Fails when an id is outside the vocabulary, the ids do not fill the rows, or the cache or the positions are used up.
    pub fn extend(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Tensor<3>, ModelError> {
        let rows = cache.rows();
        if rows == 0 || tokens.is_empty() || !tokens.len().is_multiple_of(rows) {
            return Err(ModelError::request(format!("{} ids do not fill {rows} rows", tokens.len())));
        }
        let columns = tokens.len() / rows;
        if cache.free() < columns {
            return Err(ModelError::request(format!("the cache has room for {} columns, not {columns}", cache.free())));
        }
        self.check_ids(tokens)?;
        let offset = cache.length();
        let first_start = cache.starts.iter().min().copied().unwrap_or(0);
        self.check_positions((offset + columns).saturating_sub(first_start))?;
        self.refresh(columns, cache);
        Ok(self.extend_as(tokens, cache, 0))
    }

    /// As [`Decoder::extend`], in sequences that will be longer by `later` columns.
    fn extend_as(&self, tokens: &[u32], cache: &mut KvCache, later: usize) -> Tensor<3> {
        let (rows, offset) = (cache.rows(), cache.length());
        let end = offset + tokens.len() / rows;
        let place = |column: usize, start: usize| Place {
            position: column.saturating_sub(start) as u32,
            length: (end + later).saturating_sub(start) as u32,
        };
        let places: Vec<Place> =
            cache.starts.iter().flat_map(|start| (offset..end).map(move |column| place(column, *start))).collect();
        let first_keys: Vec<u32> =
            cache.starts.iter().flat_map(|start| (offset..end).map(move |column| column.min(*start) as u32)).collect();
        let pass = self.pass(&places, &first_keys, rows, offset);
        let ids: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, end - offset]), &self.plain_device());
        let mut x = self.embed_ids(ids);
        for (layer, cache) in self.model.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(x, &pass, Some(cache)).0;
        }
        cache.append(tokens);
        self.model.norm.forward(x)
    }

    /// Computes anew the columns of rows that become long by `columns` more: all their angles change, and with them everything.
    ///
    /// Each such row is computed in the company of itself, so that its bits do not depend on which other rows become long.
    fn refresh(&self, columns: usize, cache: &mut KvCache) {
        let offset = cache.length();
        let becomes_long = |start: usize| {
            let (before, after) = (offset.saturating_sub(start), (offset + columns).saturating_sub(start));
            let mut ropes = self.config.ropes.iter();
            0 < before && ropes.any(|rope| rope.is_long(after) && !rope.is_long(before))
        };
        for row in 0..cache.rows() {
            let start = cache.starts[row];
            if !becomes_long(start) {
                continue;
            }
            let mut own = KvCache::new(&self.config, vec![start; 2], offset, &self.plain_device());
            let tokens = [cache.tokens(row), cache.tokens(row)].concat();
            self.extend_as(&tokens, &mut own, columns);
            cache.replace(row, &own, 0);
        }
    }

    fn layers(
        &self,
        embeddings: Tensor<3>,
        pass: &Pass,
        want: &Forward,
    ) -> (Tensor<3>, Vec<Tensor<3>>, Vec<Tensor<4>>) {
        let last = want.exit_after.unwrap_or(self.config.layers);
        let mut kept = BTreeMap::new();
        let mut maps = BTreeMap::new();
        let mut x = embeddings;
        for (index, layer) in self.model.layers[..last].iter().enumerate() {
            if want.hidden_layers.contains(&index) {
                kept.insert(index, x.clone());
            }
            let (next, map) = layer.forward(x, pass, None);
            if want.attention_layers.contains(&index) {
                maps.extend(map.map(|map| (index, map)));
            }
            x = next;
        }
        // transformers gives the output of the very last layer after the final norm, all others before it.
        if last < self.config.layers {
            kept.insert(last, x.clone());
        }
        let normed = self.model.norm.forward(x);
        if last == self.config.layers {
            kept.insert(last, normed.clone());
        }
        let hidden = want.hidden_layers.iter().filter_map(|index| kept.get(index).cloned()).collect();
        let attention = want.attention_layers.iter().filter_map(|index| maps.get(index).cloned()).collect();
        (normed, hidden, attention)
    }

    fn pass(&self, places: &[Place], first_keys: &[u32], rows: usize, offset: usize) -> Pass {
        let device = self.plain_device();
        let mut windows: Vec<Option<usize>> = self.config.layer_kinds.iter().map(|kind| kind.window).collect();
        windows.sort_unstable();
        windows.dedup();
        let span = |window| (window, Span::new(first_keys, rows, offset, window));
        Pass {
            ropes: self.config.ropes.iter().map(|rope| Rope::new(rope, places, rows, &device)).collect(),
            spans: windows.into_iter().map(span).collect(),
        }
    }

    /// The device without autodiff: ids, angles and masks are constants.
    fn plain_device(&self) -> Device {
        self.device().inner()
    }

    fn check_ids(&self, ids: &[u32]) -> Result<(), ModelError> {
        let vocab_size = self.config.vocab_size;
        match ids.iter().find(|id| vocab_size <= **id as usize) {
            Some(id) => Err(ModelError::request(format!("token id {id} is outside the vocabulary of {vocab_size}"))),
            None => Ok(()),
        }
    }

    fn check_positions(&self, positions: usize) -> Result<(), ModelError> {
        if positions <= self.config.max_positions {
            return Ok(());
        }
        Err(ModelError::request(format!(
            "a sequence of {positions} tokens exceeds the model's {} positions\nhint: shorten the text or the answer",
            self.config.max_positions
        )))
    }

    fn check_want(&self, want: &Forward) -> Result<(), ModelError> {
        let last = want.exit_after.unwrap_or(self.config.layers);
        if self.config.layers < last {
            return Err(ModelError::request(format!("layer {last} of {} was asked for", self.config.layers)));
        }
        if let Some(layer) = want.hidden_layers.iter().find(|layer| last < **layer) {
            return Err(ModelError::request(format!("hidden states of layer {layer} of {last} were asked for")));
        }
        if let Some(layer) = want.attention_layers.iter().find(|layer| last <= **layer) {
            return Err(ModelError::request(format!("the attention map of layer {layer} of {last} was asked for")));
        }
        Ok(())
    }
}

/// `cap * tanh(x / cap)`.
pub(crate) fn soft_capped<const D: usize>(x: Tensor<D>, cap: f64) -> Tensor<D> {
    x.div_scalar(cap).tanh().mul_scalar(cap)
}

#[cfg(test)]
mod families;
#[cfg(test)]
mod tests;
