//! Models, tensors, generation and training on burn.
//!
//! A [`model::LanguageModel`] is read from a Hugging Face folder: configuration, weights, tokenizer, chat template. Its decoder
//! scores and generates text, plain or with a low-rank adapter ([`lora`]).

pub mod batch;
pub mod batching;
pub mod checkpoint;
pub mod compare;
mod curate;
pub mod data;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod extra;
pub mod fused;
pub mod generate;
pub mod gguf;
pub mod lora;
pub mod model;
mod new_folder;
pub mod objective;
pub mod optimizer;
pub mod random;
mod rollout;
pub mod run;
pub mod schedule;
pub mod server;
pub mod service;
mod step;
pub mod template;
mod tensorboard;
pub mod tensors;
pub mod tokenizer;
mod total;
pub mod tracefile;

#[cfg(test)]
mod test_folder;

use burn::tensor::Tensor;

pub use error::ModelError;

/// The values of a tensor, row by row, as f32 on the host.
pub(crate) fn tensor_values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.inner().into_data().convert::<f32>().try_into_vec().expect("converted to f32 just before")
}
