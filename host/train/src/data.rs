//! Training and evaluation data: Parquet and JSON lines to [`Example`]s, checked row by row before any heavy work.
//!
//! A row is an object. Its prompt stands in the prompt column (text), or in the chat column as a list of `{"role", "content"}` turns;
//! where a row has both, the chat counts. The gold completion is the last assistant turn of the chat, or the completion column. A row that has
//! neither prompt nor chat may have plain text. Every column travels on with the row, whatever its type.
//!
//! Files are streamed: what is held does not grow with them. A row of JSON lines is held one at a time, of Parquet a page per column.

mod error;
mod lines;
mod parquet;
mod patterns;
mod row;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use tunesmith_core::data::Example;
use tunesmith_core::digest;
use tunesmith_core::plan::{DataPlan, FilePlan, SourcePlan};

pub use error::DataError;
use row::RowReader;
pub(crate) use row::target;
use source::{Columns, Source};

/// Rows that are read in their order, as often as wanted.
pub trait Rows: Send + Sync {
    /// How many rows there are.
    fn count(&self) -> usize;

    /// The rows, from the first. After a fault nothing follows.
    fn examples(&self) -> Box<dyn Iterator<Item = Result<Arc<Example>, DataError>> + '_>;

    /// An id that no row has, and none above it.
    fn next_id(&self) -> u64 {
        self.count() as u64
    }

    /// Where the row with this id stands; none if that is not known. May read the data up to there.
    fn place(&self, _id: u64) -> Option<Place> {
        None
    }

    /// Ranges of ids and how often each of their rows is drawn in one pass; what is not in them is drawn once.
    fn weights(&self) -> Vec<(Range<u64>, f64)> {
        Vec::new()
    }
}

impl Rows for Vec<Arc<Example>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn next_id(&self) -> u64 {
        self.iter().map(|example| example.id + 1).max().unwrap_or(0)
    }

    fn examples(&self) -> Box<dyn Iterator<Item = Result<Arc<Example>, DataError>> + '_> {
        Box::new(self.iter().map(|example| Ok(Arc::clone(example))))
    }
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line of JSON lines, or the row of Parquet, from 1.
    pub number: u64,
    /// Whether the file has rows in place of lines.
    pub is_row: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.is_row { ": row " } else { ":" };
        write!(formatter, "{}{between}{}", self.path.display(), self.number)
    }
}

/// The rows of one or several files, none of which is held.
#[derive(Debug)]
pub struct Dataset {
    /// The files, in their order.
    sources: Vec<Source>,
    plan: DataPlan,
    limit: usize,
    count: usize,
    weights: Vec<(Range<u64>, f64)>,
}

/// Opens the files of a set and goes through all of their rows once; each is shown to `visit` with its place. Notes the files that a pattern
/// stands for, and all digests, in `file`.
///
/// The first `file.limit` rows count, over all files; digests are of whole files. Empty lines are passed over.
///
/// # Errors
///
/// Fails at the first fault, with file, line or row, and column: unreadable, not whole, not UTF-8, not JSON, no object, a column that is
/// missing or of a wrong type, an empty prompt or completion. Fails too when no file matches, a file is named twice, or there is no row at all.
pub fn open(
    file: &mut FilePlan,
    plan: &DataPlan,
    visit: &mut dyn FnMut(&Place, &Arc<Example>),
) -> Result<Dataset, DataError> {
    patterns::expand(file)?;
    let paths: Vec<(PathBuf, f64)> = match file.files.as_slice() {
        [] => vec![(file.path.clone(), 1.0)],
        files => files.iter().map(|file| (file.path.clone(), file.weight)).collect(),
    };
    let sources = paths.iter().map(|(path, _)| Source::open(path)).collect::<Result<Vec<_>, _>>()?;
    let limit = file.limit.unwrap_or(usize::MAX);
    let mut data = Dataset { sources, plan: plan.clone(), limit, count: 0, weights: Vec::new() };
    let mut counts = vec![0; data.sources.len()];
    let mut reading = data.reading();
    while let Some((place, example)) = reading.next().transpose()? {
        counts[reading.source] += 1;
        visit(&place, &example);
    }
    drop(reading);
    data.count = counts.iter().sum();
    let mut end = 0;
    for (count, (path, weight)) in counts.into_iter().zip(&paths) {
        if count == 0 && end < limit {
            return Err(DataError::Empty { path: path.clone(), is_limited: false });
        }
        let start = end;
        end += count;
        data.weights.push((start as u64..end as u64, *weight));
    }
    if data.count == 0 {
        return Err(DataError::Empty { path: file.path.clone(), is_limited: limit == 0 });
    }
    let digests = data.sources.iter().map(Source::digest).collect::<Result<Vec<_>, _>>()?;
    note_digests(file, digests);
    Ok(data)
}

fn note_digests(file: &mut FilePlan, digests: Vec<String>) {
    file.digest = match digests.as_slice() {
        [only] if file.files.is_empty() => only.clone(),
        several => digest::of_parts(several.iter().map(String::as_bytes)),
    };
    file.files.iter_mut().zip(digests).for_each(|(file, digest): (&mut SourcePlan, _)| file.digest = digest);
}

impl Dataset {
    /// The files with the name of their format.
    pub fn files(&self) -> impl Iterator<Item = (&std::path::Path, &'static str)> {
        self.sources.iter().map(|source| (source.path(), source.format()))
    }

    fn reading(&self) -> Reading<'_> {
        Reading { data: self, source: 0, columns: None, next: 0, is_over: false }
    }
}

impl Rows for Dataset {
    fn count(&self) -> usize {
        self.count
    }

    fn examples(&self) -> Box<dyn Iterator<Item = Result<Arc<Example>, DataError>> + '_> {
        Box::new(self.reading().map(|row| row.map(|(_, example)| example)))
    }

    fn place(&self, id: u64) -> Option<Place> {
        self.reading().nth(usize::try_from(id).ok()?)?.ok().map(|(place, _)| place)
    }

    fn weights(&self) -> Vec<(Range<u64>, f64)> {
        self.weights.clone()
    }
}

/// One pass over the rows.
struct Reading<'a> {
    data: &'a Dataset,
    /// Which file is read.
    source: usize,
    columns: Option<Columns<'a>>,
    next: usize,
    is_over: bool,
}

impl Reading<'_> {
    fn step(&mut self) -> Result<Option<(Place, Arc<Example>)>, DataError> {
        while self.next < self.data.limit && self.source < self.data.sources.len() {
            let columns = match &mut self.columns {
                Some(columns) => columns,
                None => self.columns.insert(self.data.sources[self.source].rows()?),
            };
            let Some((place, columns)) = columns.next().transpose()? else {
                self.columns = None;
                self.source += 1;
                continue;
            };
            let example = RowReader { place: &place, plan: &self.data.plan }.example(self.next as u64, columns)?;
            self.next += 1;
            return Ok(Some((place, Arc::new(example))));
        }
        Ok(None)
    }
}

impl Iterator for Reading<'_> {
    type Item = Result<(Place, Arc<Example>), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let step = self.step().transpose();
        self.is_over = !matches!(step, Some(Ok(_)));
        step
    }
}
