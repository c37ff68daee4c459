//! The recipe, as a person writes it: TOML, optional keys, relative paths.

mod data;
mod models;
mod phase;
mod rollout;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use data::{Data, Eval, EvalFiles, FileUse, Files, Loss, LossWord, WeightedFile};
pub use models::{NamedModel, TapeMode};
pub use phase::{Phase, PhaseReference};
pub use rollout::{Ramp, Reward, RewardWeight, Rollout, Unfinished};

/// A recipe as written. Turn it into a [`Plan`](crate::plan::Plan) before doing anything with it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// The seed from which all randomness of the run follows. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// The run folder to be made, relative to the recipe.
    pub output: PathBuf,
    /// Which phase this is, of a recipe with several.
    pub phase: Option<Phase>,
    /// The model to be trained.
    pub model: Model,
    /// Models beside it, by the names that plugins open them by.
    #[serde(default)]
    pub models: BTreeMap<String, NamedModel>,
    /// What to train and evaluate on.
    pub data: Data,
    /// The plugins by the names that the stages use.
    #[serde(default)]
    pub plugins: BTreeMap<String, Plugin>,
    /// How long completions may get.
    #[serde(default)]
    pub generate: Generate,
    /// How the policy answers prompts in online training.
    pub rollout: Option<Rollout>,
    /// The loop.
    #[serde(default)]
    pub train: Train,
    /// What do we train on?
    pub curate: Option<Curate>,
    /// Is this answer right?
    pub judge: Option<StageUse>,
    /// How good is this rollout? Several are added up.
    #[serde(default)]
    pub reward: Vec<Reward>,
    /// How is reward spread over rollouts and tokens?
    pub credit: Option<StageUse>,
    /// How much does each token count?
    pub weigh: Option<StageUse>,
    /// What is minimised?
    pub objective: Option<StageUse>,
    /// How do parameters change outside gradient descent?
    pub edit: Option<StageUse>,
    /// How good is the model?
    pub measure: Option<Measure>,
    /// How does the model respond at test time?
    pub answer: Option<Answer>,
    /// Which cache entries stay?
    pub retain: Option<StageUse>,
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Model {
    /// A folder in Hugging Face form, relative to the recipe.
    pub path: PathBuf,
    /// What is trained: an adapter, or without one all parameters.
    pub adapter: Option<AdapterUse>,
    /// `cpu` (default) or `cuda`, or `cuda:1` for the second card.
    pub device: Option<String>,
}

/// `adapter = { lora = { .. } }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdapterUse {
    /// Low-rank adapters on the linear layers.
    pub lora: Lora,
}

/// Low-rank adaptation: `W + (alpha / rank) A B`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lora {
    /// The rank, at least 1. Default 8.
    #[serde(default = "default_rank")]
    pub rank: u32,
    /// The scale's numerator. Default 16.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// Which linear layers, by the last part of their name. Default: all of attention and MLP.
    #[serde(default = "default_targets")]
    pub targets: Vec<String>,
}

fn default_rank() -> u32 {
    8
}

fn default_alpha() -> f64 {
    16.0
}

fn default_targets() -> Vec<String> {
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"].map(Into::into).into()
}

/// An entry of `[plugins]`: a path, or a table with grants.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Plugin {
    /// The component, relative to the recipe. Nothing is granted.
    Path(PathBuf),
    /// The component and what it may use.
    Granted(GrantedPlugin),
}

/// `{ path = "..", grants = [".."] }`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GrantedPlugin {
    /// The component, relative to the recipe.
    pub path: PathBuf,
    /// Host services that it may use, such as `model.generate` or `judge`.
    #[serde(default)]
    pub grants: Vec<String>,
}

/// A stage's table: which plugin, with which settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StageUse {
    /// A name from `[plugins]`.
    pub plugin: String,
    /// Settings, checked against the plugin's schema.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

/// `[curate]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Curate {
    /// A name from `[plugins]`.
    pub plugin: String,
    /// Settings, checked against the plugin's schema.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Rows per call. Default 32. A method that compares all rows needs a chunk as large as the pool.
    pub chunk: Option<usize>,
}

/// `[answer]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Answer {
    /// A name from `[plugins]`.
    pub plugin: String,
    /// Settings, checked against the plugin's schema.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Rows per call. Default 32. A method that compares the rows of a set needs a chunk as large as the set.
    pub chunk: Option<usize>,
}

/// `[measure]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Measure {
    /// A name from `[plugins]`.
    pub plugin: String,
    /// Settings, checked against the plugin's schema.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Also measure every so many steps; before and after training it is always done.
    pub every: Option<u32>,
    /// Whether the mean KL divergence from the base model is measured. Default true. Costs one scoring pass.
    pub kl: Option<bool>,
}

/// `[generate]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Generate {
    /// The longest completion in tokens. Default 128.
    pub max_tokens: Option<u32>,
    /// Sequences generated at once. Default 16.
    pub batch: Option<u32>,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Train {
    /// Optimiser steps. Default: one pass over the training set.
    pub steps: Option<u32>,
    /// Rows per optimiser step; in online training prompts, each with its group of rollouts. Default 8.
    pub batch: Option<u32>,
    /// Rows (with all sequences of each) per forward pass; divides `batch`. Default: `batch`.
    pub micro_batch: Option<u32>,
    /// The peak learning rate. Default 2e-4 with an adapter, else 2e-5.
    pub learning_rate: Option<f64>,
    /// `cosine` (default), `linear` or `constant`, after the warm-up.
    pub schedule: Option<Schedule>,
    /// Steps over which the learning rate rises from 0. Default 0.
    pub warmup: Option<u32>,
    /// `AdamW`'s decoupled weight decay. Default 0.
    pub weight_decay: Option<f64>,
    /// `AdamW`'s betas. Default `[0.9, 0.999]`.
    pub betas: Option<[f64; 2]>,
    /// `AdamW`'s epsilon. Default 1e-8.
    pub epsilon: Option<f64>,
    /// The gradient's norm is clipped to this; 0 switches clipping off. Default 1.
    pub clip: Option<f64>,
    /// The longest row in tokens, prompt and completion; longer rows are an error unless `truncate` is set. Default: the model's limit, at most 2048.
    pub max_length: Option<u32>,
    /// Cut rows that are too long at their end. Rows of which nothing to train on would be left are an error all the same. Default false.
    pub truncate: Option<bool>,
    /// Put the short rows of a forward pass behind each other on lines as long as its longest row, without seeing each other. Changes
    /// speed, and results only by rounding. Default false.
    pub packing: Option<bool>,
    /// Sort the rows of so many steps by length, so that those of a forward pass are of like length. With 1 the rows of each step stay the
    /// same, and results change only by rounding; with more, steps get rows of like length. Default: off.
    pub buckets: Option<u32>,
    /// A checkpoint every so many steps. Default: only at the end. A run that is stopped goes on from its newest checkpoint with
    /// `train --resume`; without one, from what was measured and curated before training.
    pub checkpoint_every: Option<u32>,
    /// How many checkpoints are kept, the newest. Default 3. With 1 there is none to fall back to if the newest is damaged.
    pub keep_checkpoints: Option<u32>,
    /// Digest the parameters into the trace every so many steps. Default: 10, and always at the end.
    pub digest_every: Option<u32>,
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine, to 0 at the last step.
    Cosine,
    /// A straight line, to 0 at the last step.
    Linear,
    /// Stays at its peak.
    Constant,
}

/// What is wrong with a recipe. The file's name is the caller's to add.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{what}{}", .line.map_or(String::new(), |line| format!("line {line}: ")),
    if .field.is_empty() { String::new() } else { format!("`{field}`: ") },
    .hint.as_ref().map_or(String::new(), |hint| format!("\nhint: {hint}")))]
pub struct RecipeError {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The key with its tables, such as `train.learning-rate`.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Recipe {
    /// Reads a recipe from its text.
    ///
    /// # Errors
    ///
    /// Fails with line and key on TOML that is broken, unknown keys, missing keys and wrong types.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_at(text, span.start));
            let what = error.message().to_owned();
            let hint =
                what.contains("unknown field").then(|| "keys are written as in the README's recipe table".into());
            RecipeError { line, field: String::new(), what, hint }
        })
    }
}

/// The line of a key such as `train.learning-rate` in a recipe's text, from 1; none if the key is not written.
pub fn line_of(text: &str, field: &str) -> Option<usize> {
    let root = toml::de::DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut line = None;
    for part in field.split('.') {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
        line = Some(line_at(text, key.span().start));
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "output = \"run\"\n[model]\npath = \"m\"\n[data]\ntrain = \"t.jsonl\"\n";

    #[track_caller]
    fn check(extra: &str, expected: &str) {
        let text = Recipe::parse(&format!("{SMALL}{extra}")).expect_err("the recipe is wrong").to_string();
        assert!(text.contains(expected), "`{text}` does not say `{expected}`");
    }

    #[test]
    fn a_small_recipe_is_enough() {
        assert_eq!(Recipe::parse(SMALL).expect("it is complete").seed, 0);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        check("[train]\nstep = 3\n", "line 7: unknown field `step`");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        check("[train]\nsteps = \"many\"\n", "line 7: invalid type: string \"many\", expected u32");
        check("loss = \"prompt\"\n", "line 6: expected \"completion\", \"all\", or a list of roles");
        check("eval = [3]\n", "line 6: expected a path");
    }

    #[test]
    fn files_may_be_several_with_weights() {
        let text = SMALL.replace("\"t.jsonl\"", "[\"a/*.jsonl\", { path = \"b.parquet\", weight = 2 }]");
        let text =
            format!("{text}eval = {{ one = \"c.jsonl\", other = [\"d.jsonl\", \"e.jsonl\"] }}\nloss = [\"user\"]\n");
        let data = Recipe::parse(&text).expect("it is complete").data;
        let weighted = WeightedFile { path: "b.parquet".into(), weight: Some(2.0) };
        let files = vec![FileUse::Path("a/*.jsonl".into()), FileUse::Weighted(weighted)];
        assert_eq!(data.train, Files::Several(files));
        assert_eq!(data.loss, Some(Loss::Roles(vec!["user".into()])));
        let Some(Eval::Named(sets)) = data.eval else { panic!("named sets") };
        assert_eq!(sets["other"], EvalFiles::Several(vec!["d.jsonl".into(), "e.jsonl".into()]));
    }

    #[test]
    fn broken_toml_is_named_with_its_line() {
        check("[train\n", "line 6");
    }

    #[test]
    fn a_key_is_found_by_its_path() {
        assert_eq!(line_of("[a]\nb = 1\n[c]\nd = 2\n", "c.d"), Some(4));
        assert_eq!(line_of("[a]\nb = 1\n", "a.x"), None);
    }
}
