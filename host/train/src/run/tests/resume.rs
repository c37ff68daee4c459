//! Runs that were stopped: wherever that was, they end as if they had not been.

mod counting;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tunesmith_core::call::Call;
use tunesmith_core::data::Examples;
use tunesmith_core::error::CallError;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Named, Observer, Stages};
use tunesmith_core::stage::{Curate, Curated};
use tunesmith_core::trace::verify;

use counting::{Counting, stages};

use super::board::events;
use super::{LORA, inputs_of, plan};
use crate::run::{RunError, RunSummary, Standing, resume, run, standing};
use crate::test_folder::chat_folder;

const TABLES: &str = "[train]\nsteps = 5\nbatch = 3\nmicro-batch = 3\nlearning-rate = 0.01\ncheckpoint-every = 2\n[generate]\nmax-tokens = 4\n[plugins]\nt = \"t.wasm\"\n[curate]\nplugin = \"t\"\nchunk = 3\n[weigh]\nplugin = \"t\"\n[measure]\nplugin = \"t\"\nevery = 2\n[answer]\nplugin = \"t\"\nchunk = 1\n";

/// Copies the run folder at every event: what a run that is stopped there leaves.
struct Copies {
    of: PathBuf,
    into: TempDir,
    made: Vec<(String, PathBuf)>,
}

impl Observer for Copies {
    fn event(&mut self, _: Event<'_>) {
        if !self.of.exists() {
            return;
        }
        let state = listing(&self.of);
        if self.made.last().is_none_or(|(last, _)| *last != state) {
            let copy = self.into.path().join(self.made.len().to_string()).join("run");
            copy_folder(&self.of, &copy);
            self.made.push((state, copy));
        }
    }
}

/// All files of a folder with their sizes.
fn listing(folder: &Path) -> String {
    let mut lines: Vec<String> =
        files(folder).iter().map(|path| format!("{} {}", path.display(), size(path))).collect();
    lines.sort();
    lines.join("\n")
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("a file").len()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("writable");
        }
    }
}

/// A run that was never stopped, and copies of its folder on the way.
struct Whole {
    model: TempDir,
    adapter: &'static str,
    tables: String,
    copies: Copies,
    run: PathBuf,
    summary: RunSummary,
    _folder: TempDir,
}

/// What must be equal: all that is hashed, the samples, the training set, and the exported parameters.
fn outcome(run: &Path) -> Vec<String> {
    let text = |name: &str| fs::read_to_string(run.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let trace = text("trace.jsonl");
    assert!(verify(&trace).is_ok(), "the trace is whole");
    let timeless = |line: &str| line.split_once(r#","record":"#).expect("a trace line").1.to_owned();
    let mut outcome: Vec<String> = trace.lines().map(timeless).collect();
    outcome.extend([text("samples.jsonl"), text("curated.jsonl"), text("metrics.jsonl").lines().count().to_string()]);
    outcome
}

impl Whole {
    fn new(adapter: &'static str, tables: &str) -> Self {
        let (model, folder) = (chat_folder(), tempfile::tempdir().expect("a temporary folder"));
        let plan = plan(folder.path(), adapter, tables);
        let into = tempfile::tempdir().expect("a temporary folder");
        let mut copies = Copies { of: plan.output.clone(), into, made: Vec::new() };
        let counting = Arc::new(Counting::default());
        let summary = run(&plan, inputs_of(&model, stages(&counting)), &mut copies).expect("it runs");
        let tables = tables.to_owned();
        Self { model, adapter, tables, copies, run: plan.output, summary, _folder: folder }
    }

    /// The plan of a run in `folder`.
    fn plan(&self, run: &Path) -> Plan {
        plan(run.parent().expect("a folder"), self.adapter, &self.tables)
    }

    /// Goes on in a folder; gives what was said.
    fn resume(&self, run: &Path) -> Result<(RunSummary, Vec<String>), RunError> {
        let mut notes = Notes(Vec::new());
        // What an earlier run left in the plugin must not matter.
        let counting = Arc::new(Counting { calls: Mutex::new(77), ..Counting::default() });
        let summary = resume(&self.plan(run), inputs_of(&self.model, stages(&counting)), &mut notes)?;
        Ok((summary, notes.0))
    }

    /// Goes on in a folder, which must end as this run did, and say these words.
    #[track_caller]
    fn check(&self, run: &Path, words: &[&str]) {
        let (summary, notes) = self.resume(run).unwrap_or_else(|error| panic!("{}: {error}", run.display()));
        let told = notes.join("\n");
        for words in words {
            assert!(told.contains(words), "`{told}` does not say `{words}`");
        }
        assert_eq!(outcome(run), outcome(&self.run), "{told}");
        let steps = |run: &Path| events(run).into_iter().map(|event| event.1).collect::<Vec<_>>();
        assert_eq!(steps(run), steps(&self.run), "TensorBoard shows each step once");
        assert_eq!((&summary.trace, &summary.parameters), (&self.summary.trace, &self.summary.parameters));
        let timeless = |summary: &RunSummary| {
            let mut value = serde_json::to_value(summary).expect("plain data");
            let fields = value.as_object_mut().expect("an object");
            fields.retain(|name, _| !name.contains("seconds") && !name.contains("share"));
            for name in ["folder", "trained", "tokens-per-second"] {
                fields.remove(name);
            }
            value
        };
        assert_eq!(timeless(&summary), timeless(&self.summary));
        let hidden: Vec<PathBuf> =
            files(run).into_iter().filter(|path| path.display().to_string().contains("partial")).collect();
        assert!(hidden.is_empty(), "{hidden:?}");
        let weights = |run: &Path| fs::read(run.join("adapter/adapter_model.safetensors")).ok();
        assert_eq!(weights(run), weights(&self.run));
    }

    /// A copy of the finished run whose trace ends after so many bytes, without what was written at the end.
    fn copy(&self, trace: usize) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path().join("run");
        copy_folder(&self.run, &run);
        fs::remove_file(run.join("summary.json")).expect("it is there");
        let text = fs::read(run.join("trace.jsonl")).expect("a trace");
        fs::write(run.join("trace.jsonl"), &text[..trace.min(text.len())]).expect("writable");
        (folder, run)
    }
}

struct Notes(Vec<String>);

impl Observer for Notes {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Note(note) = event {
            self.0.push(note.to_owned());
        }
    }
}

#[test]
fn a_run_that_is_stopped_anywhere_ends_as_if_it_had_not_been() {
    let whole = Whole::new(LORA, TABLES);
    let made: Vec<PathBuf> = whole.copies.made.iter().map(|(_, copy)| copy.clone()).collect();
    assert!(made.len() > 12, "{} copies", made.len());
    for copy in made {
        whole.check(&copy, &[]);
    }
}

#[test]
fn a_run_in_packed_buckets_that_is_stopped_ends_as_if_it_had_not_been() {
    let whole = Whole::new(LORA, &TABLES.replace("[train]\n", "[train]\npacking = true\nbuckets = 2\n"));
    let made: Vec<PathBuf> = whole.copies.made.iter().map(|(_, copy)| copy.clone()).collect();
    for copy in made.iter().step_by(4) {
        whole.check(copy, &[]);
    }
}

#[test]
fn a_trace_that_ends_anywhere_is_made_whole_again() {
    let whole = Whole::new(LORA, TABLES);
    let trace = fs::read(whole.run.join("trace.jsonl")).expect("a trace");
    let ends: Vec<usize> =
        trace.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index).collect();
    // Nothing, half a first line, each line whole with half of the next, each line but for its line feed.
    let torn = ends.iter().flat_map(|end| [*end, end + 1, end + 40]);
    for end in [0, 40].into_iter().chain(torn.step_by(2)) {
        let (_folder, run) = whole.copy(end);
        whole.check(&run, &[]);
    }
}

#[test]
fn all_parameters_are_resumed_as_an_adapter_is() {
    let whole = Whole::new("", TABLES);
    let copies = &whole.copies.made;
    let copy = |step: &str| &copies.iter().rev().find(|(files, _)| !files.contains(step)).expect("a copy").1;
    for copy in [copy("step-4"), copy("step-5"), copy("summary.json")] {
        whole.check(copy, &["goes on from `checkpoints/step-"]);
    }
}

/// The newest checkpoint of a copy of the run, as it was after step 4.
fn at_step_4(whole: &Whole) -> (TempDir, PathBuf, PathBuf) {
    let (folder, run) = whole.copy(usize::MAX);
    fs::remove_dir_all(run.join("checkpoints/step-5")).expect("it is there");
    let checkpoint = run.join("checkpoints/step-4");
    (folder, run, checkpoint)
}

/// What is said of a file, and what was done to it.
type Damage = (&'static str, fn(&Path));

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let whole = Whole::new(LORA, TABLES);
    let (_folder, _, checkpoint) = at_step_4(&whole);
    let names: Vec<PathBuf> =
        files(&checkpoint).into_iter().map(|path| path.strip_prefix(&checkpoint).expect("inside").to_owned()).collect();
    assert_eq!(names.len(), 6, "adapter (2), optimizer, state, memory, manifest: {names:?}");
    let damages: [Damage; 3] = [
        ("is damaged", |path| {
            let mut bytes = fs::read(path).expect("a file");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).expect("writable");
        }),
        ("is damaged", |path| {
            let bytes = fs::read(path).expect("a file");
            fs::write(path, &bytes[..bytes.len() - 1]).expect("writable");
        }),
        ("is missing", |path| fs::remove_file(path).expect("it is there")),
    ];
    for name in &names {
        for (what, damage) in &damages {
            let (_folder, run, checkpoint) = at_step_4(&whole);
            damage(&checkpoint.join(name));
            let told = format!("`checkpoints/step-4` is not used: `{}` {what}", name.display());
            whole.check(&run, &[&told, "goes on from `checkpoints/step-2`"]);
        }
    }
}

#[test]
fn a_changed_trace_is_named_and_made_again_from_there() {
    let whole = Whole::new(LORA, TABLES);
    let (_folder, run) = whole.copy(usize::MAX);
    let change = |from: &str, to: &str| {
        let path = run.join("trace.jsonl");
        let text = fs::read_to_string(whole.run.join("trace.jsonl")).expect("a trace");
        assert!(text.contains(from), "`{from}` is not in the trace");
        fs::write(path, text.replacen(from, to, 1)).expect("writable");
    };
    // The line of step 3, after the first checkpoint.
    change(r#""event":"step","step":3"#, r#""event":"step","step":9"#);
    let before = fs::read_to_string(whole.run.join("trace.jsonl")).expect("a trace");
    let number = before.lines().position(|line| line.contains(r#""event":"step","step":3"#)).expect("a line") + 1;
    let fault = format!("line {number} of the trace: was changed");
    whole.check(&run, &[&fault, "`checkpoints/step-4` is not used", "goes on from `checkpoints/step-2`"]);

    let (_folder, run) = whole.copy(usize::MAX);
    let text = fs::read_to_string(run.join("trace.jsonl")).expect("a trace");
    fs::write(run.join("trace.jsonl"), text.replacen("\"event\":\"start\"", "\"event\":\"steal\"", 1))
        .expect("writable");
    let error = whole.resume(&run).expect_err("nothing holds").to_string();
    assert!(error.contains("line 1 of the trace") && error.contains("hint:"), "{error}");
    assert_ne!(fs::read_to_string(run.join("trace.jsonl")).expect("a trace"), text, "nothing was changed");
}

#[test]
fn decisions_that_are_damaged_are_made_again() {
    let whole = Whole::new(LORA, TABLES);
    let (_folder, run) = whole.copy(usize::MAX);
    let path = run.join("progress/decisions.jsonl");
    let text = fs::read_to_string(&path).expect("decisions");
    assert_eq!(text.lines().count(), 2);
    fs::write(&path, text.replace("\"third\"", "\"fourth\"")).expect("writable");
    whole.check(&run, &["`progress/decisions.jsonl` is damaged in line 1", "the run begins again"]);
}

#[test]
fn a_model_that_has_answered_is_not_asked_again() {
    /// Asks, and then is stopped.
    struct Stopped(Arc<Counting>);

    impl Curate for Stopped {
        fn curate(&self, pool: Arc<Examples>, call: &mut Call) -> Result<Curated, CallError> {
            self.0.curate(pool, call)?;
            Err(CallError::broken("t", "curate", "stopped"))
        }
    }

    let (model, folder) = (chat_folder(), tempfile::tempdir().expect("a temporary folder"));
    let plan = plan(folder.path(), LORA, TABLES);
    let counting = Arc::new(Counting::default());
    let stopped =
        Stages { curate: Some(Named::new("t", Arc::new(Stopped(Arc::clone(&counting))) as _)), ..stages(&counting) };
    run(&plan, inputs_of(&model, stopped), &mut ()).expect_err("it is stopped");
    let path = plan.output.join("progress/answers.jsonl");
    let mut line: Value = serde_json::from_slice(&fs::read(&path).expect("answers")).expect("one line");
    // What is kept is what is used: another answer in its place shows.
    let mut answers: Value = serde_json::from_str(line["answer"].as_str().expect("text")).expect("JSON");
    answers[0]["text"] = "as it was kept".into();
    line["answer"] = answers.to_string().into();
    line["digest"] = tunesmith_core::digest::of(answers.to_string().as_bytes()).into();
    fs::write(&path, format!("{line}\n")).expect("writable");
    resume(&plan, inputs_of(&model, stages(&counting)), &mut ()).expect("it goes on");
    let curated = fs::read_to_string(plan.output.join("curated.jsonl")).expect("a training set");
    assert!(curated.lines().next().is_some_and(|line| line.contains("as it was kept")), "{curated}");
    assert_eq!(fs::read(&path).expect("it is there"), b"", "a decided chunk needs no answers");
}

#[test]
fn only_so_many_checkpoints_are_kept() {
    let tables = TABLES.replace("checkpoint-every = 2", "checkpoint-every = 1\nkeep-checkpoints = 2");
    let whole = Whole::new(LORA, &tables);
    let names = |run: &Path| {
        let entries = fs::read_dir(run.join("checkpoints")).expect("a folder").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&whole.run), ["step-4", "step-5"]);
    let (_folder, run) = whole.copy(usize::MAX);
    fs::write(run.join("checkpoints/step-5/state.json"), "{").expect("writable");
    whole.check(
        &run,
        &["`checkpoints/step-5` is not used: `state.json` is damaged", "goes on from `checkpoints/step-4`"],
    );
    assert_eq!(names(&run), ["step-4", "step-5"]);
}

#[track_caller]
fn refused(plan: &Plan, expected: &str) {
    let error = standing(plan).expect_err("it is refused").to_string();
    assert!(error.contains(expected) && error.contains("hint:"), "`{error}` does not say `{expected}`");
}

#[test]
fn a_run_goes_on_only_with_what_it_was_begun_with() {
    let whole = Whole::new(LORA, TABLES);
    let (folder, run) = whole.copy(usize::MAX);
    let changed = |from: &str, to: &str| plan(folder.path(), LORA, &TABLES.replace(from, to));
    refused(&changed("learning-rate = 0.01", "learning-rate = 0.02"), "`train.learning-rate` was 0.01 and is 0.02");
    let mut other = whole.plan(&run);
    other.plugins[0].digest = "another".into();
    refused(&other, "`plugins.t`: the plugin's bytes have changed");
    other = whole.plan(&run);
    other.data.train.digest = "another".into();
    refused(&other, "`data.train`: the data has changed");
    other = whole.plan(&run);
    other.model.digest = "another".into();
    refused(&other, "`model`: the model's files have changed");
    // How often checkpoints are made decides nothing.
    assert_eq!(
        standing(&changed("checkpoint-every = 2", "checkpoint-every = 1")).expect("the same"),
        Standing::Stopped
    );
    fs::remove_file(run.join("plan.json")).expect("it is there");
    refused(&changed("learning-rate = 0.01", "learning-rate = 0.02"), "the plan is another");
}

#[test]
fn a_run_that_ended_is_left_as_it_is() {
    let whole = Whole::new(LORA, TABLES);
    let Standing::Finished(summary) = standing(&whole.plan(&whole.run)).expect("a run") else { panic!("it ended") };
    assert_eq!(*summary, whole.summary);
    let before = listing(&whole.run);
    assert_eq!(whole.resume(&whole.run).expect("it ended").0, whole.summary);
    assert_eq!(listing(&whole.run), before);
}

#[test]
fn a_folder_without_a_run_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(folder.path(), LORA, TABLES);
    refused(&plan, "holds no run to go on with");
    fs::create_dir(&plan.output).expect("writable");
    refused(&plan, "holds no run to go on with");
    fs::write(plan.output.join("thesis.tex"), "precious").expect("writable");
    refused(&plan, "holds no run to go on with");
}

#[test]
fn a_run_that_is_going_on_is_refused() {
    let whole = Whole::new(LORA, TABLES);
    let (_folder, run) = whole.copy(usize::MAX);
    let (_lock, _) = crate::tracefile::TraceFile::open(&run.join("trace.jsonl")).expect("free");
    refused(&whole.plan(&run), "is in use: another process works on this run");
    let error = whole.resume(&run).expect_err("it is in use").to_string();
    assert!(error.contains("is in use"), "{error}");
}

#[test]
fn a_run_that_was_stopped_while_its_folder_was_made_begins_again() {
    let whole = Whole::new(LORA, TABLES);
    for is_empty in [true, false] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let partial = folder.path().join(".run.partial-4194305");
        fs::create_dir(&partial).expect("writable");
        if !is_empty {
            fs::write(partial.join("trace.jsonl"), "").expect("writable");
        }
        let run = folder.path().join("run");
        assert_eq!(standing(&whole.plan(&run)).expect("something is there"), Standing::Stopped);
        whole.check(&run, &[]);
        assert!(!partial.exists());
    }
}
