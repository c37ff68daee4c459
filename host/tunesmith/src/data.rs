//! The data of a plan: read and digested.

use std::fs;
use std::sync::Arc;

use tunesmith_core::data::Example;
use tunesmith_core::plan::{DataPlan, FilePlan, Plan};
use tunesmith_core::stage::Stage;
use tunesmith_train::data as reader;

use crate::error::{Error, Fault};
use crate::written::Written;

type Rows = Vec<Arc<Example>>;

/// Reads the training rows and the evaluation sets, and notes their digests in the plan.
pub(crate) fn read(written: &Written, plan: &mut Plan) -> Result<(Rows, Vec<(String, Rows)>), Error> {
    let columns = plan.data.clone();
    let is_single = matches!(columns.eval.as_slice(), [file] if file.name == "eval");
    let field = |set: &str| if is_single { "data.eval".to_owned() } else { format!("data.eval.{set}") };
    let read = |file: &mut FilePlan, field: &str| {
        let set = reader::read(file, &columns)
            .map_err(|error| Error::data(written.fault(field, "the data cannot be used").because(error)))?;
        file.digest = set.digest;
        Ok::<Rows, Error>(set.examples)
    };
    let pool = read(&mut plan.data.train, "data.train")?;
    if plan.stage(Stage::Curate).is_none() {
        expect_completions(written, &columns, &pool)?;
    }
    let mut evals = Vec::with_capacity(plan.data.eval.len());
    for file in &mut plan.data.eval {
        let rows = read(file, &field(&file.name.clone()))?;
        evals.push((file.name.clone(), rows));
    }
    Ok((pool, evals))
}

/// Fails at the first row that has nothing to train on. A curating plugin may make completions; without one, nobody does.
fn expect_completions(written: &Written, data: &DataPlan, pool: &[Arc<Example>]) -> Result<(), Error> {
    let Some(row) = pool.iter().find(|row| row.completion.is_none()) else { return Ok(()) };
    let path = &data.train.path;
    // Rows are counted without empty lines, and people find lines.
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let cause = Fault {
        line: lines.map(|(index, _)| index + 1).nth(row.id as usize),
        field: Some(data.completion.clone()),
        ..Fault::of_file(path, "the row has no completion to train on")
    };
    let hint = "give the row a completion, or name a plugin in `[curate]` that makes one";
    Err(Error::data(written.fault("data.train", "the data cannot be used").because(cause.hint(hint))))
}
