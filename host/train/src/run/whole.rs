//! A run from its inputs to its summary.

use std::collections::BTreeMap;
use std::env;
use std::time::Instant;

use serde::Serialize;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Observer};
use tunesmith_core::stage::Stage;
use tunesmith_core::trace::{Line, Record, StepRecord, Times};

use super::board::{self, Board};
use super::disk::{folder_whole, write_json};
use super::folder::RunFolder;
use super::phase;
use super::preflight::{self, length_rule, steps_of_one_pass};
use super::resume::{Past, Standing, reopen, standing};
use super::{RunError, RunInputs, RunSummary, SetSummary, Training, TrainingRows, host, pass_on_lines};
use crate::batch::PolicyPair;
use crate::batching::Sampler;
use crate::checkpoint;
use crate::curate::Curating;
use crate::curate::set::SetRows;
use crate::evaluate::Evaluator;
use crate::extra::ExtraParameters;
use crate::optimizer::AdamW;
use crate::schedule::LearningRate;
use crate::service::Host;
use crate::step::step;
use crate::tensorboard::Clock;

/// Does a whole run into `plan.output`: curate, measure, train, measure, export.
///
/// Everything that can be checked beforehand is checked before the folder is made.
///
/// # Errors
///
/// Fails at the first error; what was written until then stays, checkpoints are whole.
#[expect(clippy::needless_pass_by_value, reason = "the caller gives the model up: what is trained shares its memory")]
pub fn run(plan: &Plan, inputs: RunInputs, observer: &mut dyn Observer) -> Result<RunSummary, RunError> {
    preflight::check(plan, &inputs)?;
    go(plan, &inputs, observer, |_| Ok((RunFolder::create(plan)?, Past::default())))
}

/// Goes on with the run in `plan.output` that was stopped, wherever that was, and does the rest of it. The trace comes out as if the run had
/// never been stopped, wall times aside. A run that came to its end is left as it is.
///
/// # Errors
///
/// As [`run`], and when there is no run in the folder, another process works on it, or it was begun with another plan.
#[expect(clippy::needless_pass_by_value, reason = "as `run`, so that the two are called alike")]
pub fn resume(plan: &Plan, inputs: RunInputs, observer: &mut dyn Observer) -> Result<RunSummary, RunError> {
    if let Standing::Finished(summary) = standing(plan)? {
        return Ok(*summary);
    }
    preflight::check_inputs(plan, &inputs)?;
    go(plan, &inputs, observer, |observer| reopen(plan, observer))
}

/// Opens the folder, and does what is not done yet.
fn go(
    plan: &Plan,
    inputs: &RunInputs,
    observer: &mut dyn Observer,
    open: impl FnOnce(&mut dyn Observer) -> Result<(RunFolder, Past), RunError>,
) -> Result<RunSummary, RunError> {
    let start = Instant::now();
    let host = host(plan, inputs);
    let models = phase::models(plan, inputs)?;
    let (folder, mut past) = open(observer)?;
    phase::carry(inputs, &mut past.calls)?;
    host.caller.restore(past.calls.clone());
    let board = Board::open(&folder.path, &past.lines, Clock::new(inputs.now))?;
    let mut whole = Whole { plan, inputs, host: &host, folder, board, observer, past, summary: RunSummary::default() };
    whole.begin()?;
    whole.measure(&models, 0)?;
    let rows = whole.curate(&models)?;
    let mut training = whole.training(rows, models)?;
    whole.train(&mut training)?;
    whole.measure(&training.models, training.step)?;
    whole.finish(&training, start)
}

/// The first line of the trace.
pub(super) fn start_record(plan: &Plan) -> Record {
    Record::Start {
        plan: plan.digest(),
        host: env!("CARGO_PKG_VERSION").into(),
        device: device_class(&plan.model.device),
    }
}

/// A run that is going on.
struct Whole<'a> {
    plan: &'a Plan,
    inputs: &'a RunInputs,
    host: &'a Host,
    folder: RunFolder,
    board: Board,
    observer: &'a mut dyn Observer,
    past: Past,
    summary: RunSummary,
}

impl<'a> Whole<'a> {
    /// Begins the trace, or sums up what it says already.
    fn begin(&mut self) -> Result<(), RunError> {
        if self.past.lines.is_empty() {
            self.folder.trace.add(&start_record(self.plan), &Times::default())?;
            return self.folder.sync();
        }
        for Line { record, times, .. } in std::mem::take(&mut self.past.lines) {
            self.recall(record, &times);
        }
        Ok(())
    }

    /// Adds to the summary what the run did before it was stopped.
    fn recall(&mut self, record: Record, times: &Times) {
        self.summary.seconds += times.total;
        match record {
            Record::Step(record) => self.sum_up(&record, times),
            Record::Curate { .. } => {
                self.spend(&times.plugins);
                self.summary.curate_seconds += times.total;
            }
            Record::Measure { step, set, metrics, .. } => {
                self.spend(&times.plugins);
                let rows = self.inputs.evals.iter().find(|eval| eval.name == set).map_or(0, |eval| eval.examples.len());
                self.keep(set, rows as u64, step, metrics);
            }
            Record::TrainingSet { digest, .. } => self.past.training_set = Some(digest),
            Record::Start { .. } | Record::End { .. } => {}
        }
    }

    fn curate(&mut self, models: &PolicyPair) -> Result<SetRows, RunError> {
        let start = Instant::now();
        let curating = Curating {
            plan: self.plan,
            host: self.host,
            models,
            folder: &mut self.folder,
            decided: std::mem::take(&mut self.past.decisions),
            known: self.past.training_set.take(),
        };
        let set = curating.training_set(self.inputs.stages.curate.as_ref(), &*self.inputs.pool, self.observer)?;
        self.spend(&set.plugin_seconds);
        self.summary.curate_seconds += start.elapsed().as_secs_f64();
        self.summary.rows = set.rows.len() as u64;
        self.summary.provenance = set.provenance;
        self.summary.dropped = set.dropped;
        Ok(set.rows)
    }

    /// Tokenises the training set and puts the parts of the loop together.
    fn training(&mut self, set: SetRows, models: PolicyPair) -> Result<Training<'a>, RunError> {
        let lengths = length_rule(self.plan, self.inputs)?;
        let rows = TrainingRows::new(set, &self.host.encoder, lengths, &self.inputs.pool.weights())?;
        if self.inputs.stages.objective.is_none() && rows.has_preferences {
            let what = "the training set has preferences, which the built-in objective would train on as if both answers were good";
            let hint = "name an objective for preferences in `[objective]`".into();
            return Err(RunError::Recipe { field: "objective", what: what.into(), hint });
        }
        self.summary.truncated = rows.truncated;
        if self.summary.truncated > 0 {
            let note = format!("{} rows were longer than {} tokens and cut", self.summary.truncated, lengths.longest);
            self.observer.event(Event::Note(&note));
        }
        let urn = rows.urn(&self.plan.train);
        let steps = match self.plan.train.steps {
            0 => steps_of_one_pass(urn.first_epoch(), self.plan.train.batch),
            steps => steps,
        };
        let mut training = Training {
            plan: self.plan,
            stages: &self.inputs.stages,
            host: self.host,
            sampler: Sampler::of(self.plan.seed, urn),
            rows,
            lengths,
            extra: self.extra(&models)?,
            models,
            optimizer: AdamW::new(&self.plan.train),
            rate: LearningRate::new(&self.plan.train, steps),
            round: None,
            sampled: None,
            lines: Vec::new(),
            step: 0,
            steps,
        };
        if let Some(checkpoint) = &self.past.checkpoint {
            checkpoint::load(checkpoint, &mut training)?;
        }
        Ok(training)
    }

    /// What the objective's plugin trains beside the policy, as it starts.
    fn extra(&self, models: &PolicyPair) -> Result<ExtraParameters, RunError> {
        let stages = &self.inputs.stages;
        let Some(objective) = &stages.objective else { return Ok(ExtraParameters::default()) };
        let config = models.reference.config();
        ExtraParameters::new(&objective.name, &stages.parameters, config, self.plan.seed, &models.policy.device())
            .map_err(preflight::too_many_parameters)
    }

    fn train(&mut self, training: &mut Training<'_>) -> Result<(), RunError> {
        self.observer.event(Event::Begin { work: "train", total: Some(u64::from(training.steps)) });
        self.observer.event(Event::Advance { units: u64::from(training.step), note: "" });
        let is_due = |every: u32, step: u32| every > 0 && step.is_multiple_of(every);
        let mut owes_checkpoint = false;
        while training.step < training.steps {
            // A checkpoint lies before the measurement of its step: who goes on from it measures first.
            if training.step > 0 && is_due(self.plan.measure.every, training.step) {
                self.measure(&training.models, training.step)?;
            }
            let start = Instant::now();
            let made = step(training);
            pass_on_lines(self.host, self.observer);
            self.folder.rollouts(&std::mem::take(&mut training.lines))?;
            self.note(made?, start.elapsed().as_secs_f64())?;
            owes_checkpoint |= is_due(self.plan.train.checkpoint_every, training.step);
            // What was sampled for several steps is in no checkpoint: it is written after the last of them.
            if (owes_checkpoint && training.is_between_rounds()) || training.step == training.steps {
                self.checkpoint(training)?;
                owes_checkpoint = false;
            }
        }
        self.observer.event(Event::Finish);
        Ok(())
    }

    /// Writes down a step.
    fn note(&mut self, record: StepRecord, seconds: f64) -> Result<(), RunError> {
        let times = Times { total: seconds, plugins: self.host.caller.take_seconds() };
        self.sum_up(&record, &times);
        let line = MetricLine::new(&record, &times);
        self.folder.metric(&line)?;
        let reward = record.rollouts.as_ref().and_then(|rollouts| rollouts.numbers.get("reward"));
        let reward = reward.map_or(String::new(), |reward| format!("reward {reward:.3}  "));
        let note = format!("{reward}loss {:.4}  {:.0} tokens/s", record.loss, line.tokens_per_second);
        self.add(&Record::Step(record), &times)?;
        self.observer.event(Event::Advance { units: 1, note: &note });
        Ok(())
    }

    /// Adds an event to the trace, and to what `TensorBoard` shows.
    fn add(&mut self, record: &Record, times: &Times) -> Result<(), RunError> {
        self.folder.trace.add(record, times)?;
        self.board.show(record, times)
    }

    /// Adds a step to the summary.
    fn sum_up(&mut self, record: &StepRecord, times: &Times) {
        self.spend(&times.plugins);
        let summary = &mut self.summary;
        summary.loss_first.get_or_insert(record.loss);
        summary.loss_last = Some(record.loss);
        summary.tokens += record.tokens;
        summary.loss_tokens += record.loss_tokens;
        summary.train_seconds += times.total;
        summary.step_plugin_share += times.plugins.values().sum::<f64>();
    }

    fn checkpoint(&mut self, training: &Training<'_>) -> Result<(), RunError> {
        self.folder.sync()?;
        let path = checkpoint::save(&self.folder.path, training, self.folder.place(), &self.inputs.model.folder)?;
        checkpoint::prune(&self.folder.path, training.step, self.plan.train.keep_checkpoints)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.observer.event(Event::Note(&format!("checkpoint `{name}` written")));
        Ok(())
    }

    fn measure(&mut self, models: &PolicyPair, step: u32) -> Result<(), RunError> {
        let (plan, stages) = (self.plan, &self.inputs.stages);
        let evaluator = Evaluator { plan, host: self.host, stages, with_kl: plan.measure.kl };
        for set in &self.inputs.evals {
            if step == 0 && self.summary.sets.iter().any(|known| known.name == set.name) {
                continue;
            }
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
            self.add(&record, &times)?;
            self.keep(set.name.clone(), set.examples.len() as u64, step, metrics);
            if step == 0 {
                self.folder.progress(self.plan, self.host)?;
            }
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
    fn finish(mut self, training: &Training<'_>, start: Instant) -> Result<RunSummary, RunError> {
        let trained = self.folder.path.join(checkpoint::trained_name(self.plan));
        folder_whole(&trained, |partial| {
            checkpoint::save_trained(partial, &training.models.policy, self.plan, &self.inputs.model.folder)
        })?;
        if let Some(path) = training.extra.save(&self.folder.path)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.observer.event(Event::Note(&format!("extra parameters written to `parameters/{name}`")));
        }

        let parameters = training.digest();
        let record = Record::End { steps: training.step, parameters: parameters.clone() };
        self.folder.trace.add(&record, &Times::default())?;
        self.folder.sync()?;
        let mut summary = self.summary;
        summary.folder.clone_from(&self.folder.path);
        summary.trained = trained;
        summary.steps = training.step;
        summary.parameters = parameters;
        summary.trace = self.folder.trace.head().to_owned();
        summary.seconds += start.elapsed().as_secs_f64();
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
    /// In online training: means and counts of what was sampled.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rollouts: BTreeMap<String, f64>,
}

impl MetricLine {
    fn new(record: &StepRecord, times: &Times) -> Self {
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
            noted: board::noted(&record.calls),
            rollouts: record.rollouts.as_ref().map(|rollouts| rollouts.numbers.clone()).unwrap_or_default(),
        }
    }
}

/// A part of a whole, which may be nothing.
pub(super) fn share(part: f64, whole: f64) -> f64 {
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
