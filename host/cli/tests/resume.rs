//! The real program, killed in the middle of its work and started again.

#[path = "common/lab.rs"]
mod lab;

use std::fs;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::Duration;

use lab::Lab;

const STEPS: usize = 60;

const RECIPE: &str = r#"seed = 5
output = "run"
[model]
path = "model"
adapter = { lora = { rank = 2, alpha = 4 } }
[data]
train = "train.jsonl"
eval = { near = "test.jsonl", far = "test.jsonl" }
[plugins]
tally = { path = "tally.wasm", grants = ["model.generate"] }
aft = { path = "aft.wasm", grants = ["model.generate"] }
[answer]
plugin = "aft"
settings = { proposals = 2, rounds = 1, aggregation-prompt = "{proposals}{prompt}", proposal = "{draft}|" }
chunk = 3
[curate]
plugin = "tally"
chunk = 4
[weigh]
plugin = "tally"
[generate]
max-tokens = 8
[train]
steps = 60
batch = 4
micro-batch = 2
learning-rate = 0.01
checkpoint-every = 7
digest-every = 1
"#;

fn trace(run: &Path) -> String {
    // A line may be half written while the other process is at work.
    fs::read(run.join("trace.jsonl")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Everything that must not depend on whether the run was stopped.
fn outcome(run: &Path) -> Vec<String> {
    let text = |name: &str| fs::read_to_string(run.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let hashed = |line: &str| line.split_once(r#","record":"#).expect("a trace line").1.to_owned();
    let hash = |line: &str| line.split_once(r#","previous""#).expect("a trace line").0.to_owned();
    let mut outcome: Vec<String> = trace(run).lines().map(|line| format!("{} {}", hash(line), hashed(line))).collect();
    outcome.extend([text("curated.jsonl"), text("samples.jsonl")]);
    outcome.push(format!("{:?}", fs::read(run.join("adapter/adapter_model.safetensors")).expect("an adapter")));
    outcome
}

/// Waits until the moment comes and kills the process; gives whether it came before the process ended.
fn kill_at(mut child: Child, has_come: impl Fn() -> bool) -> bool {
    loop {
        if has_come() {
            child.kill().expect("it can be killed");
            // Killed by a signal, it has no exit code.
            return child.wait().expect("it ends").code().is_none();
        }
        if child.try_wait().expect("it can be asked").is_some() {
            return false;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

fn has_entry(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| is_wanted(&entry.file_name().to_string_lossy()))
}

/// A moment of a run: its name, and whether it has come.
type Moment<'a> = (&'a str, Box<dyn Fn() -> bool + 'a>);

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been() {
    let lab = Lab::new(RECIPE);
    lab.finish("whole", &[]);
    let expected = outcome(&lab.path("whole"));
    assert!(expected.len() > STEPS);

    let run = lab.path("run");
    let steps = || trace(&run).matches(r#""event":"step""#).count();
    let checkpoints = run.join("checkpoints");
    // Each moment in the order in which a run comes to them; the last ones several times.
    let moments: Vec<Moment<'_>> = vec![
        (
            "its folder is being made",
            Box::new(|| has_entry(&lab.path("."), |name| name.contains(".partial-")) || run.exists()),
        ),
        ("a set is measured", Box::new(|| trace(&run).contains(r#""event":"measure""#))),
        (
            "a chunk's model has answered",
            Box::new(|| fs::metadata(run.join("progress/answers.jsonl")).is_ok_and(|file| file.len() > 0)),
        ),
        ("a chunk is decided", Box::new(|| trace(&run).matches(r#""event":"curate""#).count() > 2)),
        ("the training set is complete", Box::new(|| trace(&run).contains(r#""event":"training-set""#))),
        ("a step is made", Box::new(|| steps() > 2)),
        (
            "a checkpoint is being written",
            Box::new(|| {
                has_entry(&checkpoints, |name| name.ends_with(".partial")) || checkpoints.join("step-7").exists()
            }),
        ),
        ("a step after a checkpoint is made", Box::new(|| steps() > 17)),
        ("another step is made", Box::new(|| steps() > 38)),
        ("all steps are made", Box::new(|| steps() == STEPS)),
        ("the last checkpoint is written", Box::new(|| checkpoints.join("step-60").exists())),
        (
            "it is being exported",
            Box::new(|| has_entry(&run, |name| name.starts_with(".adapter") || name == "adapter")),
        ),
    ];
    let mut killed = Vec::new();
    for (name, has_come) in &moments {
        let more: &[&str] = if run.exists() || !killed.is_empty() { &["--resume"] } else { &[] };
        let child = lab.train("run", more).spawn().expect("the program starts");
        if kill_at(child, has_come) {
            killed.push(*name);
        }
    }
    assert!(killed.len() >= moments.len() - 2, "only killed when {killed:?}");
    let told = lab.finish("run", &["--resume"]);
    assert_eq!(outcome(&run), expected, "{told}");

    let told = lab.finish("run", &["--resume"]);
    assert!(told.contains("came to its end already; nothing was done"), "{told}");
    let refused = lab.train("run", &["--resume", "--set", "train.steps=70"]).output().expect("the program starts");
    let told = String::from_utf8(refused.stderr).expect("text");
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("`train.steps` was 60 and is 70") && told.contains("hint: "), "{told}");
}

#[test]
fn two_processes_never_work_on_one_run() {
    let lab = Lab::new(RECIPE);
    let run = lab.path("run");
    let mut first = lab.train("run", &[]).spawn().expect("the program starts");
    while !trace(&run).contains('\n') {
        assert!(first.try_wait().expect("it can be asked").is_none(), "it has ended");
        thread::sleep(Duration::from_micros(200));
    }
    let second = lab.train("run", &["--resume"]).output().expect("the program starts");
    let told = String::from_utf8(second.stderr).expect("text");
    let is_going_on = first.try_wait().expect("it can be asked").is_none();
    first.kill().expect("it can be killed");
    first.wait().expect("it ends");
    // The first may have ended in between, and then there is nothing to refuse.
    if is_going_on {
        assert_eq!(second.status.code(), Some(2), "{told}");
        assert!(told.contains("is in use: another process works on this run"), "{told}");
    }
}
