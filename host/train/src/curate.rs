//! From the pool to the training set: the recipe's curating plugin decides, chunk by chunk; without one the data is taken as it is.

pub(crate) mod decisions;
pub(crate) mod set;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Map;
use tunesmith_core::data::{Example, Examples, Member, Target, TrainingRow};
use tunesmith_core::error::CallError;
use tunesmith_core::model::Message;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Named, Observer};
use tunesmith_core::stage::{Choice, Curate, Curated, Stage};
use tunesmith_core::trace::{Record, Times};

use crate::batch::PolicyPair;
use crate::data::{Rows, target};
use crate::run::{RunError, RunFolder, no_completion, pass_on_lines};
use crate::service::calls::Callee;
use crate::service::recall::Recall;
use crate::service::{Host, digests};
use decisions::Decision;
use set::{SetRows, SetWriter};

/// The training set and what became of the rest.
#[derive(Debug)]
pub(crate) struct TrainingSet {
    /// The rows, which lie in `curated.jsonl`.
    pub(crate) rows: SetRows,
    /// Rows by provenance.
    pub(crate) provenance: BTreeMap<String, u64>,
    /// Rows dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Seconds inside plugins, by stage.
    pub(crate) plugin_seconds: BTreeMap<Stage, f64>,
}

/// A training set in the making.
struct Making {
    writer: SetWriter,
    provenance: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
    plugin_seconds: BTreeMap<Stage, f64>,
    /// The id of the next row that is added.
    next_id: u64,
    /// Whether the policy answers the prompts itself.
    is_online: bool,
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
        pool: &dyn Rows,
        observer: &mut dyn Observer,
    ) -> Result<TrainingSet, RunError> {
        let mut set = Making {
            writer: SetWriter::create(&self.folder.path.join("curated.jsonl"))?,
            provenance: BTreeMap::new(),
            dropped: BTreeMap::new(),
            plugin_seconds: BTreeMap::new(),
            next_id: pool.next_id(),
            is_online: self.plan.rollout.is_some(),
        };
        match curate {
            None => set.take_all(self.plan, pool)?,
            Some(curate) => self.call(curate, pool, &mut set, observer)?,
        }
        if set.writer.count() == 0 {
            return Err(RunError::EmptyTrainingSet { dropped: set.dropped });
        }
        let digest = set.writer.digest();
        match &self.known {
            Some(known) if *known != digest => return Err(self.lost("the training set does not come out as before")),
            Some(_) => {}
            None => {
                let record = Record::TrainingSet { rows: set.writer.count() as u64, digest };
                self.folder.trace.add(&record, &Times::default())?;
            }
        }
        let Making { writer, provenance, dropped, plugin_seconds, .. } = set;
        Ok(TrainingSet { rows: writer.finish()?, provenance, dropped, plugin_seconds })
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
        pool: &dyn Rows,
        set: &mut Making,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        observer.event(Event::Begin { work: "curate", total: Some(pool.count() as u64) });
        let mut decided = std::mem::take(&mut self.decided).into_iter();
        let recall = Arc::new(Recall::open(&self.folder.path.join("progress").join("answers.jsonl"))?);
        let mut pool = pool.examples();
        loop {
            let rows = pool.by_ref().take(self.plan.generate.chunk.max(1)).collect::<Result<Vec<_>, _>>()?;
            if rows.is_empty() {
                break;
            }
            let units = rows.len() as u64;
            let chunk = Arc::new(Examples { rows, round: 0 });
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
            let note = format!("{} kept", set.writer.count());
            observer.event(Event::Advance { units, note: &note });
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
        (set, observer): (&mut Making, &mut dyn Observer),
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

/// A conversation of one question, with the system message of another example.
fn asked(plan: &Plan, prompt: String, like: Option<&Arc<Example>>) -> Vec<Message> {
    let system = match like {
        Some(like) => like.messages.first().filter(|first| first.role == "system").cloned(),
        None => plan.data.system.clone().map(|content| Message::new("system", content)),
    };
    system.into_iter().chain([Message::user(prompt)]).collect()
}

/// What a group is trained on: one completion without a role is an ordinary row.
fn target_of(mut members: Vec<Member>) -> Target {
    match members.as_mut_slice() {
        [member] if member.role.is_empty() => Target::Completion(std::mem::take(&mut member.completion)),
        _ => Target::Group(members),
    }
}

impl Making {
    /// Every row with its gold completion.
    fn take_all(&mut self, plan: &Plan, pool: &dyn Rows) -> Result<(), RunError> {
        for example in pool.examples() {
            let example = example?;
            let target = match target(&plan.data, &example) {
                Some(target) => target,
                None if self.is_online => Target::Prompt,
                None => return Err(no_completion(plan, &example)),
            };
            self.push(&example, target, "gold", Vec::new())?;
        }
        Ok(())
    }

    /// Turns the choices about a chunk into rows.
    fn take(&mut self, plan: &Plan, plugin: &str, chunk: &Examples, curated: Curated) -> Result<Counts, RunError> {
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
                    self.writer.drop_row(id, &why, &notes_of(row))?;
                    continue;
                }
                Choice::Keep { row, provenance } => {
                    let completion = example(row)?.completion.clone().ok_or_else(|| broken(row))?;
                    self.push(example(row)?, Target::Completion(completion), &provenance, notes_of(row))?;
                    provenance
                }
                Choice::Replace { row, completion, provenance } => {
                    self.push(example(row)?, Target::Completion(completion), &provenance, notes_of(row))?;
                    provenance
                }
                Choice::Prefer { row, chosen, rejected, provenance } => {
                    let target = Target::Preference { chosen, rejected };
                    self.push(example(row)?, target, &provenance, notes_of(row))?;
                    provenance
                }
                Choice::Add { prompt, completion, provenance, like } => {
                    let like = like.map(example).transpose()?;
                    let messages = asked(plan, prompt, like);
                    let added = Arc::new(self.added(messages, &completion, like));
                    self.push(&added, Target::Completion(completion), &provenance, Vec::new())?;
                    provenance
                }
                Choice::Group { row, members, provenance } => {
                    self.push(example(row)?, target_of(members), &provenance, notes_of(row))?;
                    provenance
                }
                Choice::AddGroup { messages, members, provenance, like } => {
                    let like = like.map(example).transpose()?;
                    let first = members.first().map_or_else(String::new, |member| member.completion.clone());
                    let added = Arc::new(self.added(messages, &first, like));
                    self.push(&added, target_of(members), &provenance, Vec::new())?;
                    provenance
                }
            };
            *counts.provenance.entry(provenance).or_default() += 1;
        }
        Ok(counts)
    }

    /// A new example with the columns of another.
    fn added(&mut self, messages: Vec<Message>, completion: &str, like: Option<&Arc<Example>>) -> Example {
        let id = self.next_id;
        self.next_id += 1;
        let columns = like.map_or_else(Map::new, |like| like.columns.clone());
        let tools = like.and_then(|like| like.tools.clone());
        Example { id, messages, completion: Some(completion.to_owned()), columns, tools, ..Example::default() }
    }

    fn push(
        &mut self,
        example: &Arc<Example>,
        target: Target,
        provenance: &str,
        notes: Vec<(String, f64)>,
    ) -> Result<(), RunError> {
        *self.provenance.entry(provenance.to_owned()).or_default() += 1;
        let (example, target) = match target {
            target if !self.is_online => (Arc::clone(example), target),
            // What was curated is what rewards compare with.
            Target::Completion(completion) if example.completion.as_ref() != Some(&completion) => {
                let example = Example { completion: Some(completion), reply: None, ..example.as_ref().clone() };
                (Arc::new(example), Target::Prompt)
            }
            _ => (Arc::clone(example), Target::Prompt),
        };
        self.writer.keep(&TrainingRow { example, target, provenance: provenance.to_owned(), notes })
    }
}
