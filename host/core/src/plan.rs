//! The plan: a recipe with every choice made and checked. What runs, and what the run folder records.

mod data;
mod differences;
mod models;
mod rollout;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest;
use crate::recipe::{Lora, Loss, PhaseReference, Plugin, Ramp, Recipe, RecipeError, RewardWeight, Schedule, line_of};
use crate::stage::Stage;

pub use models::{FolderPlan, ModelPlace, NamedModelPlan, ServerPlan};
pub use rollout::RolloutPlan;

/// A resolved recipe. Digests and settings of plugins are filled in by whoever opens the files; until then they are empty or as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The version of this format.
    pub format: u32,
    /// The seed of the run.
    pub seed: u64,
    /// The run folder.
    pub output: PathBuf,
    /// Which phase this is, of a recipe with several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhasePlan>,
    /// The model.
    pub model: ModelPlan,
    /// Models beside it, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<NamedModelPlan>,
    /// The data.
    pub data: DataPlan,
    /// The plugins, sorted by name.
    pub plugins: Vec<PluginPlan>,
    /// Which plugin takes which stage, in the order of the data flow. Stages that are not listed are the host's built-ins.
    pub stages: Vec<StagePlan>,
    /// How to generate.
    pub generate: GeneratePlan,
    /// How the policy answers prompts in online training; none in other training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutPlan>,
    /// The loop.
    pub train: TrainPlan,
    /// When to measure.
    pub measure: MeasurePlan,
}

/// A phase of a recipe with several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PhasePlan {
    /// Its name, which is that of its run folder.
    pub name: String,
    /// The phase whose trained model it starts from; none starts from the recipe's model.
    pub from: Option<String>,
    /// The hash of the last line of that phase's trace; empty until that phase has come to its end.
    pub trace: String,
    /// What the reference is.
    pub reference: PhaseReference,
}

/// The model and what of it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModelPlan {
    /// The folder.
    pub path: PathBuf,
    /// The digest of its files.
    pub digest: String,
    /// The adapter; none trains all parameters.
    pub lora: Option<Lora>,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
}

/// The data and how its columns are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataPlan {
    /// What is trained on.
    pub train: FilePlan,
    /// What is evaluated on, sorted by name.
    pub eval: Vec<FilePlan>,
    /// The prompt's column.
    pub prompt: String,
    /// The completion's column.
    pub completion: String,
    /// The chat's column.
    pub messages: String,
    /// A system message put before every prompt.
    pub system: Option<String>,
    /// The tools' column.
    #[serde(default = "default_tools", skip_serializing_if = "is_default_tools")]
    pub tools: String,
    /// The plain text's column.
    #[serde(default = "default_text", skip_serializing_if = "is_default_text")]
    pub text: String,
    /// Which tokens are trained on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss: Loss,
    /// The better completion's column.
    #[serde(default = "default_chosen", skip_serializing_if = "is_default_chosen")]
    pub chosen: String,
    /// The worse completion's column.
    #[serde(default = "default_rejected", skip_serializing_if = "is_default_rejected")]
    pub rejected: String,
    /// The column that says whether the completion is good; none: rows have no label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A data file, or several that are read as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FilePlan {
    /// `train`, or the evaluation set's name.
    pub name: String,
    /// The file; of several the first, as the recipe writes it.
    pub path: PathBuf,
    /// The digest of the file; of several that of their digests.
    pub digest: String,
    /// Read the first so many rows only.
    pub limit: Option<usize>,
    /// The files, if the recipe names several or a pattern, in the order in which they are read. Patterns until the files are opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SourcePlan>,
}

/// One of several files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourcePlan {
    /// The file.
    pub path: PathBuf,
    /// The digest of the file.
    pub digest: String,
    /// How often each of its rows is drawn in one pass over the data.
    pub weight: f64,
}

/// A plugin and what it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginPlan {
    /// The name in the recipe.
    pub name: String,
    /// The component.
    pub path: PathBuf,
    /// The digest of the component.
    pub digest: String,
    /// What it may use, sorted.
    pub grants: Vec<String>,
}

/// A plugin in a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StagePlan {
    /// The stage.
    pub stage: Stage,
    /// The plugin's name.
    pub plugin: String,
    /// Its settings, with the schema's defaults filled in.
    pub settings: Map<String, Value>,
    /// The factor of a reward in the sum; 1 elsewhere.
    pub weight: f64,
    /// How the factor changes, if it does; `weight` is that of step 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
}

/// How to generate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GeneratePlan {
    /// The longest completion in tokens.
    pub max_tokens: u32,
    /// Sequences generated at once. Does not change results.
    pub batch: u32,
    /// Rows per curate call.
    pub chunk: usize,
}

/// The loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainPlan {
    /// Optimiser steps; 0 means one pass over the training set, which is known only after curating.
    pub steps: u32,
    /// Rows per optimiser step.
    pub batch: u32,
    /// Rows per forward pass.
    pub micro_batch: u32,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Steps of warm-up.
    pub warmup: u32,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// `AdamW`'s betas.
    pub betas: [f64; 2],
    /// `AdamW`'s epsilon.
    pub epsilon: f64,
    /// The norm that gradients are clipped to; 0 is off.
    pub clip: f64,
    /// The longest row in tokens; 0 is the model's limit, at most 2048.
    pub max_length: u32,
    /// Whether rows that are too long are cut.
    pub truncate: bool,
    /// Whether short rows share a line in a forward pass.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packing: bool,
    /// Over how many steps rows are sorted by length; 0 is off.
    #[serde(default, skip_serializing_if = "is_default")]
    pub buckets: u32,
    /// A checkpoint every so many steps; 0 is only at the end.
    pub checkpoint_every: u32,
    /// How many checkpoints are kept, the newest.
    pub keep_checkpoints: u32,
    /// A digest of the parameters every so many steps.
    pub digest_every: u32,
}

/// When and what to measure beside the plugin's own metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MeasurePlan {
    /// Also every so many steps; 0 is only before and after.
    pub every: u32,
    /// Whether the KL divergence from the base model is computed.
    pub kl: bool,
    /// Rows per `answer` call.
    pub chunk: usize,
}

impl Plan {
    /// Makes every choice that needs no file: defaults, ranges, names. Paths are taken relative to `base`.
    ///
    /// `text` is the recipe's text, for line numbers.
    ///
    /// # Errors
    ///
    /// Fails with line, key and hint on values out of range and on stages whose plugin is not in `[plugins]`.
    pub fn resolve(recipe: &Recipe, text: &str, base: &Path) -> Result<Self, RecipeError> {
        rollout::check_tables(recipe, text)?;
        let max_tokens = recipe.generate.max_tokens.unwrap_or(128);
        let plan = Self {
            format: 1,
            seed: recipe.seed,
            output: base.join(&recipe.output),
            phase: recipe.phase.as_ref().map(|phase| PhasePlan {
                name: phase.name.clone(),
                from: phase.from.clone(),
                trace: String::new(),
                reference: phase.reference.unwrap_or_default(),
            }),
            model: model(recipe, base),
            models: models::plan(recipe, text, base, max_tokens)?,
            data: data::plan(&recipe.data, base),
            plugins: recipe.plugins.iter().map(|(name, plugin)| plugin_plan(name, plugin, base)).collect(),
            stages: stages(recipe),
            generate: GeneratePlan {
                max_tokens,
                batch: recipe.generate.batch.unwrap_or(16),
                chunk: recipe.curate.as_ref().and_then(|curate| curate.chunk).unwrap_or(32),
            },
            rollout: rollout::plan(recipe, max_tokens),
            train: train(recipe),
            measure: MeasurePlan {
                every: recipe.measure.as_ref().and_then(|measure| measure.every).unwrap_or(0),
                kl: recipe.measure.as_ref().is_some_and(|measure| measure.kl.unwrap_or(true)),
                chunk: recipe.answer.as_ref().and_then(|answer| answer.chunk).unwrap_or(32),
            },
        };
        plan.check(text)?;
        Ok(plan)
    }

    /// The plugin that takes a stage; the first, for stages with several.
    pub fn stage(&self, stage: Stage) -> Option<&StagePlan> {
        self.stages.iter().find(|plan| plan.stage == stage)
    }

    /// A plugin by its name.
    pub fn plugin(&self, name: &str) -> Option<&PluginPlan> {
        self.plugins.iter().find(|plugin| plugin.name == name)
    }

    /// The digest of everything that decides the result: the plan without the places of files and folders, and without how often
    /// checkpoints are made and how many are kept.
    pub fn digest(&self) -> String {
        let text = serde_json::to_string(&self.bare()).expect("a plan has only text keys and plain values");
        digest::of(text.as_bytes())
    }

    /// The plan with everything emptied that does not decide the result.
    fn bare(&self) -> Self {
        let mut bare = self.clone();
        bare.output = PathBuf::new();
        bare.model.path = PathBuf::new();
        bare.data.paths_mut().for_each(|path| *path = PathBuf::new());
        bare.models.iter_mut().for_each(NamedModelPlan::make_bare);
        bare.plugins.iter_mut().for_each(|plugin| plugin.path = PathBuf::new());
        bare.train.checkpoint_every = 0;
        bare.train.keep_checkpoints = 0;
        bare
    }

    fn check(&self, text: &str) -> Result<(), RecipeError> {
        let train = &self.train;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let share = |value: f64| (0.0..1.0).contains(&value);
        let at_least_0 = |value: f64| value.is_finite() && value >= 0.0;
        let rules: [(bool, &str, &str); 15] = [
            (train.batch >= 1, "train.batch", "must be at least 1"),
            (
                train.micro_batch >= 1 && train.batch.is_multiple_of(train.micro_batch.max(1)),
                "train.micro-batch",
                "must divide `batch`",
            ),
            (positive(train.learning_rate), "train.learning-rate", "must be greater than 0"),
            (at_least_0(train.weight_decay), "train.weight-decay", "must be at least 0"),
            (train.betas.into_iter().all(share), "train.betas", "must both be at least 0 and less than 1"),
            (positive(train.epsilon), "train.epsilon", "must be greater than 0"),
            (at_least_0(train.clip), "train.clip", "must be at least 0"),
            (train.digest_every >= 1, "train.digest-every", "must be at least 1"),
            (train.keep_checkpoints >= 1, "train.keep-checkpoints", "must be at least 1"),
            (self.generate.max_tokens >= 1, "generate.max-tokens", "must be at least 1"),
            (self.generate.batch >= 1, "generate.batch", "must be at least 1"),
            (self.generate.chunk >= 1, "curate.chunk", "must be at least 1"),
            (self.measure.chunk >= 1, "answer.chunk", "must be at least 1"),
            (
                self.model.lora.as_ref().is_none_or(|lora| lora.rank >= 1 && positive(lora.alpha)),
                "model.adapter",
                "must have a rank of at least 1 and an alpha greater than 0",
            ),
            (
                self.model.lora.as_ref().is_none_or(|lora| !lora.targets.is_empty()),
                "model.adapter",
                "has no target layers",
            ),
        ];
        if let Some((_, field, what)) = rules.into_iter().find(|(holds, _, _)| !holds) {
            return Err(fault(text, field, what, None));
        }
        self.data.check(text)?;
        for stage in &self.stages {
            if self.plugin(&stage.plugin).is_none() {
                let known: Vec<&str> = self.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
                let what = format!("there is no plugin `{}` in `[plugins]`", stage.plugin);
                let hint = format!(
                    "add `{} = \"path/to/{}.wasm\"` to `[plugins]`; there: {known:?}",
                    stage.plugin, stage.plugin
                );
                return Err(fault(text, &format!("{}.plugin", stage.stage), &what, Some(hint)));
            }
        }
        self.rollout.as_ref().map_or(Ok(()), |rollout| rollout.check(self, text))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_tools() -> String {
    data::TOOLS.into()
}

fn is_default_tools(name: &str) -> bool {
    name == data::TOOLS
}

fn default_chosen() -> String {
    data::CHOSEN.into()
}

fn is_default_chosen(name: &str) -> bool {
    name == data::CHOSEN
}

fn default_rejected() -> String {
    data::REJECTED.into()
}

fn is_default_rejected(name: &str) -> bool {
    name == data::REJECTED
}

fn default_text() -> String {
    data::TEXT.into()
}

fn is_default_text(name: &str) -> bool {
    name == data::TEXT
}

/// A fault at a key, with its line.
fn fault(text: &str, field: &str, what: &str, hint: Option<String>) -> RecipeError {
    RecipeError { line: line_of(text, field), field: field.into(), what: what.into(), hint }
}

fn model(recipe: &Recipe, base: &Path) -> ModelPlan {
    ModelPlan {
        path: base.join(&recipe.model.path),
        digest: String::new(),
        lora: recipe.model.adapter.as_ref().map(|adapter| adapter.lora.clone()),
        device: recipe.model.device.clone().unwrap_or_else(|| "cpu".into()),
    }
}

fn plugin_plan(name: &str, plugin: &Plugin, base: &Path) -> PluginPlan {
    let (path, mut grants) = match plugin {
        Plugin::Path(path) => (path, Vec::new()),
        Plugin::Granted(granted) => (&granted.path, granted.grants.clone()),
    };
    grants.sort();
    grants.dedup();
    PluginPlan { name: name.into(), path: base.join(path), digest: String::new(), grants }
}

fn stages(recipe: &Recipe) -> Vec<StagePlan> {
    let plan = |stage, plugin: &String, settings: &Map<String, Value>| StagePlan {
        stage,
        plugin: plugin.clone(),
        settings: settings.clone(),
        weight: 1.0,
        ramp: None,
    };
    let single = [
        (Stage::Judge, &recipe.judge),
        (Stage::Credit, &recipe.credit),
        (Stage::Weigh, &recipe.weigh),
        (Stage::Objective, &recipe.objective),
        (Stage::Edit, &recipe.edit),
        (Stage::Retain, &recipe.retain),
    ];
    let mut stages: Vec<StagePlan> = single
        .into_iter()
        .filter_map(|(stage, stage_use)| stage_use.as_ref().map(|it| plan(stage, &it.plugin, &it.settings)))
        .collect();
    stages.extend(recipe.curate.iter().map(|it| plan(Stage::Curate, &it.plugin, &it.settings)));
    stages.extend(recipe.measure.iter().map(|it| plan(Stage::Measure, &it.plugin, &it.settings)));
    stages.extend(recipe.answer.iter().map(|it| plan(Stage::Answer, &it.plugin, &it.settings)));
    stages.extend(recipe.reward.iter().map(|it| {
        let (weight, ramp) = match it.weight {
            None => (1.0, None),
            Some(RewardWeight::Constant(weight)) => (weight, None),
            Some(RewardWeight::Ramp(ramp)) => (ramp.from, Some(ramp)),
        };
        StagePlan { weight, ramp, ..plan(Stage::Reward, &it.plugin, &it.settings) }
    }));
    stages.sort_by_key(|stage| stage.stage);
    stages
}

fn train(recipe: &Recipe) -> TrainPlan {
    let train = &recipe.train;
    let batch = train.batch.unwrap_or(8);
    let default_rate = if recipe.model.adapter.is_some() { 2e-4 } else { 2e-5 };
    TrainPlan {
        steps: train.steps.unwrap_or(0),
        batch,
        micro_batch: train.micro_batch.unwrap_or(batch),
        learning_rate: train.learning_rate.unwrap_or(default_rate),
        schedule: train.schedule.unwrap_or(Schedule::Cosine),
        warmup: train.warmup.unwrap_or(0),
        weight_decay: train.weight_decay.unwrap_or(0.0),
        betas: train.betas.unwrap_or([0.9, 0.999]),
        epsilon: train.epsilon.unwrap_or(1e-8),
        clip: train.clip.unwrap_or(1.0),
        max_length: train.max_length.unwrap_or(0),
        truncate: train.truncate.unwrap_or(false),
        packing: train.packing.unwrap_or(false),
        buckets: train.buckets.unwrap_or(0),
        checkpoint_every: train.checkpoint_every.unwrap_or(0),
        keep_checkpoints: train.keep_checkpoints.unwrap_or(3),
        digest_every: train.digest_every.unwrap_or(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "output = \"run\"\n[model]\npath = \"m\"\n[data]\ntrain = \"t.jsonl\"\n";

    fn resolve(extra: &str) -> Result<Plan, RecipeError> {
        let text = format!("{SMALL}{extra}");
        Plan::resolve(&Recipe::parse(&text)?, &text, Path::new("/base"))
    }

    #[track_caller]
    fn check(extra: &str, expected: &str) {
        let text = resolve(extra).expect_err("the recipe is wrong").to_string();
        assert!(text.contains(expected), "`{text}` does not say `{expected}`");
    }

    #[test]
    fn paths_are_relative_to_the_recipe() {
        assert_eq!(resolve("").expect("it is complete").model.path, Path::new("/base/m"));
    }

    #[test]
    fn a_plugin_that_is_not_listed_is_named_with_line_and_hint() {
        check("[judge]\nplugin = \"x\"\n", "line 7: `judge.plugin`: there is no plugin `x` in `[plugins]`\nhint: add");
    }

    #[test]
    fn values_out_of_range_are_named_with_their_line() {
        check("[train]\nlearning-rate = -1.0\n", "line 7: `train.learning-rate`: must be greater than 0");
        check("[train]\nlearning-rate = nan\n", "must be greater than 0");
        check("[train]\nbatch = 8\nmicro-batch = 3\n", "line 8: `train.micro-batch`: must divide `batch`");
        check("[train]\nkeep-checkpoints = 0\n", "line 7: `train.keep-checkpoints`: must be at least 1");
        check("[train]\nbetas = [0.9, 1.0]\n", "must both be at least 0 and less than 1");
        check("[curate]\nplugin = \"x\"\nchunk = 0\n", "`curate.chunk`: must be at least 1");
        check("[answer]\nplugin = \"x\"\nchunk = 0\n", "line 8: `answer.chunk`: must be at least 1");
    }

    #[test]
    fn online_training_is_checked() {
        check("[rollout]\ngroup-size = 4\n", "line 6: `rollout`: is for online training, and the recipe has no reward");
        check("[credit]\nplugin = \"x\"\n", "`credit`: is for online training");
        check("[[reward]]\nplugin = \"x\"\n", "online training needs an objective");
        let online = |more: &str| {
            format!("[plugins]\nx = \"x.wasm\"\n[objective]\nplugin = \"x\"\n[[reward]]\nplugin = \"x\"\n{more}")
        };
        check(&online("[rollout]\ntemperature = 0.0\n"), "`rollout.temperature`: must be greater than 0");
        check(&online("[rollout]\ngroup-size = 1\nreferences = true\n"), "at least 2 with references");
        check(&online("weight = inf\n"), "has a weight that is not finite");
        check(&online("weight = { from = 1.0, to = 0.0, steps = 0 }\n"), "of no steps");
        check(&online("weight = \"much\"\n"), "expected a number, or a table such as");
        let plan = resolve(&online("weight = { from = 2.0, to = 0.0, steps = 9 }\n")).expect("it is complete");
        let reward = plan.stage(Stage::Reward).expect("it is there");
        assert_eq!((reward.weight, reward.ramp.map(|ramp| ramp.at(3))), (2.0, Some(2.0 - 2.0 / 3.0)));
        assert_eq!(plan.rollout.map(|rollout| (rollout.group_size, rollout.max_tokens)), Some((8, 128)));
    }

    #[test]
    fn files_are_checked() {
        let with = |train: &str| {
            let text = SMALL.replace("\"t.jsonl\"", train);
            Plan::resolve(&Recipe::parse(&text)?, &text, Path::new("/base"))
        };
        for weight in ["0", "-1", "nan", "inf", "1e9"] {
            let error = with(&format!("[{{ path = \"a\", weight = {weight} }}]")).expect_err("the weight is wrong");
            let told = error.to_string();
            assert!(told.contains("line 5: `data.train`: has a weight of") && told.contains("\nhint:"), "{told}");
        }
        assert!(with("[]").expect_err("there is no file").to_string().contains("names no file"));
        check("loss = []\n", "line 6: `data.loss`: names no role");
        check("loss = [\"\"]\n", "names an empty role");
        let plan = with("[\"a\", { path = \"b\", weight = 0.5 }]").expect("it is complete").data.train;
        let files: Vec<(&Path, f64)> = plan.files.iter().map(|file| (file.path.as_path(), file.weight)).collect();
        assert_eq!(files, [(Path::new("/base/a"), 1.0), (Path::new("/base/b"), 0.5)]);
    }

    #[test]
    fn keys_that_are_not_used_do_not_change_the_plan() {
        let text = serde_json::to_string(&resolve("").expect("it is complete")).expect("JSON");
        for key in [
            "tools", "text", "loss", "files", "packing", "buckets", "rollout", "chosen", "label", "ramp", "phase",
            "models",
        ] {
            assert!(!text.contains(&format!("\"{key}\"")), "`{key}` would change the digest of every older run");
        }
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("it reads back"), resolve("").expect("it is complete"));
    }

    #[test]
    fn the_digest_does_not_depend_on_where_files_lie() {
        let text = SMALL;
        let recipe = Recipe::parse(text).expect("it is complete");
        let here = Plan::resolve(&recipe, text, Path::new("/a")).expect("it is complete");
        let there = Plan::resolve(&recipe, text, Path::new("/b")).expect("it is complete");
        assert_eq!(here.digest(), there.digest());
    }
}
