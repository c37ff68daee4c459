//! `train`: a run, and a table of what it did.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use tunesmith::{Options, Session, Summary};

use super::{options, print_json};
use crate::arguments::Train;
use crate::progress::Progress;
use crate::terminal::{one_line, print, table};

pub(crate) fn run(train: &Train) -> Result<()> {
    let options = Options { resume: train.resume, ..options(&train.recipe, train.output.as_deref()) };
    let session = Session::open_with(&train.recipe.recipe, &options)?;
    let mut progress = Progress::new();
    let summary = session.run(&mut progress)?;
    drop(progress);
    if train.json { print_json(&summary) } else { show(&summary) }
}

fn show(summary: &Summary) -> Result<()> {
    let mut rows = vec![["set", "metric", "before", "after", "change"].map(ToOwned::to_owned).to_vec()];
    for set in &summary.sets {
        let names: BTreeSet<&String> = set.before.keys().chain(set.after.keys()).collect();
        for name in names {
            let (before, after) = (set.before.get(name).copied(), set.after.get(name).copied());
            let change = before.zip(after).map(|(before, after)| after - before);
            let change = change.map_or_else(|| "-".to_owned(), |change| format!("{change:+.4}"));
            rows.push(vec![one_line(&set.name), one_line(name), number(before), number(after), change]);
        }
    }
    if rows.len() > 1 {
        print(&table(&rows))?;
        print("")?;
    }
    print(&table(&facts(summary)))?;
    Ok(())
}

/// What the run was made of, one fact per row.
fn facts(summary: &Summary) -> Vec<Vec<String>> {
    let line = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![line("steps", format!("{} over {} rows", summary.steps, summary.rows))];
    if let Some((first, last)) = summary.loss_first.zip(summary.loss_last) {
        rows.push(line("loss", format!("{first:.4} at the first step, {last:.4} at the last")));
    }
    rows.push(line("rows by provenance", counts(&summary.provenance)));
    if !summary.dropped.is_empty() {
        rows.push(line("rows dropped", counts(&summary.dropped)));
    }
    rows.push(line("tokens per second", format!("{:.0}", summary.tokens_per_second)));
    let (share, step_share) = (100.0 * summary.plugin_share, 100.0 * summary.step_plugin_share);
    rows.push(line("time", format!("{:.1} s, {:.1} s of it training", summary.seconds, summary.train_seconds)));
    rows.push(line("plugins' share", format!("{share:.3}% of the time, {step_share:.3}% of the training steps")));
    rows.push(line("run folder", one_line(&summary.folder.display().to_string())));
    rows
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(name, count)| format!("{} {count}", one_line(name))).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_with_their_names() {
        assert_eq!(counts(&[("gold".to_owned(), 3), ("self".to_owned(), 5)].into()), "gold 3, self 5");
        assert_eq!(counts(&BTreeMap::new()), "none");
        assert_eq!(number(None), "-");
    }
}
