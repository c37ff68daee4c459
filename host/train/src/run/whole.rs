//! A run from its inputs to its summary.

use std::collections::BTreeMap;
use std::env;
use std::time::Instant;

use burn::module::Module;
use serde::Serialize;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Observer};
use tunesmith_core::stage::Stage;
use tunesmith_core::trace::{Record, StepRecord, Times};

use super::folder::{RunFolder, folder_whole, write_json, write_json_lines};
use super::preflight::{self, length_rule, steps_of_one_pass};
use super::{RunError, RunInputs, RunSummary, SetSummary, Training, host, pass_on_lines};
use crate::batch::PolicyPair;
use crate::batching::{EncodedTarget, Sampler};
use crate::checkpoint;
use crate::curate::{Curating, TrainingSet};
use crate::evaluate::Evaluator;
use crate::lora::LoraSettings;
use crate::optimizer::{AdamW, digest_of_trained};
use crate::schedule::LearningRate;
use crate::service::Host;
use crate::step::step;

/// Does a whole run into `plan.output`: curate, measure, train, measure, export.
///
/// Everything that can be checked beforehand is checked before the folder is made.
///
/// # Errors
///
/// Fails at the first error; what was written until then stays, checkpoints are whole.
#[expect(clippy::needless_pass_by_value, reason = "the caller gives the model up: what is trained shares its memory")]
pub fn run(plan: &Plan, inputs: RunInputs, observer: &mut dyn Observer) -> Result<RunSummary, RunError> {
    let start = Instant::now();
    preflight::check(plan, &inputs)?;
    refuse_what_is_not_there_yet(&inputs)?;
    let host = host(plan, &inputs);
    let models = models(plan, &inputs)?;
    let folder = RunFolder::create(plan)?;
    let mut whole = Whole { plan, inputs: &inputs, host: &host, folder, observer, summary: RunSummary::default() };
    let record = Record::Start {
        plan: plan.digest(),
        host: env!("CARGO_PKG_VERSION").into(),
        device: device_class(&plan.model.device),
    };
    whole.folder.trace.add(&record, &Times::default())?;
    whole.folder.sync()?;

    whole.measure(&models, 0)?;
    let set = whole.curate(&models)?;
    let mut training = whole.training(&set, models)?;
    whole.train(&mut training)?;
    whole.measure(&training.models, training.step)?;
    whole.finish(&training, &set, start)
}

/// Stages that a recipe can name, but that no step calls yet.
fn refuse_what_is_not_there_yet(inputs: &RunInputs) -> Result<(), RunError> {
    let field = match (&inputs.stages.rewards.is_empty(), &inputs.stages.credit) {
        (false, _) => "reward",
        (_, Some(_)) => "credit",
        _ => return Ok(()),
    };
    let what = "online training (generate, reward, credit) is not part of this version".into();
    Err(RunError::Recipe {
        field,
        what,
        hint: "remove the table, or curate with a plugin that generates and judges".into(),
    })
}

/// The policy as it is trained, and the reference.
fn models(plan: &Plan, inputs: &RunInputs) -> Result<PolicyPair, RunError> {
    let reference = inputs.model.decoder.valid();
    let policy = match &plan.model.lora {
        None => reference.clone(),
        Some(lora) => {
            let settings = LoraSettings { rank: lora.rank as usize, alpha: lora.alpha, targets: lora.targets.clone() };
            reference.clone().with_adapter(&settings, plan.seed)?
        }
    };
    Ok(PolicyPair { policy: policy.train(), reference })
}

/// A run that is going on.
struct Whole<'a> {
    plan: &'a Plan,
    inputs: &'a RunInputs,
    host: &'a Host,
    folder: RunFolder,
    observer: &'a mut dyn Observer,
    summary: RunSummary,
}

impl<'a> Whole<'a> {
    fn curate(&mut self, models: &PolicyPair) -> Result<TrainingSet, RunError> {
        let start = Instant::now();
        let trace = &mut self.folder.trace;
        let curating = Curating { plan: self.plan, host: self.host, models, trace };
        let set = curating.training_set(self.inputs.stages.curate.as_ref(), &self.inputs.pool, self.observer)?;
        write_json_lines(&self.folder.path.join("curated.jsonl"), &set.lines())?;
        self.spend(&set.plugin_seconds);
        self.summary.curate_seconds = start.elapsed().as_secs_f64();
        Ok(set)
    }

    /// Tokenises the training set and puts the parts of the loop together.
    fn training(&mut self, set: &TrainingSet, models: PolicyPair) -> Result<Training<'a>, RunError> {
        let lengths = length_rule(self.plan, self.inputs)?;
        let encode = |row| preflight::encode(&self.host.encoder, row, lengths);
        let rows = set.rows.iter().map(encode).collect::<Result<Vec<EncodedTarget>, _>>()?;
        if self.inputs.stages.objective.is_none() && rows.iter().any(|row| row.rows.len() > 1) {
            let what = "the training set has preferences, which the built-in objective would train on as if both answers were good";
            let hint = "name an objective for preferences in `[objective]`".into();
            return Err(RunError::Recipe { field: "objective", what: what.into(), hint });
        }
        self.summary.truncated = rows.iter().map(|row| row.truncated as u64).sum();
        if self.summary.truncated > 0 {
            let note = format!("{} rows were longer than {} tokens and cut", self.summary.truncated, lengths.longest);
            self.observer.event(Event::Note(&note));
        }
        let steps = match self.plan.train.steps {
            0 => steps_of_one_pass(rows.len(), self.plan.train.batch),
            steps => steps,
        };
        Ok(Training {
            plan: self.plan,
            stages: &self.inputs.stages,
            host: self.host,
            sampler: Sampler::new(self.plan.seed, rows.len()),
            rows,
            models,
            optimizer: AdamW::new(&self.plan.train),
            rate: LearningRate::new(&self.plan.train, steps),
            step: 0,
            steps,
        })
    }

    fn train(&mut self, training: &mut Training<'_>) -> Result<(), RunError> {
        self.observer.event(Event::Begin { work: "train", total: Some(u64::from(training.steps)) });
        while training.step < training.steps {
            let start = Instant::now();
            let made = step(training);
            pass_on_lines(self.host, self.observer);
            let record = made?;
            self.note(record, start.elapsed().as_secs_f64())?;
            let is_last = training.step == training.steps;
            let is_due = |every: u32| every > 0 && training.step.is_multiple_of(every);
            if is_due(self.plan.train.checkpoint_every) || is_last {
                self.checkpoint(training)?;
            }
            if is_due(self.plan.measure.every) && !is_last {
                self.measure(&training.models, training.step)?;
            }
        }
        self.observer.event(Event::Finish);
        Ok(())
    }

    /// Writes down a step.
    fn note(&mut self, record: StepRecord, seconds: f64) -> Result<(), RunError> {
        let times = Times { total: seconds, plugins: self.host.caller.take_seconds() };
        self.spend(&times.plugins);
        let line = MetricLine::new(&record, &times);
        self.folder.metric(&line)?;
        let note = format!("loss {:.4}  {:.0} tokens/s", record.loss, line.tokens_per_second);
        let summary = &mut self.summary;
        summary.loss_first.get_or_insert(record.loss);
        summary.loss_last = Some(record.loss);
        summary.tokens += record.tokens;
        summary.loss_tokens += record.loss_tokens;
        summary.train_seconds += seconds;
        summary.step_plugin_share += times.plugins.values().sum::<f64>();
        self.folder.trace.add(&Record::Step(record), &times)?;
        self.observer.event(Event::Advance { units: 1, note: &note });
        Ok(())
    }

    fn checkpoint(&mut self, training: &Training<'_>) -> Result<(), RunError> {
        self.folder.sync()?;
        let path = checkpoint::save(&self.folder.path, training, self.folder.trace.head(), &self.inputs.model.folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.observer.event(Event::Note(&format!("checkpoint `{name}` written")));
        Ok(())
    }

    fn measure(&mut self, models: &PolicyPair, step: u32) -> Result<(), RunError> {
        let evaluator = Evaluator { host: self.host, stages: &self.inputs.stages, with_kl: self.plan.measure.kl };
        for set in &self.inputs.evals {
            let start = Instant::now();
            let work = format!("measure {}", set.name);
            let measured = evaluator.measure(set, models, step > 0, &work, self.observer);
            pass_on_lines(self.host, self.observer);
            let mut measured = measured?;
            measured.samples.iter_mut().for_each(|sample| sample.step = step);
            self.folder.samples(&measured.samples)?;
            let times = Times { total: start.elapsed().as_secs_f64(), plugins: self.host.caller.take_seconds() };
            self.spend(&times.plugins);
            let metrics = measured.metrics;
            let calls = self.host.caller.take_records();
            let record = Record::Measure { step, set: set.name.clone(), metrics: metrics.clone(), calls };
            self.folder.trace.add(&record, &times)?;
            self.keep(set.name.clone(), set.examples.len() as u64, step, metrics);
        }
        Ok(())
    }

    /// Keeps the metrics at step 0 as those before training, and all later ones as those after it.
    fn keep(&mut self, name: String, rows: u64, step: u32, metrics: BTreeMap<String, f64>) {
        let sets = &mut self.summary.sets;
        match sets.iter_mut().find(|set| set.name == name) {
            Some(set) if step > 0 => set.after = metrics,
            Some(set) => set.before = metrics,
            None => sets.push(SetSummary { name, rows, before: metrics, after: BTreeMap::new() }),
        }
    }

    /// Adds seconds inside plugins.
    fn spend(&mut self, seconds: &BTreeMap<Stage, f64>) {
        for (stage, seconds) in seconds {
            *self.summary.plugin_seconds.entry(*stage).or_default() += seconds;
        }
    }

    /// Exports what was trained, ends the trace and sums up.
    fn finish(mut self, training: &Training<'_>, set: &TrainingSet, start: Instant) -> Result<RunSummary, RunError> {
        let name = if self.plan.model.lora.is_some() { "adapter" } else { "model" };
        let trained = self.folder.path.join(name);
        // `save_trained` makes a folder of this name inside the folder that it is given.
        let inside = self.folder.path.join(".trained");
        folder_whole(&inside, |partial| {
            checkpoint::save_trained(partial, &training.models.policy, self.plan, &self.inputs.model.folder).map(|_| ())
        })?;
        std::fs::rename(inside.join(name), &trained).map_err(RunError::io(&trained))?;
        std::fs::remove_dir(&inside).map_err(RunError::io(&inside))?;

        let parameters = digest_of_trained(&training.models.policy);
        let record = Record::End { steps: training.step, parameters: parameters.clone() };
        self.folder.trace.add(&record, &Times::default())?;
        self.folder.sync()?;
        let mut summary = self.summary;
        summary.folder.clone_from(&self.folder.path);
        summary.trained = trained;
        summary.steps = training.step;
        summary.rows = set.rows.len() as u64;
        summary.provenance.clone_from(&set.provenance);
        summary.dropped.clone_from(&set.dropped);
        summary.parameters = parameters;
        summary.trace = self.folder.trace.head().to_owned();
        summary.seconds = start.elapsed().as_secs_f64();
        summary.tokens_per_second = share(summary.tokens as f64, summary.train_seconds);
        summary.plugin_share = share(summary.plugin_seconds.values().sum(), summary.seconds);
        summary.step_plugin_share = share(summary.step_plugin_share, summary.train_seconds);
        write_json(&self.folder.path.join("summary.json"), &summary)?;
        Ok(summary)
    }
}

/// A line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct MetricLine {
    step: u32,
    loss: f32,
    learning_rate: f64,
    grad_norm: f32,
    tokens: u64,
    loss_tokens: u64,
    seconds: f64,
    tokens_per_second: f64,
    /// Seconds inside plugins, by stage.
    plugin_seconds: BTreeMap<Stage, f64>,
    /// The means of the numbers that plugins noted, by `plugin/name`.
    noted: BTreeMap<String, f64>,
}

impl MetricLine {
    fn new(record: &StepRecord, times: &Times) -> Self {
        let mut sums: BTreeMap<String, (f64, u64)> = BTreeMap::new();
        for call in &record.calls {
            for (name, (sum, count)) in &call.report.metrics {
                let entry = sums.entry(format!("{}/{name}", call.plugin)).or_default();
                entry.0 += sum;
                entry.1 += count;
            }
        }
        Self {
            step: record.step,
            loss: record.loss,
            learning_rate: record.learning_rate,
            grad_norm: record.grad_norm,
            tokens: record.tokens,
            loss_tokens: record.loss_tokens,
            seconds: times.total,
            tokens_per_second: share(record.tokens as f64, times.total),
            plugin_seconds: times.plugins.clone(),
            noted: sums.into_iter().map(|(name, (sum, count))| (name, sum / count.max(1) as f64)).collect(),
        }
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What results are bit-equal within: the device, and on a processor the widest vectors that it has.
fn device_class(device: &str) -> String {
    #[cfg(target_arch = "x86_64")]
    let vectors = match () {
        () if std::arch::is_x86_feature_detected!("avx512f") => "avx512",
        () if std::arch::is_x86_feature_detected!("avx2") => "avx2",
        () => "sse2",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "plain";
    format!("{device} {} {vectors}", env::consts::ARCH)
}
