//! Rows of the data, and the training set that a curating plugin makes of them.

use crate::host;

/// Some rows of the pool: a chunk of it, or all, as the recipe says. Rows are numbered from 0 in the order of every list.
#[derive(Clone, Copy)]
pub struct Examples<'a>(pub(crate) &'a host::Examples);

impl<'a> Examples<'a> {
    #[doc(hidden)]
    pub fn from_host(examples: &'a host::Examples) -> Self {
        Self(examples)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number per row that stays the same over the whole run: its position in the data, from 0.
    pub fn ids(&self) -> Vec<u64> {
        self.0.ids()
    }

    /// The prompt of each row: the text of the last user message, or the prompt column.
    pub fn prompts(&self) -> Vec<String> {
        self.0.prompts()
    }

    /// The gold completion of each row, if the data has one.
    pub fn completions(&self) -> Vec<Option<String>> {
        self.0.completions()
    }

    /// The whole conversation before the completion, as a JSON list of `{"role", "content"}` objects with whatever else the data has of a turn, such as tool calls, one text per row.
    pub fn messages(&self) -> Vec<String> {
        self.0.messages()
    }

    /// The names of all columns, in the data's order.
    pub fn columns(&self) -> Vec<String> {
        self.0.columns()
    }

    /// One column of every row: strings as they are, other values as JSON, none where the row has no such column.
    pub fn column(&self, name: &str) -> Vec<Option<String>> {
        self.0.column(name)
    }

    /// Which round of curating this is, from 0.
    pub fn round(&self) -> u32 {
        self.0.round()
    }
}

/// The training set under construction, owned by the host. Rows are those of the pool of the same call.
///
/// Every row should be kept, replaced, preferred or omitted once; a row that is not mentioned is omitted with the reason `not chosen`.
/// The usual words for `provenance` are `gold`, `self`, `paraphrase` and `synthetic`.
#[derive(Clone, Copy)]
pub struct TrainingSet<'a>(&'a host::TrainingSet);

impl<'a> TrainingSet<'a> {
    #[doc(hidden)]
    pub fn from_host(chosen: &'a host::TrainingSet) -> Self {
        Self(chosen)
    }

    /// Trains on the row as it is.
    pub fn keep(&self, row: usize, provenance: &str) {
        self.0.keep(row as u32, provenance);
    }

    /// Trains on the row's prompt with another completion.
    pub fn replace(&self, row: usize, completion: &str, provenance: &str) {
        self.0.replace(row as u32, completion, provenance);
    }

    /// Adds a new prompt and completion, with the columns of the row `like` if given.
    pub fn add(&self, prompt: &str, completion: &str, provenance: &str, like: Option<usize>) {
        self.0.add(prompt, completion, provenance, like.map(|row| row as u32));
    }

    /// Trains on a preference between two completions of the row's prompt.
    pub fn prefer(&self, row: usize, chosen: &str, rejected: &str, provenance: &str) {
        self.0.prefer(row as u32, chosen, rejected, provenance);
    }

    /// Trains on several completions of the row's prompt, given with their roles, which are in one micro-batch, in this order and under one group
    /// number. A role is a lower-case word such as `chosen`, `rejected`, `gold`, `negative`; what it means is the objective's to say. A row may be
    /// preferred and grouped several times.
    pub fn group(&self, row: usize, members: &[(&str, &str)], provenance: &str) {
        let (roles, completions) = columns(members);
        self.0.group(row as u32, &roles, &completions, provenance);
    }

    /// As [`group`](Self::group), for a conversation of the plugin's own: a JSON list of `{"role", "content"}` objects; other text traps. One
    /// completion with the empty role is an ordinary row. The columns are those of the row `like` if given.
    pub fn add_group(&self, conversation: &str, members: &[(&str, &str)], provenance: &str, like: Option<usize>) {
        let (roles, completions) = columns(members);
        self.0.add_group(conversation, &roles, &completions, provenance, like.map(|row| row as u32));
    }

    /// Leaves the row out. Reasons are counted by their text, so keep it free of numbers.
    pub fn omit(&self, row: usize, why: &str) {
        self.0.omit(row as u32, why);
    }

    /// Notes a named number about the row: a score, an accept rate. Kept in the curated set and shown in reports.
    pub fn note(&self, row: usize, name: &str, value: f64) {
        self.0.note(row as u32, name, value);
    }
}

/// Roles and completions as the contract's two lists.
fn columns(members: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    members.iter().map(|(role, completion)| ((*role).to_owned(), (*completion).to_owned())).unzip()
}
