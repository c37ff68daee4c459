//! A recipe that was checked down to the last file, and runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Observer};
use tunesmith_core::stage::Stage;
use tunesmith_plugin::Limits;

use crate::data;
use crate::error::{Error, Fault};
use crate::model;
use crate::models::{self, Keys};
use crate::plugins;
use crate::wire::{self, Forecast, Parts, SetSummary, Summary};
use crate::written::Written;

/// What a caller may say beside the recipe.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Values put over keys of the recipe: dotted path and TOML value, such as `train.steps` and `50`. What is no TOML is taken as
    /// text. Paths among them are relative to the recipe.
    pub set: Vec<(String, String)>,
    /// The run folder, instead of the recipe's `output`. Relative to the current folder.
    pub output: Option<PathBuf>,
    /// Goes on with the run in the output folder, wherever it was stopped, in place of beginning one. The recipe, the plugins, the data and
    /// the model must be those that it was begun with; only `train.checkpoint-every` and `train.keep-checkpoints` may be others.
    pub resume: bool,
    /// Where compiled plugins are kept between runs; none compiles them each time. Must be a folder that only this user can write to.
    pub cache: Option<PathBuf>,
    /// What each plugin may use up.
    pub limits: Limits,
    /// Where the keys of servers come from; none by default.
    pub keys: Keys,
}

/// A recipe that was checked down to the last file: what [`Session::run`] needs is there and fits together.
pub struct Session {
    /// One for each phase of the recipe, or a single one.
    phases: Vec<Opened>,
    purpose: Purpose,
}

/// A phase, or a whole recipe without phases.
struct Opened {
    written: Written,
    plan: Plan,
    parts: Parts,
}

/// What a session is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Run,
    Resume,
    Evaluate,
}

impl Session {
    /// Opens a recipe with default options.
    ///
    /// # Errors
    ///
    /// As [`Session::open_with`].
    pub fn open(recipe: &Path) -> Result<Self, Error> {
        Self::open_with(recipe, &Options::default())
    }

    /// Reads the recipe and every file it names, and checks them against each other: keys and ranges, that the output folder is free (or, to
    /// [resume](Options::resume), holds a run that was begun with the same),
    /// data, the model's configuration, tokenizer and the heads of its weights, plugins with their stages, grants and settings.
    /// Nothing is written, no weight is read and no plugin is run: a mistake costs milliseconds.
    ///
    /// # Errors
    ///
    /// Fails with the first fault; see [`Error`].
    pub fn open_with(recipe: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_for(if options.resume { Purpose::Resume } else { Purpose::Run }, recipe, options)
    }

    fn open_for(purpose: Purpose, recipe: &Path, options: &Options) -> Result<Self, Error> {
        let phases = Written::read(recipe, &options.set)?.into_iter();
        let open = |(written, plan)| Opened::open(purpose, written, plan, options);
        Ok(Self { phases: phases.map(open).collect::<Result<_, _>>()?, purpose })
    }

    /// The recipe with every choice made: what runs, and what the run folder records. Of a recipe with phases that of the first.
    pub fn plan(&self) -> &Plan {
        &self.phases[0].plan
    }

    /// The plans of all phases, in their order; of a recipe without phases its plan.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.phases.iter().map(|phase| &phase.plan)
    }

    /// Loads the model and checks what needs its tokenizer and every row: lengths, the chat template, completions. Takes as long as
    /// reading the weights does; [`Session::run`] does the same first. Nothing is written and no plugin is run. One forecast per phase.
    ///
    /// # Errors
    ///
    /// Fails with the first row that cannot be used; see [`Error`].
    pub fn forecast(&self, observer: &mut dyn Observer) -> Result<Vec<Forecast>, Error> {
        let forecast = |phase: &Opened| wire::forecast(&phase.written, &phase.plan, &phase.parts, observer);
        self.phases.iter().map(forecast).collect()
    }

    /// Does the whole run: curate, train, measure before and after, and write the run folder. If the session was opened to
    /// [resume](Options::resume), it does what a stopped run has not done yet, and the trace comes out as if it had never been stopped; of a run
    /// that came to its end it gives the summary. Phases run one after the other, each in its own folder; the summary is that of the last.
    ///
    /// # Errors
    ///
    /// Fails when the work does: a plugin declines or breaks its contract, rows are too long, a loss is not finite, the disk is full.
    /// The last checkpoint stays intact.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        let mut traces: BTreeMap<&str, String> = BTreeMap::new();
        for (index, Opened { written, plan, parts }) in self.phases.iter().enumerate() {
            let mut plan = plan.clone();
            if let Some(phase) = &mut plan.phase {
                let note = format!("phase `{}`, {} of {}", phase.name, index + 1, self.phases.len());
                observer.event(Event::Note(&note));
                // What it starts from is a part of what decides its result.
                let before = phase.from.as_ref().and_then(|from| traces.get(from.as_str()));
                phase.trace = before.cloned().unwrap_or_default();
            }
            summary = if self.purpose == Purpose::Resume && plan.output.exists() {
                wire::resume(written, &plan, parts, observer)?
            } else {
                wire::run(written, &plan, parts, observer)?
            };
            if let Some(phase) = &self.phases[index].plan.phase {
                traces.insert(&phase.name, summary.trace.clone());
            }
        }
        Ok(summary)
    }
}

impl Opened {
    fn open(purpose: Purpose, written: Written, mut plan: Plan, options: &Options) -> Result<Self, Error> {
        expect_known_work(&written, &plan, purpose)?;
        if purpose != Purpose::Evaluate
            && let Some(output) = &options.output
        {
            plan.output = std::path::absolute(output).unwrap_or_else(|_| output.clone());
            plan.output.extend(plan.phase.as_ref().map(|phase| &phase.name));
        }
        if purpose == Purpose::Run {
            expect_free(&written, &plan.output, options.output.is_some())?;
        }
        let (pool, evals) = data::read(&written, &mut plan)?;
        model::check(&written, &mut plan)?;
        let keys = models::check(&written, &mut plan, &options.keys)?;
        let plugins = plugins::load(&written, &mut plan, options)?;
        let is_begun = plan.phase.as_ref().is_none_or(|phase| phase.from.is_none());
        if purpose == Purpose::Resume && is_begun {
            wire::expect_run(&written, &plan)?;
        }
        Ok(Self { written, plan, parts: Parts { pool, evals, plugins, keys } })
    }
}

/// Measures a recipe's model on its evaluation sets, with an adapter that was trained for it or without. Nothing is written.
///
/// # Errors
///
/// As [`Session::open_with`], save that the output folder may be taken, and as [`Session::run`].
pub fn evaluate(
    recipe: &Path,
    adapter: Option<&Path>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Vec<SetSummary>, Error> {
    let session = Session::open_for(Purpose::Evaluate, recipe, options)?;
    let phase = &session.phases[0];
    wire::evaluate(&phase.plan, &phase.parts, adapter, observer)
}

/// Fails where the recipe asks for work that would silently not be done.
fn expect_known_work(written: &Written, plan: &Plan, purpose: Purpose) -> Result<(), Error> {
    if let Some(stage) = plan.stages.iter().find(|stage| !wire::STAGES.contains(&stage.stage)) {
        let names = wire::STAGES.map(|stage| format!("`{stage}`")).join(", ");
        let fault = written.fault(stage.stage.name(), "the trainer does not call this stage yet");
        return Err(Error::recipe(fault.hint(format!("it calls {names}"))));
    }
    let stage = [Stage::Measure, Stage::Answer].into_iter().find(|stage| plan.stage(*stage).is_some());
    if plan.data.eval.is_empty() && (stage.is_some() || purpose == Purpose::Evaluate) {
        let what = "there is nothing to measure on: `data.eval` is missing";
        let field = stage.map_or("data", Stage::name);
        return Err(Error::recipe(written.fault(field, what).hint("add `eval = \"test.jsonl\"` to `[data]`")));
    }
    Ok(())
}

/// Fails unless the output folder can be made.
fn expect_free(written: &Written, output: &Path, is_given: bool) -> Result<(), Error> {
    let taken = |what: String, hint: &str| {
        let fault = if is_given { Fault::of_file(output, what) } else { written.fault("output", what) };
        Error::output(fault.hint(hint))
    };
    match fs::read_dir(output) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) if output.join("plan.json").exists() => Err(taken(
                format!("`{}` already holds a run", output.display()),
                "nothing is ever overwritten: give another `output`, or go on with a run that was stopped by `--resume`",
            )),
            Some(_) => Err(taken(
                format!("`{}` exists and is not empty", output.display()),
                "nothing is ever overwritten: give another `output`",
            )),
        },
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            let mut places = output.ancestors().filter(|place| !place.as_os_str().is_empty());
            match places.find(|place| place.exists()) {
                Some(place) if !place.is_dir() => Err(taken(
                    format!("`{}` cannot be made: `{}` is a file", output.display(), place.display()),
                    "give another `output`",
                )),
                _ => Ok(()),
            }
        }
        Err(error) => Err(taken(format!("`{}` cannot be used: {error}", output.display()), "give another `output`")),
    }
}
