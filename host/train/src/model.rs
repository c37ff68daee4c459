//! Language models: configuration, weights, decoder and what belongs to a model folder.

pub mod attention;
pub mod batch;
pub mod cache;
pub mod config;
pub mod decoder;
pub mod export;
pub mod init;
pub mod language_model;
pub mod layer;
pub mod logprobs;
pub(crate) mod mixing;
pub mod mlp;
pub mod norm;
pub mod projection;
pub mod rope;
pub mod shards;
pub mod weight_type;
pub mod weights;

pub use batch::TokenBatch;
pub use cache::KvCache;
pub use config::{Activation, Biases, Family, LayerKind, ModelConfig, Norms, RopeConfig, RopeScaling, SoftCaps};
pub use decoder::{Decoder, Forward, ForwardOutput};
pub use export::NamedTensor;
pub use language_model::LanguageModel;
pub use layer::Layer;
pub use weight_type::WeightType;
pub use weights::{HostTensor, RandomWeights, TensorSource, WeightFiles};
