//! The demo: one model, one data set, two recipes that differ in the method only, one table.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::shell::{output, say, tunesmith};

/// The folder of the demo's recipes.
const RECIPES: &str = "examples/03-demo";
/// The recipes by name: the method, and what it is compared with.
const ARMS: [&str; 2] = ["s3ft", "sft"];

/// What `tunesmith train --json` says of a run, as far as the table shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    folder: PathBuf,
    sets: Vec<Set>,
    provenance: BTreeMap<String, u64>,
    plugin_share: f64,
    seconds: f64,
}

/// The metrics of one evaluation set.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Set {
    name: String,
    before: BTreeMap<String, f64>,
    after: BTreeMap<String, f64>,
}

/// Trains both arms into a new folder under `runs/` and prints the table.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let folder = new_folder()?;
    let mut arms = Vec::new();
    for name in ARMS {
        say(&format!("training with {RECIPES}/{name}.toml"));
        arms.push((name, train(name, &folder)?));
    }
    let mut out = std::io::stdout();
    let text = table(&rows(&arms));
    let folders: Vec<_> = arms.iter().map(|(_, summary)| summary.folder.display().to_string()).collect();
    writeln!(out, "\n{text}\nrun folders: {}", folders.join(", ")).context("cannot print the table")?;
    say(&format!("trained and measured in {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// The first of `runs/demo-1`, `runs/demo-2`, ... that does not exist: no earlier run is touched.
fn new_folder() -> Result<PathBuf> {
    let runs = crate::root().join("runs");
    let free = (1..=u32::MAX).map(|number| runs.join(format!("demo-{number}"))).find(|folder| !folder.exists());
    free.context("no free name under `runs/`")
}

fn train(name: &str, folder: &Path) -> Result<Summary> {
    let mut command = tunesmith();
    command.args(["train", "--json"]).arg(crate::root().join(RECIPES).join(format!("{name}.toml")));
    command.arg("--output").arg(folder.join(name));
    let text = output(&mut command, "the reason stands above")?;
    serde_json::from_str(&text).context("`tunesmith train --json` printed something unexpected")
}

/// The table: one row per measured number, one column per arm, the untrained model first.
fn rows(arms: &[(&str, Summary)]) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new(), "before".to_owned()]];
    rows[0].extend(arms.iter().map(|(name, _)| (*name).to_owned()));
    let Some((_, first)) = arms.first() else {
        return rows;
    };
    for set in &first.sets {
        for metric in set.after.keys() {
            let mut row = vec![format!("{} {metric}", set.name), number(set.before.get(metric))];
            row.extend(arms.iter().map(|(_, summary)| number(after(summary, &set.name, metric))));
            rows.push(row);
        }
    }
    let mut fact = |name: &str, of: &dyn Fn(&Summary) -> String| {
        let mut row = vec![name.to_owned(), String::new()];
        row.extend(arms.iter().map(|(_, summary)| of(summary)));
        rows.push(row);
    };
    for provenance in ["self", "paraphrase", "gold"] {
        let count = |summary: &Summary| summary.provenance.get(provenance).copied().unwrap_or(0).to_string();
        fact(&format!("rows: {provenance}"), &count);
    }
    fact("plugins' share of the time", &|summary| format!("{:.2}%", 100.0 * summary.plugin_share));
    fact("seconds", &|summary| format!("{:.0}", summary.seconds));
    rows
}

fn after<'a>(summary: &'a Summary, set: &str, metric: &str) -> Option<&'a f64> {
    summary.sets.iter().find(|other| other.name == set)?.after.get(metric)
}

fn number(value: Option<&f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// Columns as wide as their widest cell, the first to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let lines = rows.iter().map(|row| {
        let cells = row.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<width$}", width = width(0)),
            _ => format!("  {cell:>width$}", width = width(column)),
        });
        cells.chain(["\n".to_owned()]).collect::<String>()
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::{Set, Summary, rows, table};

    #[test]
    fn the_table_has_a_row_per_number_and_a_column_per_arm() {
        let summary = |value: f64| Summary {
            folder: "runs/demo-1".into(),
            sets: vec![Set {
                name: "target".to_owned(),
                before: [("accuracy".to_owned(), 0.25)].into(),
                after: [("accuracy".to_owned(), value)].into(),
            }],
            provenance: [("self".to_owned(), 7)].into(),
            plugin_share: 0.0012,
            seconds: 61.4,
        };
        let text = table(&rows(&[("s3ft", summary(0.5)), ("sft", summary(0.75))]));
        let expected = "                            before   s3ft    sft
target accuracy              0.250  0.500  0.750
rows: self                              7      7
rows: paraphrase                        0      0
rows: gold                              0      0
plugins' share of the time          0.12%  0.12%
seconds                                61     61
";
        assert_eq!(text, expected);
    }
}
