//! `data inspect`: what data files hold.

use anyhow::Result;
use tunesmith::{ColumnReport, DataOptions, DataReport, DataSetReport, LengthReport, Percentiles, SampleReport};

use super::print_json;
use crate::arguments::DataInspect;
use crate::terminal::{one_line, plain, print, table};

pub(crate) fn inspect(inspect: &DataInspect) -> Result<()> {
    let options = DataOptions { model: inspect.model.clone(), set: inspect.set.clone(), row: inspect.row };
    let report = tunesmith::inspect_data(&inspect.source, &options)?;
    if inspect.json { print_json(&report) } else { show(&report) }
}

fn show(report: &DataReport) -> Result<()> {
    for (index, set) in report.sets.iter().enumerate() {
        if index > 0 {
            print("")?;
        }
        show_set(report, set)?;
    }
    if report.model.is_none() {
        print("\nlengths and a sample need a tokenizer: give `--model FOLDER`")?;
    }
    Ok(())
}

fn show_set(report: &DataReport, set: &DataSetReport) -> Result<()> {
    print(&format!(
        "{}: {} rows, {} without completion, {} said before",
        one_line(&set.name),
        set.rows,
        set.without_completion,
        set.duplicates
    ))?;
    let mut files = vec![["  file", "format", "rows", "weight"].map(String::from).to_vec()];
    files.extend(set.files.iter().map(|file| {
        let path = format!("  {}", one_line(&file.path.display().to_string()));
        vec![path, file.format.to_owned(), file.rows.to_string(), file.weight.to_string()]
    }));
    print(&table(&files))?;
    let mut columns = vec![["  column", "types"].map(String::from).to_vec()];
    columns.extend(set.columns.iter().map(|column| vec![format!("  {}", one_line(&column.name)), types(column)]));
    print(&table(&columns))?;
    if let Some(lengths) = &set.lengths {
        show_lengths(report, lengths)?;
    }
    if set.unusable > 0 {
        print(&format!("  {} rows cannot be used:", set.unusable))?;
        for fault in &set.faults {
            print(&format!("    {}", one_line(fault)))?;
        }
    }
    set.sample.as_ref().map_or(Ok(()), show_sample)
}

/// The types of a column, those of most rows first.
fn types(column: &ColumnReport) -> String {
    let mut types: Vec<(&str, u64)> = column.types.iter().map(|(name, rows)| (*name, *rows)).collect();
    types.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    types.iter().map(|(name, rows)| format!("{name} in {rows}")).collect::<Vec<_>>().join(", ")
}

fn show_lengths(report: &DataReport, lengths: &LengthReport) -> Result<()> {
    let line = |name: &str, of: &Percentiles| {
        vec![format!("  {name}"), of.p50.to_string(), of.p95.to_string(), of.max.to_string()]
    };
    print(&table(&[
        ["  tokens", "p50", "p95", "max"].map(String::from).to_vec(),
        line("row", &lengths.row),
        line("prompt", &lengths.prompt),
        line("trained on", &lengths.trained),
    ]))?;
    let longest = report.max_length.unwrap_or_default();
    let fate = if report.truncate { "would be cut" } else { "would be refused (`train.truncate = true` cuts them)" };
    print(&format!("  {} rows are longer than {longest} tokens and {fate}", lengths.too_long))?;
    Ok(())
}

/// What is trained on stands in double angle brackets.
fn show_sample(sample: &SampleReport) -> Result<()> {
    print(&format!("  row {} as it is trained on, {} tokens; «these» have a loss:", sample.id, sample.tokens))?;
    let mut text = String::new();
    for piece in &sample.pieces {
        let (open, close) = if piece.is_trained { ("«", "»") } else { ("", "") };
        text.push_str(open);
        text.push_str(&piece.text);
        text.push_str(close);
    }
    print(&plain(&text).lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"))?;
    Ok(())
}
