//! TL-Training: calls of tools that failed are no targets, tokens that choose the tool count more, and rewards tell kinds of errors apart.

pub mod call;
pub mod chats;
pub mod math;
pub mod tools;

use std::collections::HashSet;
use std::ops::Range;

use serde::Deserialize;
use serde_json::{Value, json};
use tunesmith_sdk::{Curate, Error, Examples, Plugin, Reward, Rollouts, TokenBatch, TrainingSet, Weigh, log};

use call::Call;
use chats::{Failures, Fate, text};
use math::{Kind, key_tokens, kind, value_ends, weight};
use tools::tools;

/// The provenance of all rows: they come from the data.
const GOLD: &str = "gold";
/// Why a row is not scored.
const NO_CALL: &str = "the gold completion is no call";
/// Why a row is not scored or weighed.
const NO_TOOLS: &str = "no list of tools in the column";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    results: Vec<String>,
    errors: Vec<String>,
    error_key: String,
    tools: String,
    largest: f64,
}

/// The plugin.
pub struct TlTraining {
    failures: Failures,
    tools: String,
    largest: f64,
}

impl Plugin for TlTraining {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        let Settings { results, errors, error_key, tools, largest } = settings;
        Ok(Self { failures: Failures::new(&results, &errors, &error_key), tools, largest })
    }
}

impl Curate for TlTraining {
    /// Makes a row of every turn of the assistant that is a target; the last turn of a chat stays the row that it is.
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let (mut targets, mut failed, mut unanswered, mut wordless) = (0_u32, 0_u32, 0_u32, 0_u32);
        for (row, (messages, completion)) in pool.messages().iter().zip(pool.completions()).enumerate() {
            let broken = |_| Error::other(format!("the conversation of row {row} is no list of messages"));
            let mut chat: Vec<Value> = serde_json::from_str(messages).map_err(broken)?;
            let last = chat.len();
            if let Some(completion) = &completion {
                chat.push(json!({ "role": "assistant", "content": completion }));
                chosen.keep(row, GOLD);
                targets += 1;
            } else {
                chosen.omit(row, "the chat does not end with a turn of the assistant");
            }
            // A completion that was kept is no row of its own, whatever its text is.
            for (at, fate) in self.failures.turns(&chat).into_iter().filter(|(at, _)| *at < last) {
                match fate {
                    Fate::Target => {
                        let before = Value::Array(chat[..at].to_vec()).to_string();
                        chosen.add_group(&before, &[("", text(&chat[at]))], GOLD, Some(row));
                        targets += 1;
                    }
                    Fate::Failed => failed += 1,
                    Fate::Unanswered => unanswered += 1,
                    Fate::Wordless => {
                        log::skip(row, "a turn has no text");
                        wordless += 1;
                    }
                    Fate::First => log::skip(row, "nothing is before a turn"),
                }
            }
        }
        for (name, count) in
            [("targets", targets), ("failed", failed), ("unanswered", unanswered), ("wordless", wordless)]
        {
            log::metric(name, f64::from(count));
        }
        Ok(())
    }
}

impl Weigh for TlTraining {
    fn weigh(&self, batch: &TokenBatch) -> Result<Vec<f32>, Error> {
        let (texts, starts, spans) = (batch.row_texts()?, batch.completion_starts()?, batch.spans()?);
        let (offsets, mask) = (batch.offsets(), batch.mask());
        let mut weights = vec![1.0; mask.len()];
        let (mut keys_of_all, mut unmarked) = (Vec::new(), 0_u32);
        for (row, cell) in batch.column(&self.tools).into_iter().enumerate() {
            let completion: String = texts[row].chars().skip(starts[row]).collect();
            let offered = cell.as_deref().and_then(tools).unwrap_or_default();
            let gold = Call::parse(&completion).filter(|call| offered.iter().any(|tool| tool.name == call.name));
            let Some(gold) = gold else {
                unmarked += 1;
                continue;
            };
            let trained: Vec<usize> = (offsets[row]..offsets[row + 1]).filter(|token| mask[*token]).collect();
            let inside =
                |span: &Range<usize>| span.start.saturating_sub(starts[row])..span.end.saturating_sub(starts[row]);
            let spans: Vec<Range<usize>> = trained.iter().map(|token| inside(&spans[*token])).collect();
            let others: Vec<&str> =
                offered.iter().map(|tool| tool.name.as_str()).filter(|name| *name != gold.name).collect();
            let keys = key_tokens(&spans, &gold, &others);
            let uncounted: HashSet<usize> = keys.iter().copied().chain(value_ends(&spans, &gold)).collect();
            let weight = weight(keys.len(), trained.len() - uncounted.len(), self.largest);
            for &key in &keys {
                weights[trained[key]] = weight as f32;
            }
            keys_of_all.push((keys.len() as f64, weight));
        }
        log::metric("unmarked-rows", f64::from(unmarked));
        if !keys_of_all.is_empty() {
            let mean = |of: fn(&(f64, f64)) -> f64| keys_of_all.iter().map(of).sum::<f64>() / keys_of_all.len() as f64;
            log::metric("key-tokens", mean(|(keys, _)| *keys));
            log::metric("key-weight", mean(|(_, weight)| *weight));
        }
        Ok(weights)
    }
}

impl Reward for TlTraining {
    fn reward(&self, rollouts: &Rollouts) -> Result<Vec<Option<f32>>, Error> {
        let cells = rollouts.column(&self.tools);
        if !rollouts.is_empty() && cells.iter().all(Option::is_none) {
            return Err(Error::unsupported(format!(
                "no row has the column `{}`; there are {}",
                self.tools,
                rollouts.columns().join(", ")
            )));
        }
        let (texts, golds) = (rollouts.completions(), rollouts.references());
        let mut kinds = Vec::with_capacity(texts.len());
        for (row, ((text, gold), cell)) in texts.iter().zip(golds).zip(cells).enumerate() {
            let gold = gold.as_deref().and_then(Call::parse);
            let offered = cell.as_deref().and_then(tools);
            kinds.push(match (gold, offered) {
                (Some(gold), Some(offered)) => Some(kind(Call::parse(text).as_ref(), &gold, &offered)),
                (gold, _) => {
                    log::skip(row, if gold.is_none() { NO_CALL } else { NO_TOOLS });
                    None
                }
            });
        }
        report(&kinds.iter().flatten().copied().collect::<Vec<_>>());
        Ok(kinds.into_iter().map(|kind| kind.map(Kind::reward)).collect())
    }
}

/// Logs how often each kind occurs.
fn report(kinds: &[Kind]) {
    if kinds.is_empty() {
        return;
    }
    let share = |is: fn(&Kind) -> bool| kinds.iter().filter(|kind| is(kind)).count() as f64 / kinds.len() as f64;
    log::metric("unparsable", share(|kind| *kind == Kind::Unparsable));
    log::metric("unknown-tool", share(|kind| *kind == Kind::UnknownTool));
    log::metric("wrong-tool", share(|kind| *kind == Kind::WrongTool));
    log::metric("wrong-names", share(|kind| matches!(kind, Kind::Names { .. })));
    log::metric("wrong-values", share(|kind| *kind == Kind::Values));
    log::metric("right", share(|kind| *kind == Kind::Right));
}

tunesmith_sdk::export!(TlTraining: curate, weigh, reward);

#[cfg(test)]
mod tests;
