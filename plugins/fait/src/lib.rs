//! FAIT: of right code, the tokens that tell it from similar wrong code count more, as long as the model finds the wrong code as likely.

pub mod diff;
pub mod marks;
pub mod math;

use std::ops::Range;

use serde::Deserialize;
use tunesmith_sdk::{Error, Model, Plugin, Prompts, TokenBatch, Weigh, log};

use marks::{Comparing, Marks, compare, overlaps};
use math::{Shares, emphasis, mean};

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    wrong_column: String,
    lambda: f64,
    tau: f64,
    dynamic: bool,
    line_share: f64,
    token_share: f64,
    ignore_blanks: bool,
    most_changed: f64,
    longest: usize,
}

/// The plugin.
pub struct Fait {
    column: String,
    largest: f64,
    tau: f64,
    is_dynamic: bool,
    shares: Shares,
    comparing: Comparing,
    most_changed: f64,
}

impl Plugin for Fait {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            column: settings.wrong_column,
            largest: settings.lambda,
            tau: settings.tau,
            is_dynamic: settings.dynamic,
            shares: Shares { line: settings.line_share, token: settings.token_share },
            comparing: Comparing { ignores_blanks: settings.ignore_blanks, longest: settings.longest },
            most_changed: settings.most_changed,
        })
    }
}

/// A row's completion, its tokens, and what tells it from its wrong variants.
struct Row {
    /// Where its trained tokens stand in the flat lists, each with its characters in the completion.
    tokens: Vec<(usize, Range<usize>)>,
    marks: Marks,
    /// The wrong variants that are used, with what of each differs.
    wrongs: Vec<(String, Marks)>,
}

impl Row {
    /// The places of tokens that get more weight.
    fn marked(&self, shares: Shares) -> impl Iterator<Item = usize> + '_ {
        self.tokens.iter().filter(move |(_, span)| is_marked(shares, &self.marks, span)).map(|(token, _)| *token)
    }
}

fn is_marked(shares: Shares, marks: &Marks, span: &Range<usize>) -> bool {
    shares.count(overlaps(&marks.lines, span), overlaps(&marks.characters, span))
}

impl Weigh for Fait {
    fn weigh(&self, batch: &TokenBatch) -> Result<Vec<f32>, Error> {
        let rows = self.rows(batch)?;
        let emphases = self.emphases(batch, &rows)?;
        let mut weights = vec![1.0; batch.mask().len()];
        for (row, &emphasis) in rows.iter().zip(&emphases) {
            for (token, span) in &row.tokens {
                let is_in_line = overlaps(&row.marks.lines, span);
                weights[*token] = self.shares.weight(emphasis, is_in_line, overlaps(&row.marks.characters, span));
            }
        }
        report(&rows, &emphases, self.shares);
        Ok(weights)
    }
}

impl Fait {
    /// The rows with their marks.
    fn rows(&self, batch: &TokenBatch) -> Result<Vec<Row>, Error> {
        if batch.step() == 0 && !batch.columns().contains(&self.column) {
            log::warn(&format!("no row has the column `{}`; there are {}", self.column, batch.columns().join(", ")));
        }
        let (texts, starts, spans) = (batch.row_texts()?, batch.completion_starts()?, batch.spans()?);
        let (offsets, mask) = (batch.offsets(), batch.mask());
        let mut rows = Vec::new();
        for (row, wrong) in batch.column(&self.column).into_iter().enumerate() {
            let (text, start) = (&texts[row], starts[row]);
            let completion: Vec<char> = text.chars().skip(start).collect();
            let trained = (offsets[row]..offsets[row + 1]).filter(|token| mask[*token]);
            let inside = |span: &Range<usize>| span.start.saturating_sub(start)..span.end.saturating_sub(start);
            let tokens = trained.map(|token| (token, inside(&spans[token]))).collect();
            let mut marks = Marks::none(completion.len());
            let mut wrongs = Vec::new();
            for wrong in wrong.iter().flat_map(|text| variants(text)) {
                let (own, other) = compare(&completion, &wrong.chars().collect::<Vec<_>>(), self.comparing);
                if !own.characters.contains(&true) {
                    log::skip(row, "the wrong variant does not differ");
                } else if self.most_changed < own.share() {
                    log::skip(row, "the wrong variant is not similar");
                } else {
                    marks.add(&own);
                    wrongs.push((wrong, other));
                }
            }
            rows.push(Row { tokens, marks, wrongs });
        }
        Ok(rows)
    }

    /// How much a marked token of each row counts on top of 1.
    fn emphases(&self, batch: &TokenBatch, rows: &[Row]) -> Result<Vec<f64>, Error> {
        if !self.is_dynamic || rows.iter().all(|row| row.wrongs.is_empty()) {
            return Ok(vec![self.largest; rows.len()]);
        }
        let logprobs = batch.token_logprobs("policy")?;
        let of = |(row, wrong): (&Row, Option<f64>)| {
            let right = mean(row.marked(self.shares).map(|token| -logprobs[token]));
            right.zip(wrong).map_or(self.largest, |(right, wrong)| {
                log::metric("nll-right", right);
                log::metric("nll-wrong", wrong);
                emphasis(self.largest, self.tau, right, wrong)
            })
        };
        Ok(rows.iter().zip(wrong_losses(batch, rows, self.shares)?).map(of).collect())
    }
}

/// The mean negative log-likelihood of the marked tokens of each row's wrong variants, all of them together; one call of the model for all rows.
fn wrong_losses(batch: &TokenBatch, rows: &[Row], shares: Shares) -> Result<Vec<Option<f64>>, Error> {
    let conversations = batch.messages();
    let (mut asked, mut texts) = (Vec::new(), Vec::new());
    for (row, conversation) in rows.iter().zip(&conversations) {
        asked.extend(row.wrongs.iter().map(|_| conversation.clone()));
        texts.extend(row.wrongs.iter().map(|(text, _)| text.clone()));
    }
    let scores = Model::open("policy")?.score(&Prompts::new().messages(&asked), &texts)?;
    let (lengths, logprobs, spans) = (scores.lengths(), scores.token_logprobs(), scores.spans()?);
    let (mut lengths, mut at) = (lengths.into_iter(), 0);
    let mut losses = Vec::new();
    for row in rows {
        let mut marked = Vec::new();
        for ((_, marks), length) in row.wrongs.iter().zip(&mut lengths) {
            let own = at..at + length as usize;
            marked.extend(
                own.clone().filter(|token| is_marked(shares, marks, &spans[*token])).map(|token| -logprobs[token]),
            );
            at = own.end;
        }
        losses.push(mean(marked.into_iter()));
    }
    Ok(losses)
}

/// The wrong variants in a column: a JSON list of texts, or else the text itself, since code may start with a bracket, too.
fn variants(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec![text.to_owned()])
}

fn report(rows: &[Row], emphases: &[f64], shares: Shares) {
    let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
    let paired = rows.iter().filter(|row| !row.wrongs.is_empty());
    log::metric("share-paired", paired.clone().count() as f64 / rows.len().max(1) as f64);
    log::metric(
        "share-marked",
        rows.iter().map(|row| row.marked(shares).count()).sum::<usize>() as f64 / tokens.max(1) as f64,
    );
    for (_, emphasis) in rows.iter().zip(emphases).filter(|(row, _)| !row.wrongs.is_empty()) {
        log::metric("emphasis", *emphasis);
    }
}

tunesmith_sdk::export!(Fait: weigh);

#[cfg(test)]
mod tests;
