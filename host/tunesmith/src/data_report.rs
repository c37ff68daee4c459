//! What data files hold: rows, columns, lengths, what would be cut, and how a row is trained on.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tunesmith_core::data::{Example, Target, TrainingRow};
use tunesmith_core::digest;
use tunesmith_core::plan::{DataPlan, FilePlan, Plan};
use tunesmith_core::recipe::Recipe;
use tunesmith_train::ModelError;
use tunesmith_train::batching::{EncodeError, EncodedTarget, Encoder, LengthRule};
use tunesmith_train::data::{self, Place, Rows as _};
use tunesmith_train::model::ModelConfig;
use tunesmith_train::template::ChatTemplate;
use tunesmith_train::tokenizer::TextTokenizer;

use crate::error::{Error, Fault};
use crate::written::Written;

/// How many rows that cannot be used are told.
const TOLD: usize = 5;

/// What to look at, beside a path.
#[derive(Debug, Clone, Default)]
pub struct DataOptions {
    /// A model folder whose tokenizer and chat template count, in place of the recipe's. Without one, of a data file no lengths are told.
    pub model: Option<PathBuf>,
    /// Values put over keys of the recipe.
    pub set: Vec<(String, String)>,
    /// The row that is shown as it is trained on, from 0, or the last if there are fewer.
    pub row: u64,
}

/// What the data of a recipe, or one data file, holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataReport {
    /// The model folder whose tokenizer and template counted.
    pub model: Option<PathBuf>,
    /// The longest row that is trained on, in tokens.
    pub max_length: Option<u64>,
    /// Whether longer rows are cut; otherwise they are an error.
    pub truncate: bool,
    /// `train` and the evaluation sets.
    pub sets: Vec<DataSetReport>,
}

/// What one set holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataSetReport {
    /// `train`, or the evaluation set's name.
    pub name: String,
    /// Its files, in the order in which they are read.
    pub files: Vec<DataFileReport>,
    /// Rows.
    pub rows: u64,
    /// Columns, in the order in which they first appear.
    pub columns: Vec<ColumnReport>,
    /// Rows without a completion.
    pub without_completion: u64,
    /// Rows whose conversation and completion come a second time or more often.
    pub duplicates: u64,
    /// Lengths in tokens; none without a model.
    pub lengths: Option<LengthReport>,
    /// A row as it is trained on; none without a model, or if the row cannot be.
    pub sample: Option<SampleReport>,
    /// Rows that cannot be trained on, or answered.
    pub unusable: u64,
    /// The first of them, each with its place and what is wrong.
    pub faults: Vec<String>,
}

/// A data file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataFileReport {
    /// The file.
    pub path: PathBuf,
    /// `JSON lines`, `JSON lines, gzip` or `Parquet`.
    pub format: &'static str,
    /// Rows that are used.
    pub rows: u64,
    /// How often each row is drawn in one pass.
    pub weight: f64,
    /// The digest of the file.
    pub digest: String,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// Rows by the type that the column has in them: `text`, `number`, `boolean`, `list`, `object`, `null`, or `missing`.
    pub types: BTreeMap<&'static str, u64>,
}

/// Lengths in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LengthReport {
    /// Of whole rows.
    pub row: Percentiles,
    /// Of what comes before the first token that is trained on; of a row without completion, of its prompt.
    pub prompt: Percentiles,
    /// Of what is trained on.
    pub trained: Percentiles,
    /// Rows that are longer than is allowed and would be cut, or refused if rows are not cut.
    pub too_long: u64,
}

/// The median, the length that 95 in 100 rows do not exceed, and the longest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Percentiles {
    /// Half of the rows are not longer.
    pub p50: u32,
    /// 95 in 100 rows are not longer.
    pub p95: u32,
    /// The longest.
    pub max: u32,
}

/// A row as it is trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SampleReport {
    /// The row's number, from 0.
    pub id: u64,
    /// Its tokens.
    pub tokens: u64,
    /// Its text, in pieces that are trained on or not; not escaped.
    pub pieces: Vec<Piece>,
}

/// Tokens next to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether it is trained on.
    pub is_trained: bool,
}

/// Looks at the data of a recipe (a `.toml` file) or at a data file, or all files that a pattern matches: every row is read, and tokenised if a
/// model is known. No weight is read, nothing is written. Rows are not held; a number or two of each are.
///
/// # Errors
///
/// Fails with [`Error::Data`] at the first row that is no row, and when recipe or model folder cannot be used. Rows that are too long or that
/// the chat template refuses are counted.
pub fn inspect_data(path: &Path, options: &DataOptions) -> Result<DataReport, Error> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        // Of a recipe with phases the data of the first: the others are named by their own files.
        let (written, plan) = Written::read(path, &options.set)?.remove(0);
        let folder = options.model.clone().unwrap_or_else(|| plan.model.path.clone());
        let fault = |field: &str, error| Error::data(written.fault(field, "the data cannot be used").because(error));
        let of_model = |error| match &options.model {
            Some(folder) => unusable_model(folder, error),
            None => Error::model(written.fault("model.path", "the model cannot be used").because(error)),
        };
        let reader = Reader::new(Some(&folder), &plan, options.row).map_err(of_model)?;
        return reader.report(plan.data.train.clone(), &plan.data.eval, &fault);
    }
    let plan = plan_of(path)?;
    let fault = |_: &str, error| Error::data(Fault::of_file(path, "the data cannot be used").because(error));
    let model = options.model.as_deref();
    let of_model = |error| unusable_model(model.unwrap_or(path), error);
    let reader = Reader::new(model, &plan, options.row).map_err(of_model)?;
    reader.report(FilePlan { path: path.to_owned(), ..plan.data.train.clone() }, &[], &fault)
}

fn unusable_model(folder: &Path, error: ModelError) -> Error {
    Error::model(Fault::of_file(folder, "the model cannot be used").because(error))
}

/// The plan of a recipe that names no more than it has to.
fn plan_of(path: &Path) -> Result<Plan, Error> {
    let text = "output = \"run\"\n[model]\npath = \"model\"\n[data]\ntrain = \"data\"\n";
    let plan = Recipe::parse(text).and_then(|recipe| Plan::resolve(&recipe, text, Path::new("")));
    plan.map_err(|error| Error::recipe(Fault::of_recipe(path, error)))
}

/// Reads sets under a plan.
struct Reader<'a> {
    plan: &'a Plan,
    model: Option<(PathBuf, Encoder, usize)>,
    row: u64,
}

impl<'a> Reader<'a> {
    fn new(model: Option<&Path>, plan: &'a Plan, row: u64) -> Result<Self, ModelError> {
        let Some(folder) = model else { return Ok(Self { plan, model: None, row }) };
        let config = ModelConfig::load(folder)?;
        let tokenizer = TextTokenizer::load(folder, &config)?;
        let template = ChatTemplate::load(folder, tokenizer.special())?;
        let encoder = Encoder::of(tokenizer, template).with_loss(&plan.data.loss);
        let longest = match plan.train.max_length as usize {
            0 => config.max_positions.min(LengthRule::USUAL),
            longest => longest.min(config.max_positions),
        };
        Ok(Self { plan, model: Some((folder.to_owned(), encoder, longest)), row })
    }

    fn report(
        &self,
        train: FilePlan,
        evals: &[FilePlan],
        fault: &dyn Fn(&str, data::DataError) -> Error,
    ) -> Result<DataReport, Error> {
        let mut sets = vec![self.set(train, &self.plan.data).map_err(|error| fault("data.train", error))?];
        for file in evals {
            sets.push(self.set(file.clone(), &self.plan.data).map_err(|error| fault("data.eval", error))?);
        }
        Ok(DataReport {
            model: self.model.as_ref().map(|(folder, ..)| folder.clone()),
            max_length: self.model.as_ref().map(|(_, _, longest)| *longest as u64),
            truncate: self.plan.train.truncate,
            sets,
        })
    }

    fn set(&self, mut file: FilePlan, columns: &DataPlan) -> Result<DataSetReport, data::DataError> {
        let mut tally = Tally::default();
        let data = data::open(&mut file, columns, &mut |place, example| {
            tally.add(example);
            if let Some((_, encoder, longest)) = &self.model {
                tally.measure(place, example, encoder, (*longest, example.id <= self.row));
            }
        })?;
        let digests: Vec<String> = match file.files.as_slice() {
            [] => vec![file.digest.clone()],
            files => files.iter().map(|file| file.digest.clone()).collect(),
        };
        let files = data.files().zip(data.weights()).zip(digests);
        let files = files.map(|(((path, format), (ids, weight)), digest)| DataFileReport {
            path: path.to_owned(),
            format,
            rows: ids.end - ids.start,
            weight,
            digest,
        });
        Ok(tally.report(file.name.clone(), files.collect(), self.model.is_some()))
    }
}

/// What is known of a set so far.
#[derive(Default)]
struct Tally {
    rows: u64,
    columns: Vec<ColumnReport>,
    without_completion: u64,
    seen: HashSet<u64>,
    lengths: [Vec<u32>; 3],
    too_long: u64,
    unusable: u64,
    faults: Vec<String>,
    sample: Option<SampleReport>,
}

impl Tally {
    fn add(&mut self, example: &Example) {
        for (name, value) in &example.columns {
            let known = self.columns.iter().position(|column| column.name == *name);
            let index = known.unwrap_or_else(|| {
                self.columns.push(ColumnReport { name: name.clone(), types: BTreeMap::new() });
                self.columns.len() - 1
            });
            *self.columns[index].types.entry(kind(value)).or_default() += 1;
        }
        self.rows += 1;
        self.without_completion += u64::from(example.completion.is_none());
        let said = serde_json::to_vec(&(&example.messages, &example.completion)).unwrap_or_default();
        self.seen.insert(digest::seed_of([said.as_slice()]));
    }

    fn measure(
        &mut self,
        place: &Place,
        example: &Arc<Example>,
        encoder: &Encoder,
        (longest, is_sample): (usize, bool),
    ) {
        let as_tokens = match &example.completion {
            Some(completion) => encoded(encoder, example, completion),
            None => encoder.prompt(&example.conversation()).map(Encoded::Prompt).map_err(Into::into),
        };
        let (row, prompt, trained) = match &as_tokens {
            Ok(Encoded::Prompt(tokens)) => (tokens.len(), tokens.len(), 0),
            Ok(Encoded::Row(target)) => {
                let row = &target.rows[0];
                let prompt = row.mask.iter().position(|is_trained| *is_trained).unwrap_or(0);
                (row.tokens.len(), prompt, row.loss_tokens())
            }
            Err(error) => {
                self.unusable += 1;
                if self.faults.len() < TOLD {
                    self.faults.push(format!("{place}: {error}"));
                }
                return;
            }
        };
        self.too_long += u64::from(longest < row);
        for (lengths, length) in self.lengths.iter_mut().zip([row, prompt, trained]) {
            lengths.push(length as u32);
        }
        if let (true, Ok(as_tokens)) = (is_sample, as_tokens) {
            self.sample = Some(sample(encoder, example.id, &as_tokens));
        }
    }

    fn report(self, name: String, files: Vec<DataFileReport>, is_measured: bool) -> DataSetReport {
        let Self { rows, mut columns, without_completion, seen, lengths, too_long, unusable, faults, sample } = self;
        for column in &mut columns {
            let missing = rows - column.types.values().sum::<u64>();
            if missing > 0 {
                column.types.insert("missing", missing);
            }
        }
        let [row, prompt, trained] = lengths.map(percentiles);
        DataSetReport {
            name,
            files,
            rows,
            columns,
            without_completion,
            duplicates: rows - seen.len() as u64,
            lengths: is_measured.then_some(LengthReport { row, prompt, trained, too_long }),
            sample,
            unusable,
            faults,
        }
    }
}

enum Encoded {
    Prompt(Vec<u32>),
    Row(EncodedTarget),
}

fn encoded(encoder: &Encoder, example: &Arc<Example>, completion: &str) -> Result<Encoded, EncodeError> {
    let row = TrainingRow {
        example: Arc::clone(example),
        target: Target::Completion(completion.to_owned()),
        provenance: String::new(),
        notes: Vec::new(),
    };
    encoder.target(&row, LengthRule { longest: usize::MAX, truncate: false }).map(Encoded::Row)
}

fn sample(encoder: &Encoder, id: u64, row: &Encoded) -> SampleReport {
    let (tokens, mask) = match row {
        Encoded::Prompt(tokens) => (tokens.as_slice(), vec![false; tokens.len()]),
        Encoded::Row(target) => (target.rows[0].tokens.as_slice(), target.rows[0].mask.clone()),
    };
    let mut pieces = Vec::new();
    let mut start = 0;
    for run in mask.chunk_by(|before, after| before == after) {
        let end = start + run.len();
        pieces.push(Piece { text: encoder.text_between(tokens, start..end), is_trained: run[0] });
        start = end;
    }
    SampleReport { id, tokens: tokens.len() as u64, pieces }
}

fn percentiles(mut lengths: Vec<u32>) -> Percentiles {
    lengths.sort_unstable();
    // The nearest rank: the smallest length that so many rows do not exceed.
    let rank = |hundredths: usize| (lengths.len() * hundredths).div_ceil(100).saturating_sub(1);
    let at = |hundredths: usize| lengths.get(rank(hundredths)).copied().unwrap_or(0);
    Percentiles { p50: at(50), p95: at(95), max: at(100) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let of = |lengths: Vec<u32>| {
            let Percentiles { p50, p95, max } = percentiles(lengths);
            (p50, p95, max)
        };
        assert_eq!(of((1..=100).rev().collect()), (50, 95, 100));
        assert_eq!(of(vec![7]), (7, 7, 7));
        assert_eq!(of((1..=20).collect()), (10, 19, 20));
        assert_eq!(of(Vec::new()), (0, 0, 0));
    }
}
