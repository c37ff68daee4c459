//! The plugins of a plan: read, checked against stages, grants and settings, compiled.

use std::fs;

use serde_json::{Map, Value};
use tunesmith_core::digest;
use tunesmith_core::plan::{Plan, PluginPlan, StagePlan};
use tunesmith_core::recipe::Ramp;
use tunesmith_core::stage::Stage;
use tunesmith_plugin::{Engine, EngineOptions, Grants, Item, Limits, LoadError, LoadOptions, Outline, Plugin};

use crate::error::Error;
use crate::session::Options;
use crate::written::Written;

/// A plugin in a stage. Two stages of one plugin share it if their settings are the same.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) stage: Stage,
    /// The factor of a reward in the sum.
    pub(crate) weight: f64,
    /// How the factor changes, if it does.
    pub(crate) ramp: Option<Ramp>,
    pub(crate) plugin: Plugin,
}

/// A plugin's file, read and looked at.
struct Opened {
    bytes: Vec<u8>,
    grants: Grants,
    /// None where the bytes are no component: loading says why.
    outline: Option<Outline>,
}

/// Loads every plugin of the plan for each of its stages, and notes digests and settings in the plan. A plugin that no stage uses is read
/// but not loaded: leaving a stage out for a trial is no mistake.
pub(crate) fn load(written: &Written, plan: &mut Plan, options: &Options) -> Result<Vec<Placed>, Error> {
    let mut opened = Vec::with_capacity(plan.plugins.len());
    for plugin in &mut plan.plugins {
        let open = open(written, plugin)?;
        plugin.digest = digest::of(&open.bytes);
        opened.push((plugin.name.clone(), open));
    }
    let stages = &mut plan.stages;
    let find = |name: &str| opened.iter().find(|(plugin, _)| plugin == name).map(|(_, open)| open);
    for (field, stage) in fields(stages).iter().zip(stages.iter()) {
        let Some(outline) = find(&stage.plugin).and_then(|open| open.outline.as_ref()) else { continue };
        expect_stage(written, field, stage, outline)?;
    }
    let has_judge = stages.iter().any(|stage| stage.stage == Stage::Judge);
    if stages.is_empty() {
        return Ok(Vec::new());
    }
    let loader = Loader { written, engine: engine(options)?, limits: &options.limits };
    let mut placed: Vec<(Map<String, Value>, Placed)> = Vec::new();
    for (field, stage) in fields(stages).into_iter().zip(stages.iter_mut()) {
        let Some(open) = find(&stage.plugin) else { continue };
        let before = placed
            .iter()
            .find(|(settings, before)| *settings == stage.settings && before.plugin.name() == stage.plugin);
        let plugin = match before {
            Some((_, before)) => before.plugin.clone(),
            None => loader.load(&field, stage, open)?,
        };
        if asks_judge(open) && !has_judge {
            let what = format!("plugin `{}` asks a judge, and the recipe has none", stage.plugin);
            let hint = "add `[judge]` with a plugin that judges answers";
            return Err(Error::recipe(written.fault(&format!("{field}.plugin"), what).hint(hint)));
        }
        let given = std::mem::replace(&mut stage.settings, plugin.settings().clone());
        placed.push((given, Placed { stage: stage.stage, weight: stage.weight, ramp: stage.ramp, plugin }));
    }
    Ok(placed.into_iter().map(|(_, placed)| placed).collect())
}

/// The engine that these options ask for.
fn engine(options: &Options) -> Result<Engine, Error> {
    let options = EngineOptions { cache: options.cache.clone(), ..EngineOptions::default() };
    Engine::new(&options).map_err(|error| Error::run("plugins cannot be run", error))
}

/// The key of each stage's table in the recipe: `judge`, `reward.0`, `reward.1`.
fn fields(stages: &[StagePlan]) -> Vec<String> {
    let mut rewards = 0_usize..;
    let field = |stage: &StagePlan| match stage.stage {
        Stage::Reward => format!("reward.{}", rewards.next().unwrap_or(0)),
        stage => stage.name().to_owned(),
    };
    stages.iter().map(field).collect()
}

fn open(written: &Written, plugin: &PluginPlan) -> Result<Opened, Error> {
    let field = format!("plugins.{}", plugin.name);
    let fault = |what: String| written.fault(&field, what);
    let grants = Grants::parse(&plugin.grants)
        .map_err(|error| Error::recipe(fault("`grants` cannot be used".into()).because(error)))?;
    let bytes = fs::read(&plugin.path).map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "is it built? `tunesmith plugin build FOLDER` makes a plugin; in Tunesmith's own repository, `cargo xtask plugins` makes all"
        } else {
            "give the path of a component, a `.wasm` file"
        };
        Error::plugin(fault(format!("cannot read `{}`", plugin.path.display())).because(error).hint(hint))
    })?;
    let outline = tunesmith_plugin::inspect(&bytes, &Limits::default()).ok();
    Ok(Opened { bytes, grants, outline })
}

fn asks_judge(open: &Opened) -> bool {
    let is_judging = |item: &Item| matches!(item, Item::Contract { interface, .. } if interface == "judging");
    open.outline.as_ref().is_some_and(|outline| outline.imports.iter().any(|import| is_judging(&import.item)))
}

fn expect_stage(written: &Written, field: &str, stage: &StagePlan, outline: &Outline) -> Result<(), Error> {
    let exported = outline.stages();
    // A component without any stage has a fault of its own.
    if exported.is_empty() || exported.contains(&stage.stage) {
        return Ok(());
    }
    let names = exported.iter().map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", ");
    let what = format!("plugin `{}` does not export the stage `{}`", stage.plugin, stage.stage);
    let fault = written.fault(&format!("{field}.plugin"), what);
    Err(Error::plugin(fault.hint(format!("it exports {names}; give it one of those, or this stage another plugin"))))
}

/// Loads plugins of one recipe.
struct Loader<'a> {
    written: &'a Written,
    engine: Engine,
    limits: &'a Limits,
}

impl Loader<'_> {
    /// The plugin for the stage whose table in the recipe is `field`.
    fn load(&self, field: &str, stage: &StagePlan, open: &Opened) -> Result<Plugin, Error> {
        let options =
            LoadOptions { grants: open.grants.clone(), settings: stage.settings.clone(), limits: self.limits.clone() };
        Plugin::load(&self.engine, &stage.plugin, &open.bytes, options).map_err(|error| {
            let fault = match &error {
                LoadError::Settings { source, .. } => {
                    self.written.fault(&format!("{field}.settings.{}", source.field), "the setting cannot be used")
                }
                _ => self.written.fault(&format!("plugins.{}", stage.plugin), "the plugin cannot be used"),
            };
            Error::plugin(fault.because(error))
        })
    }
}
