//! The data of a plan: read and digested.

use std::sync::Arc;

use tunesmith_core::data::Example;
use tunesmith_core::plan::Plan;
use tunesmith_train::data as reader;

use crate::error::Error;
use crate::written::Written;

type Rows = Vec<Arc<Example>>;

/// Reads the training rows and the evaluation sets, and notes their digests in the plan.
pub(crate) fn read(written: &Written, plan: &mut Plan) -> Result<(Rows, Vec<(String, Rows)>), Error> {
    let columns = plan.data.clone();
    let is_single = matches!(columns.eval.as_slice(), [file] if file.name == "eval");
    let field = |set: &str| if is_single { "data.eval".to_owned() } else { format!("data.eval.{set}") };
    let read = |file: &mut tunesmith_core::plan::FilePlan, field: &str| {
        let set = reader::read(file, &columns)
            .map_err(|error| Error::Data(written.fault(field, "the data cannot be used").because(error)))?;
        file.digest = set.digest;
        Ok::<Rows, Error>(set.examples)
    };
    let pool = read(&mut plan.data.train, "data.train")?;
    let mut evals = Vec::with_capacity(plan.data.eval.len());
    for file in &mut plan.data.eval {
        let rows = read(file, &field(&file.name.clone()))?;
        evals.push((file.name.clone(), rows));
    }
    Ok((pool, evals))
}
