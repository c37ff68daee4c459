//! Drafts from a column and from a model, and the prompts that show them.

use serde_json::{Value, json};
use tunesmith_sdk::{Error, Examples, Model, Prompts, Sampling, log};

use crate::math::{repeated, share, shortened};
use crate::template::fill;

/// How drafts are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing {
    /// With places for all drafts and the row's prompt.
    pub aggregation: String,
    /// With places for a draft and its number.
    pub proposal: String,
    /// Characters of all drafts of a prompt together; 0 is no limit.
    pub longest: usize,
}

impl Showing {
    /// The request for an aggregation, and whether drafts were cut for it.
    pub fn request(&self, prompt: &str, drafts: &[String]) -> (String, bool) {
        let (drafts, is_cut) = shortened(drafts, self.longest);
        let show = |(at, draft): (usize, &String)| {
            fill(&self.proposal, &[("{number}", &(at + 1).to_string()), ("{draft}", draft)])
        };
        let proposals: String = drafts.iter().enumerate().map(show).collect();
        (fill(&self.aggregation, &[("{proposals}", &proposals), ("{prompt}", prompt)]), is_cut)
    }
}

/// The drafts of each row as its column has them; none where it has none.
///
/// # Errors
///
/// Fails on a cell that is no list of texts or of objects with `text`.
pub fn stored(examples: &Examples<'_>, column: &str) -> Result<Vec<Vec<String>>, Error> {
    if column.is_empty() {
        return Ok(vec![Vec::new(); examples.len()]);
    }
    let cells = examples.column(column);
    if cells.iter().all(Option::is_none) && !cells.is_empty() {
        log::warn(&format!("no row has the column `{column}`; there are {}", examples.columns().join(", ")));
    }
    let list = |(row, cell): (usize, Option<String>)| {
        let Some(cell) = cell else { return Ok(Vec::new()) };
        let broken = |what: &str| Error::unsupported(format!("column `{column}` of row {row} {what}"));
        let Ok(Value::Array(entries)) = serde_json::from_str(&cell) else { return Err(broken("is no list")) };
        let text = |(at, entry): (usize, &Value)| {
            let text = entry.as_str().or_else(|| entry["text"].as_str());
            text.map(str::to_owned)
                .ok_or_else(|| broken(&format!("has entry {at} that is neither text nor an object with `text`")))
        };
        entries.iter().enumerate().map(text).collect()
    };
    let drafts = cells.into_iter().enumerate().map(list).collect::<Result<_, _>>()?;
    Ok(written(drafts))
}

/// The rows of a call as conversations, and requests that take the place of their last messages.
pub struct Conversations {
    prompts: Vec<String>,
    messages: Vec<String>,
}

impl Conversations {
    /// Those of these rows.
    pub fn of(examples: &Examples<'_>) -> Self {
        Self { prompts: examples.prompts(), messages: examples.messages() }
    }

    /// The prompt of a row.
    pub fn prompt(&self, row: usize) -> &str {
        &self.prompts[row]
    }

    /// A request as a conversation: after the row's system message, if it has one.
    fn asking(&self, row: usize, request: &str) -> String {
        let turns: Vec<Value> = serde_json::from_str(&self.messages[row]).unwrap_or_default();
        let system = turns.into_iter().next().filter(|turn| turn["role"] == "system");
        let user = json!({ "role": "user", "content": request });
        Value::Array(system.into_iter().chain([user]).collect()).to_string()
    }

    /// Plain answers of a model to these rows.
    ///
    /// # Errors
    ///
    /// Fails when the model does.
    pub fn plain(&self, model: &str, rows: &[usize], sampling: &Sampling) -> Result<Vec<Vec<String>>, Error> {
        let asked: Vec<String> = rows.iter().map(|row| self.messages[*row].clone()).collect();
        generate(model, &asked, sampling)
    }

    /// Aggregations of these rows' drafts by a model. A row without drafts is asked plainly.
    ///
    /// # Errors
    ///
    /// Fails when the model does.
    pub fn aggregations(
        &self,
        model: &str,
        rows: &[(usize, &[String])],
        showing: &Showing,
        sampling: &Sampling,
    ) -> Result<Vec<Vec<String>>, Error> {
        let mut cut = 0;
        let mut request = |(row, drafts): &(usize, &[String])| {
            if drafts.is_empty() {
                return self.messages[*row].clone();
            }
            let (request, is_cut) = showing.request(&self.prompts[*row], drafts);
            cut += usize::from(is_cut);
            self.asking(*row, &request)
        };
        let asked: Vec<String> = rows.iter().map(&mut request).collect();
        let (repetitions, all) =
            rows.iter().fold((0, 0), |(some, all), (_, drafts)| (some + repeated(drafts), all + drafts.len()));
        for (name, value) in [("share-shortened", share(cut, rows.len())), ("share-repeated", share(repetitions, all))]
        {
            if let Some(value) = value {
                log::metric(name, value);
            }
        }
        generate(model, &asked, sampling)
    }
}

/// The drafts that say something.
pub fn written(drafts: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let written = |texts: Vec<String>| texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
    drafts.into_iter().map(written).collect()
}

/// The samples of each conversation.
fn generate(model: &str, asked: &[String], sampling: &Sampling) -> Result<Vec<Vec<String>>, Error> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let made = Model::open(model)?.generate(&Prompts::new().messages(asked), sampling)?;
    let finished = made.finished();
    if let Some(share) = share(finished.iter().filter(|is_finished| !**is_finished).count(), finished.len()) {
        log::metric("share-cut", share);
    }
    let samples = sampling.samples.unwrap_or(1).max(1) as usize;
    Ok(made.texts().chunks(samples).map(<[String]>::to_vec).collect())
}
