//! From the pool to the training set: the recipe's curating plugin decides, chunk by chunk; without one the data is taken as it is.

pub(crate) mod decisions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value};
use tunesmith_core::data::{Example, Examples, Target, TrainingRow};
use tunesmith_core::error::CallError;
use tunesmith_core::model::Message;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Named, Observer};
use tunesmith_core::stage::{Choice, Curate, Curated, Stage};
use tunesmith_core::trace::{Record, Times};

use crate::batch::PolicyPair;
use crate::run::{RunError, RunFolder, no_completion, pass_on_lines};
use crate::service::calls::Callee;
use crate::service::recall::Recall;
use crate::service::{Host, digests};
use decisions::Decision;

/// The training set and what became of the rest.
#[derive(Debug, Default)]
pub(crate) struct TrainingSet {
    pub(crate) rows: Vec<TrainingRow>,
    /// Rows by provenance.
    pub(crate) provenance: BTreeMap<String, u64>,
    /// Rows dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// What was dropped: row, reason, notes.
    pub(crate) dropped_rows: Vec<Dropped>,
    /// Seconds inside plugins, by stage.
    pub(crate) plugin_seconds: BTreeMap<Stage, f64>,
    /// The id of the next row that is added.
    next_id: u64,
}

/// A row that is not trained on.
#[derive(Debug)]
pub(crate) struct Dropped {
    id: u64,
    why: String,
    notes: Vec<(String, f64)>,
}

/// What curating needs.
pub(crate) struct Curating<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) host: &'a Host,
    pub(crate) models: &'a PolicyPair,
    pub(crate) folder: &'a mut RunFolder,
    /// What was decided before the run was stopped, chunk by chunk.
    pub(crate) decided: Vec<Decision>,
    /// The digest of the training set, if it was complete before the run was stopped.
    pub(crate) known: Option<String>,
}

impl Curating<'_> {
    /// Makes the training set; each chunk is an event of the trace, and so is the whole.
    pub(crate) fn training_set(
        mut self,
        curate: Option<&Named<dyn Curate>>,
        pool: &[Arc<Example>],
        observer: &mut dyn Observer,
    ) -> Result<TrainingSet, RunError> {
        let next_id = pool.iter().map(|example| example.id + 1).max().unwrap_or(0);
        let mut set = TrainingSet { next_id, ..TrainingSet::default() };
        match curate {
            None => set.take_all(self.plan, pool)?,
            Some(curate) => self.call(curate, pool, &mut set, observer)?,
        }
        if set.rows.is_empty() {
            return Err(RunError::EmptyTrainingSet { dropped: set.dropped });
        }
        let digest = digests::of_training_set(&set.rows);
        match &self.known {
            Some(known) if *known != digest => return Err(self.lost("the training set does not come out as before")),
            Some(_) => {}
            None => {
                let record = Record::TrainingSet { rows: set.rows.len() as u64, digest };
                self.folder.trace.add(&record, &Times::default())?;
            }
        }
        Ok(set)
    }

    fn lost(&self, what: &str) -> RunError {
        RunError::Resume {
            path: self.folder.path.clone(),
            what: what.to_owned(),
            hint: "begin a new run in another `output`".into(),
        }
    }

    /// Goes through the pool: what was decided already is taken as it was, the rest is asked for.
    fn call(
        &mut self,
        curate: &Named<dyn Curate>,
        pool: &[Arc<Example>],
        set: &mut TrainingSet,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        observer.event(Event::Begin { work: "curate", total: Some(pool.len() as u64) });
        let mut decided = std::mem::take(&mut self.decided).into_iter();
        let recall = Arc::new(Recall::open(&self.folder.path.join("progress").join("answers.jsonl"))?);
        for rows in pool.chunks(self.plan.generate.chunk.max(1)) {
            let chunk = Arc::new(Examples { rows: rows.to_vec(), round: 0 });
            match decided.next() {
                Some(decision) if decision.input == digests::of_examples(&chunk) => {
                    set.take(self.plan, &curate.name, &chunk, decision.curated)?;
                }
                Some(_) => return Err(self.lost("the pool is not the one that was curated")),
                None => {
                    self.ask(curate, &chunk, &recall, (&mut *set, &mut *observer))?;
                    recall.clear()?;
                }
            }
            let note = format!("{} kept", set.rows.len());
            observer.event(Event::Advance { units: rows.len() as u64, note: &note });
        }
        observer.event(Event::Finish);
        Ok(())
    }

    /// Asks the plugin about a chunk. What it says is on disk before the trace speaks of it.
    fn ask(
        &mut self,
        curate: &Named<dyn Curate>,
        chunk: &Arc<Examples>,
        recall: &Arc<Recall>,
        (set, observer): (&mut TrainingSet, &mut dyn Observer),
    ) -> Result<(), RunError> {
        let start = Instant::now();
        let input = digests::of_examples(chunk);
        let services = self.host.recalling_services(self.models, recall);
        let callee = Callee { stage: Stage::Curate, plugin: &curate.name, input: input.clone(), services };
        let stage = &curate.stage;
        let made = self.host.caller.call(callee, digests::of_curated, |call| stage.curate(Arc::clone(chunk), call));
        pass_on_lines(self.host, observer);
        let decision = Decision::new(input, made?);
        self.folder.decision(&decision)?;
        let counts = set.take(self.plan, &curate.name, chunk, decision.curated)?;
        let times = Times { total: start.elapsed().as_secs_f64(), plugins: self.host.caller.take_seconds() };
        for (stage, seconds) in &times.plugins {
            *set.plugin_seconds.entry(*stage).or_default() += seconds;
        }
        self.folder.trace.add(&counts.record(chunk, self.host), &times)?;
        self.folder.progress(self.plan, self.host)
    }
}

/// What a chunk came to.
#[derive(Default)]
struct Counts {
    provenance: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
}

impl Counts {
    fn record(self, chunk: &Examples, host: &Host) -> Record {
        Record::Curate {
            rows: chunk.rows.iter().map(|row| row.id).collect(),
            provenance: self.provenance,
            dropped: self.dropped,
            calls: host.caller.take_records(),
        }
    }
}

impl TrainingSet {
    /// Every row with its gold completion.
    fn take_all(&mut self, plan: &Plan, pool: &[Arc<Example>]) -> Result<(), RunError> {
        for example in pool {
            let completion = example.completion.clone().ok_or_else(|| no_completion(plan, example))?;
            self.push(example, Target::Completion(completion), "gold", Vec::new());
        }
        Ok(())
    }

    /// Turns the choices about a chunk into rows.
    fn take(&mut self, plan: &Plan, plugin: &str, chunk: &Examples, curated: Curated) -> Result<Counts, CallError> {
        let broken = |row: usize| {
            CallError::broken(
                plugin,
                "curate",
                format!("row {row} of {} rows, or it has no completion", chunk.rows.len()),
            )
        };
        let example = |row: usize| chunk.rows.get(row).ok_or_else(|| broken(row));
        let mut notes: BTreeMap<usize, Vec<(String, f64)>> = BTreeMap::new();
        for (row, name, value) in curated.notes {
            notes.entry(row).or_default().push((name, value));
        }
        let notes_of = |row: usize| notes.get(&row).cloned().unwrap_or_default();
        let mut counts = Counts::default();
        for choice in curated.choices {
            let provenance = match choice {
                Choice::Drop { row, why } => {
                    let id = example(row)?.id;
                    *counts.dropped.entry(why.clone()).or_default() += 1;
                    *self.dropped.entry(why.clone()).or_default() += 1;
                    self.dropped_rows.push(Dropped { id, why, notes: notes_of(row) });
                    continue;
                }
                Choice::Keep { row, provenance } => {
                    let completion = example(row)?.completion.clone().ok_or_else(|| broken(row))?;
                    self.push(example(row)?, Target::Completion(completion), &provenance, notes_of(row));
                    provenance
                }
                Choice::Replace { row, completion, provenance } => {
                    self.push(example(row)?, Target::Completion(completion), &provenance, notes_of(row));
                    provenance
                }
                Choice::Prefer { row, chosen, rejected, provenance } => {
                    let target = Target::Preference { chosen, rejected };
                    self.push(example(row)?, target, &provenance, notes_of(row));
                    provenance
                }
                Choice::Add { prompt, completion, provenance, like } => {
                    let like = like.map(example).transpose()?;
                    let added = Arc::new(self.added(plan, prompt, &completion, like));
                    self.push(&added, Target::Completion(completion), &provenance, Vec::new());
                    provenance
                }
            };
            *counts.provenance.entry(provenance).or_default() += 1;
        }
        Ok(counts)
    }

    /// A new example with the system message and the columns of another.
    fn added(&mut self, plan: &Plan, prompt: String, completion: &str, like: Option<&Arc<Example>>) -> Example {
        let id = self.next_id;
        self.next_id += 1;
        let system = match like {
            Some(like) => like.messages.first().filter(|first| first.role == "system").cloned(),
            None => plan.data.system.clone().map(|content| Message { role: "system".into(), content }),
        };
        let messages = system.into_iter().chain([Message::user(prompt)]).collect();
        let columns = like.map_or_else(Map::new, |like| like.columns.clone());
        Example { id, messages, completion: Some(completion.to_owned()), columns }
    }

    fn push(&mut self, example: &Arc<Example>, target: Target, provenance: &str, notes: Vec<(String, f64)>) {
        *self.provenance.entry(provenance.to_owned()).or_default() += 1;
        let example = Arc::clone(example);
        self.rows.push(TrainingRow { example, target, provenance: provenance.to_owned(), notes });
    }

    /// The lines of `curated.jsonl`: what is trained on, in its order, then what is not.
    pub(crate) fn lines(&self) -> Vec<impl Serialize + use<'_>> {
        let kept = self.rows.iter().map(CuratedLine::kept);
        kept.chain(self.dropped_rows.iter().map(CuratedLine::dropped)).collect()
    }
}

/// A line of `curated.jsonl`. Lines with a target are the training set, whole: a resumed run needs nothing else.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CuratedLine<'a> {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    notes: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'a Example>,
}

impl<'a> CuratedLine<'a> {
    fn kept(row: &'a TrainingRow) -> Self {
        Self {
            id: row.example.id,
            provenance: Some(&row.provenance),
            dropped: None,
            notes: as_map(&row.notes),
            target: Some(&row.target),
            example: Some(&row.example),
        }
    }

    fn dropped(row: &'a Dropped) -> Self {
        Self {
            id: row.id,
            provenance: None,
            dropped: Some(&row.why),
            notes: as_map(&row.notes),
            target: None,
            example: None,
        }
    }
}

fn as_map(notes: &[(String, f64)]) -> Map<String, Value> {
    notes.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect()
}
