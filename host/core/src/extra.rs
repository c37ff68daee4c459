//! Extra trainable parameters: what a plugin declares beside the model's own parameters, and composes in its objective.

/// A parameter that the host starts, trains and saves, and that only its plugin uses.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraParameter {
    /// The name for the WIT `batch.parameter`.
    pub name: String,
    /// The size of each dimension, at most 5 of them; none for a single number.
    pub shape: Vec<Size>,
    /// How it starts.
    pub init: Init,
    /// The highest learning rate, to which the recipe's schedule is applied. None: the recipe's own.
    pub learning_rate: Option<f64>,
}

/// The size of one dimension of an [`ExtraParameter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many, at least 1.
    Number(u32),
    /// As many as the model's hidden states have elements.
    Hidden,
    /// As many as the model has tokens.
    Vocabulary,
    /// As many as the model has layers.
    Layers,
}

/// How an [`ExtraParameter`] starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Every element is 0.
    Zeros,
    /// Every element is 1.
    Ones,
    /// Drawn from the normal distribution with mean 0 and this standard deviation; seeded by the run.
    Normal(f64),
}
