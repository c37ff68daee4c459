//! `model`: imports, merges, compares and looks at models.

use std::path::Path;

use anyhow::Result;
use tunesmith::{MergeOptions, ModelReport, WeightType};

use super::print_json;
use crate::arguments::{Compare, Merge};
use crate::progress::Progress;
use crate::terminal::{one_line, print, table};

pub(crate) fn import(gguf: &Path, out: &Path) -> Result<()> {
    let imported = tunesmith::import_model(gguf, out, &mut Progress::new())?;
    let name = imported.name.as_deref().map_or_else(String::new, |name| format!("{} ", one_line(name)));
    print(&format!(
        "{name}({}): {} weights in {} tensors, {} of bfloat16 in {}",
        one_line(&imported.architecture),
        grouped(imported.weights),
        imported.tensors,
        bytes(imported.bytes),
        one_line(&out.display().to_string())
    ))?;
    if let Some(licence) = &imported.licence {
        print(&format!("licence: {}", one_line(licence)))?;
    }
    Ok(())
}

pub(crate) fn inspect(folder: &Path, json: bool) -> Result<()> {
    let report = tunesmith::inspect_model(folder)?;
    if json { print_json(&report) } else { show(&report) }
}

pub(crate) fn merge(merge: &Merge) -> Result<()> {
    let weight_type = merge.weight_type.as_deref().and_then(|name| WeightType::from_name(&name.to_uppercase()));
    let options = MergeOptions { weight_type, shard_bytes: merge.shard_size, any_base: merge.any_base };
    let made = tunesmith::merge_model(&merge.model, &merge.adapter, &merge.out, &options, &mut Progress::new())?;
    if merge.json {
        return print_json(&made);
    }
    print(&format!(
        "{} weights in {} tensors, {} of them changed by the adapter; {} in {} ({})",
        grouped(made.weights),
        made.tensors,
        made.changed,
        made.types.join(" and "),
        one_line(&merge.out.display().to_string()),
        made.files.join(", "),
    ))?;
    Ok(())
}

pub(crate) fn compare(compare: &Compare) -> Result<()> {
    let Compare { folder, expected, adapter, tolerance, device, json } = compare;
    let found = tunesmith::compare_model(folder, adapter.as_deref(), expected, device)?;
    // A tolerance that is no number makes nothing fine.
    let is_fine = |one: &tunesmith::Comparison| one.error <= *tolerance;
    if *json {
        print_json(&found)?;
    } else {
        let mut rows = vec![["compared", "values", "error", "verdict"].map(ToOwned::to_owned).to_vec()];
        for one in &found {
            let verdict = if is_fine(one) { "fine" } else { "off" };
            let error = if one.error.is_finite() { format!("{:.1e}", one.error) } else { "differ".to_owned() };
            rows.push(vec![one_line(&one.name), one.values.to_string(), error, verdict.to_owned()]);
        }
        print(&table(&rows))?;
    }
    let off = found.iter().filter(|one| !is_fine(one)).count();
    anyhow::ensure!(off == 0, "{off} of {} comparisons are off by more than {tolerance:e}", found.len());
    Ok(())
}

fn show(report: &ModelReport) -> Result<()> {
    let line = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        line("architecture", report.architecture.clone()),
        line("parameters", grouped(report.parameters)),
        line("layers", report.layers.to_string()),
        line("hidden size", report.hidden_size.to_string()),
        line("heads", format!("{} ({} for keys and values)", report.heads, report.kv_heads)),
        line("vocabulary", grouped(report.vocabulary)),
        line("longest sequence", grouped(report.max_positions)),
    ];
    rows.extend(report.types.iter().map(|(kind, count)| line("tensors", format!("{count} of {}", one_line(kind)))));
    rows.extend(report.files.iter().map(|(name, size)| line("file", format!("{} {}", one_line(name), bytes(*size)))));
    rows.push(line(
        "tokenizer",
        report.tokens.map_or_else(|| "none".to_owned(), |tokens| format!("{} tokens", grouped(tokens))),
    ));
    rows.push(line("chat template", if report.has_template { "yes".into() } else { "none".into() }));
    print(&table(&rows))?;
    Ok(())
}

/// A number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(134_515_008), "134,515,008");
        assert_eq!(grouped(96), "96");
        assert_eq!(bytes(269_030_016), "269.0 MB");
    }
}
