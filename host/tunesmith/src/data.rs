//! The data of a plan: opened, checked row by row, and digested.

use std::sync::Arc;

use tunesmith_core::data::Example;
use tunesmith_core::plan::{DataPlan, FilePlan, Plan};
use tunesmith_core::stage::Stage;
use tunesmith_train::data::{self as reader, Place, Rows};

use crate::error::{Error, Fault};
use crate::written::Written;

type Examples = Vec<Arc<Example>>;

/// The training rows, and the evaluation sets by their names.
type Sets = (Arc<dyn Rows>, Vec<(String, Examples)>);

/// Goes through the training rows and reads the evaluation sets; notes files and digests in the plan.
pub(crate) fn read(written: &Written, plan: &mut Plan) -> Result<Sets, Error> {
    let columns = plan.data.clone();
    let mut bare = None;
    let mut note_bare = |place: &Place, example: &Arc<Example>| {
        if bare.is_none() && example.completion.is_none() {
            bare = Some(place.clone());
        }
    };
    let pool = open(written, &columns, &mut plan.data.train, "data.train", &mut note_bare)?;
    // A curating plugin may make completions; without one, nobody does.
    if let Some(place) = bare.filter(|_| plan.stage(Stage::Curate).is_none()) {
        return Err(without_completion(written, &columns, &place));
    }
    let is_single = matches!(columns.eval.as_slice(), [file] if file.name == "eval");
    let mut evals = Vec::with_capacity(plan.data.eval.len());
    for file in &mut plan.data.eval {
        let field = if is_single { "data.eval".to_owned() } else { format!("data.eval.{}", file.name) };
        let mut rows = Examples::new();
        open(written, &columns, file, &field, &mut |_, example| rows.push(Arc::clone(example)))?;
        evals.push((file.name.clone(), rows));
    }
    Ok((Arc::new(pool), evals))
}

fn open(
    written: &Written,
    columns: &DataPlan,
    file: &mut FilePlan,
    field: &str,
    visit: &mut dyn FnMut(&Place, &Arc<Example>),
) -> Result<reader::Dataset, Error> {
    reader::open(file, columns, visit)
        .map_err(|error| Error::data(written.fault(field, "the data cannot be used").because(error)))
}

fn without_completion(written: &Written, data: &DataPlan, place: &Place) -> Error {
    let what = "the row has no completion to train on";
    let cause = if place.is_row {
        Fault::of_file(&place.path, format!("row {}: {what}", place.number))
    } else {
        Fault { line: usize::try_from(place.number).ok(), ..Fault::of_file(&place.path, what) }
    };
    let hint = "give the row a completion, or name a plugin in `[curate]` that makes one";
    let cause = Fault { field: Some(data.completion.clone()), ..cause.hint(hint) };
    Error::data(written.fault("data.train", "the data cannot be used").because(cause))
}
