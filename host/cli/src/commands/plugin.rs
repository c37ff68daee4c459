//! `plugin check` and `plugin inspect`: what a component is and needs. Nothing in it is run.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use tunesmith::{Manifest, PluginReport};

use super::{BadInput, print_json};
use crate::environment;
use crate::terminal::{one_line, print, table};

pub(crate) fn check(file: &Path, json: bool) -> Result<()> {
    let report = tunesmith::check_plugin(file, environment::plugin_cache().as_deref())?;
    if json {
        print_json(&report)?;
    } else {
        show(&report)?;
    }
    match report.faults.as_slice() {
        [] => Ok(()),
        faults => {
            let what = format!("`{}` has {} fault(s)\n{}", file.display(), faults.len(), faults.join("\n"));
            Err(BadInput(what).into())
        }
    }
}

pub(crate) fn inspect(file: &Path, json: bool) -> Result<()> {
    let report = tunesmith::inspect_plugin(file)?;
    if json { print_json(&report) } else { show(&report) }
}

fn show(report: &PluginReport) -> Result<()> {
    let line = |name: &str, value: &str| vec![name.to_owned(), one_line(value)];
    let list = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    let mut rows = Vec::new();
    if let Some(manifest) = &report.manifest {
        rows.push(line("name", &format!("{} {}", manifest.name, manifest.version)));
        rows.push(line("description", &manifest.description));
        rows.extend(manifest.paper.iter().map(|paper| line("paper", paper)));
        rows.push(line("licence", &manifest.license));
    }
    rows.push(line("sha256", &report.digest));
    rows.push(line("size", &format!("{} bytes", report.bytes)));
    rows.push(line("stages", &list(report.stages.iter().map(ToString::to_string).collect())));
    rows.push(line("needs grants", &list(report.grants.clone())));
    rows.push(line("keeps state", if report.has_state { "yes" } else { "no" }));
    rows.extend(
        report
            .imports
            .iter()
            .map(|import| line("imports", &format!("{} ({} functions)", import.name, import.functions.len()))),
    );
    rows.extend(report.exports.iter().map(|export| line("exports", export)));
    print(&table(&rows))?;
    if let Some(manifest) = &report.manifest {
        settings(&manifest.settings)?;
        parameters(manifest)?;
    }
    Ok(())
}

/// The extra parameters that the plugin has trained, if any.
fn parameters(manifest: &Manifest) -> Result<()> {
    if manifest.parameters.is_empty() {
        return Ok(());
    }
    print("trainable parameters:")?;
    let mut rows = vec![["  name", "shape", "init", "learning rate"].map(ToOwned::to_owned).to_vec()];
    for parameter in &manifest.parameters {
        let shape = parameter.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let rate = parameter.learning_rate.map_or_else(|| "the recipe's".to_owned(), |rate| rate.to_string());
        rows.push(vec![
            format!("  {}", one_line(&parameter.name)),
            one_line(&format!("[{shape}]")),
            one_line(&parameter.init),
            rate,
        ]);
    }
    print(&table(&rows))?;
    Ok(())
}

fn settings(schema: &Value) -> Result<()> {
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty()) else {
        print("settings: none")?;
        return Ok(());
    };
    print("settings:")?;
    let mut rows = vec![["  name", "type", "default", "description"].map(ToOwned::to_owned).to_vec()];
    for (name, property) in properties {
        let text = |key: &str| match &property[key] {
            Value::Null => "-".to_owned(),
            Value::String(text) => one_line(text),
            other => one_line(&other.to_string()),
        };
        rows.push(vec![format!("  {}", one_line(name)), text("type"), text("default"), text("description")]);
    }
    print(&table(&rows))?;
    Ok(())
}
