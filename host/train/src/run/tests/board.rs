//! What `TensorBoard` shows of a run is what its trace says, also after a stop.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tunesmith_core::plan::Plan;
use tunesmith_core::set::Stages;
use tunesmith_core::trace::{Record, verify};

use super::{LORA, inputs, plan};
use crate::run::{RunInputs, resume, run};
use crate::tensorboard;

const TABLES: &str = "[train]\nsteps = 3\nbatch = 2\nmicro-batch = 2\nlearning-rate = 0.01\ncheckpoint-every = 1\n[generate]\nmax-tokens = 2\n[plugins]\nt = \"t.wasm\"\n[measure]\nplugin = \"t\"\nevery = 2\n";
const FILE: &str = "tensorboard/events.out.tfevents.0.tunesmith";

/// An event: seconds since 1970, step, and named numbers.
type Event = (f64, u32, Vec<(String, f32)>);

/// The events of a run but the first, which has the version.
pub(crate) fn events(run: &Path) -> Vec<Event> {
    let file = fs::read(run.join(FILE)).expect("an event file");
    let ends = tensorboard::ends(&file);
    assert_eq!(ends.last(), Some(&file.len()), "the file is whole");
    let frame = |(start, end): (&usize, &usize)| event(&file[start + 12..end - 4]);
    ends.iter().zip(&ends[1..]).map(frame).collect()
}

fn event(bytes: &[u8]) -> Event {
    let (time, mut rest) = bytes[1..].split_at(8);
    let mut step = 0;
    if rest.first() == Some(&0x10) {
        (step, rest) = varint(&rest[1..]);
    }
    assert_eq!(rest[0], 0x2a, "a summary");
    let mut values = varint(&rest[1..]).1;
    let mut found = Vec::new();
    while let Some(value) = values.strip_prefix(&[0x0a]) {
        let (length, rest) = varint(value);
        let (value, rest) = rest.split_at(length as usize);
        let (tag, number) = value[2..].split_at(value[1] as usize);
        let number = number[1..].try_into().expect("four bytes");
        found.push((String::from_utf8(tag.to_vec()).expect("text"), f32::from_le_bytes(number)));
        values = rest;
    }
    (f64::from_le_bytes(time.try_into().expect("eight bytes")), step as u32, found)
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let end = bytes.iter().position(|byte| *byte < 0x80).expect("it ends") + 1;
    let number = bytes[..end].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
    (number, &bytes[end..])
}

/// Checks the events against the trace.
#[track_caller]
fn check(plan: &Plan) {
    let text = fs::read_to_string(plan.output.join("trace.jsonl")).expect("a trace");
    let mut expected = Vec::new();
    for record in verify(&text).expect("it is whole") {
        match record {
            Record::Step(step) => expected.push((
                step.step,
                vec![
                    ("train/loss".to_owned(), step.loss),
                    ("train/gradient-norm".to_owned(), step.grad_norm),
                    ("train/learning-rate".to_owned(), step.learning_rate as f32),
                ],
            )),
            Record::Measure { step, set, metrics, .. } => {
                let metric = |(name, value): (String, f64)| (format!("eval/{set}/{name}"), value as f32);
                expected.push((step, metrics.into_iter().map(metric).collect()));
            }
            _ => {}
        }
    }
    let events = events(&plan.output);
    assert!(events.windows(2).all(|pair| pair[0].0 <= pair[1].0), "time goes on");
    assert!(events.iter().all(|event| (1_700_000_000.0..1_700_010_000.0).contains(&event.0)), "{events:?}");
    let mut found: Vec<(u32, Vec<(String, f32)>)> =
        events.into_iter().map(|(_, step, values)| (step, values)).collect();
    for (_, values) in found.iter_mut().filter(|(_, values)| values[0].0.starts_with("train/")) {
        let speed = values.remove(3);
        assert!(speed.0 == "train/tokens-per-second" && speed.1 > 0.0, "{speed:?}");
    }
    assert_eq!(found, expected);
}

#[test]
fn every_step_and_measurement_is_an_event_also_after_a_stop() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(folder.path(), LORA, TABLES);
    run(&plan, inputs(Stages::default()), &mut ()).expect("it runs");
    check(&plan);
    assert_eq!(events(&plan.output).len(), 6, "three steps, and measured before, in the middle, and after");

    let whole = fs::read(plan.output.join(FILE)).expect("an event file");
    let trace = fs::read(plan.output.join("trace.jsonl")).expect("a trace");
    let second = tensorboard::ends(&whole)[1];
    let mut damaged = whole.clone();
    damaged[second + 20] ^= 1;
    let foreign = b"these bytes are no records".to_vec();
    let torn = whole[..whole.len() - 3].to_vec();
    for (number, file) in [Some(whole), Some(torn), Some(damaged), Some(foreign), None].into_iter().enumerate() {
        fs::write(plan.output.join("trace.jsonl"), &trace).expect("writable");
        fs::remove_file(plan.output.join("summary.json")).expect("it is there");
        fs::remove_dir_all(plan.output.join("checkpoints/step-3")).expect("it is there");
        fs::remove_dir_all(plan.output.join("tensorboard")).expect("it is there");
        if let Some(file) = file {
            fs::create_dir(plan.output.join("tensorboard")).expect("writable");
            fs::write(plan.output.join(FILE), file).expect("writable");
        }
        let now = Duration::from_secs(1_700_001_000 + 1_000 * number as u64);
        resume(&plan, RunInputs { now, ..inputs(Stages::default()) }, &mut ()).expect("it goes on");
        check(&plan);
    }
}
