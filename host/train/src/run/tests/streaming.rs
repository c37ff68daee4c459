//! Runs over data that is not held: files, weights, chats with tools, plain text.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tunesmith_core::plan::Plan;
use tunesmith_core::recipe::Recipe;
use tunesmith_core::set::Stages;
use tunesmith_core::trace::Record;

use super::inputs_of;
use super::traces::{records, timeless};
use crate::data::{self, Rows as _};
use crate::run::{Forecast, RunInputs, RunSummary, check, run};
use crate::test_folder::chat_folder;

/// A run over these files of a folder; the trace and the summary.
fn run_files(folder: &Path, data: &str, train: &str) -> (Forecast, RunSummary) {
    let text = format!(
        "seed = 3\noutput = \"run\"\n[model]\npath = \"model\"\nadapter = {{ lora = {{ rank = 2 }} }}\n[data]\n{data}\n[train]\nlearning-rate = 0.01\n{train}\n"
    );
    let mut plan = Plan::resolve(&Recipe::parse(&text).expect("a recipe"), &text, folder).expect("a plan");
    let columns = plan.data.clone();
    let pool = Arc::new(data::open(&mut plan.data.train, &columns, &mut |_, _| ()).expect("the data is fine"));
    assert!(pool.count() > 0);
    let model = chat_folder();
    let inputs =
        || RunInputs { pool: Arc::clone(&pool) as _, evals: Vec::new(), ..inputs_of(&model, Stages::default()) };
    let forecast = check(&plan, &inputs()).expect("all is well");
    (forecast, run(&plan, inputs(), &mut ()).expect("it runs"))
}

fn write_rows(folder: &Path, name: &str, rows: impl Iterator<Item = Value>) {
    fs::write(folder.join(name), rows.map(|row| row.to_string() + "\n").collect::<String>()).expect("writable");
}

fn drawn(folder: &Path) -> Vec<u64> {
    let steps = records(folder).into_iter().filter_map(|record| match record {
        Record::Step(step) => Some(step.rows),
        _ => None,
    });
    steps.flatten().collect()
}

#[test]
fn an_epoch_draws_each_file_by_its_weight() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let row = |name: &str, number: usize| json!({"prompt": format!("{name} {number}"), "completion": "ab"});
    write_rows(folder.path(), "a.jsonl", (0..4).map(|number| row("a", number)));
    write_rows(folder.path(), "b.jsonl", (0..6).map(|number| row("b", number)));
    write_rows(folder.path(), "c.jsonl", (0..2).map(|number| row("c", number)));
    let data = "train = [\"a.jsonl\", { path = \"b.jsonl\", weight = 0.5 }, { path = \"c.jsonl\", weight = 3.0 }]";
    let (forecast, summary) = run_files(folder.path(), data, "batch = 4\ncheckpoint-every = 2");
    assert_eq!((forecast.rows, forecast.steps, summary.steps), (12, Some(4), 4), "4 + 3 + 6 rows in one pass");
    let drawn = drawn(folder.path());
    let count = |ids: std::ops::Range<u64>| drawn.iter().filter(|id| ids.contains(id)).count();
    assert_eq!((count(0..4), count(4..10), count(10..12)), (4, 3, 6));
    let other = tempfile::tempdir().expect("a temporary folder");
    for name in ["a.jsonl", "b.jsonl", "c.jsonl"] {
        fs::copy(folder.path().join(name), other.path().join(name)).expect("writable");
    }
    run_files(other.path(), data, "batch = 4\ncheckpoint-every = 2");
    assert_eq!(timeless(folder.path()), timeless(other.path()));
}

#[test]
fn several_files_are_one_pool_as_if_they_were_one_file() {
    let [one, several] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
    let row = |number: usize| json!({"prompt": format!("say {number}"), "completion": "abcdef"[..=number % 6]});
    write_rows(one.path(), "all.jsonl", (0..9).map(row));
    write_rows(several.path(), "1.jsonl", (0..4).map(row));
    write_rows(several.path(), "2.jsonl", (4..9).map(row));
    let (_, first) = run_files(one.path(), "train = \"all.jsonl\"", "batch = 2");
    let (_, second) = run_files(several.path(), "train = \"*.jsonl\"", "batch = 2");
    assert_eq!(first.parameters, second.parameters);
}

#[test]
fn chats_with_tools_and_plain_text_are_trained_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chat = json!({"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "ok"}, {"role": "assistant", "content": "yes"}]});
    write_rows(folder.path(), "rows.jsonl", [chat, json!({"text": "once"})].into_iter());
    // `<s>user:1+1</s>` and so on, a token per letter and mark, then the answer with its end. Of the text all but the first.
    let (forecast, _) = run_files(folder.path(), "train = \"rows.jsonl\"", "batch = 2");
    assert_eq!((forecast.tokens, forecast.loss_tokens), (10 + 15 + 9 + 4 + 5, 4 + 4));
}
