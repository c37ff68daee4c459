//! What the run was: its plan, and the trace that proves it.

use serde_json::Value;
use tunesmith::Plan;
use tunesmith::trace::Record;

use super::html::{Html, table};
use super::run::Run;

/// The plan of each run, and what differs between two.
pub(crate) fn plan(runs: &[&Run]) -> Html {
    let of_run = |run: &&Run| {
        if run.plan.is_null() {
            return Html::default();
        }
        let text = serde_json::to_string_pretty(&run.plan).unwrap_or_default();
        let title = if runs.len() > 1 { run.name.as_str() } else { "plan.json" };
        Html::element("details", &[], [Html::of_text("summary", title), Html::of_text("pre", &text)])
    };
    let plans = Html::all(runs.iter().map(of_run));
    Html::all([differences(runs), plugins(runs), plans])
}

/// What decides the result and is not the same in two plans.
fn differences(runs: &[&Run]) -> Html {
    let [run, other] = runs else { return Html::default() };
    let read = |run: &Run| serde_json::from_value::<Plan>(run.plan.clone()).ok();
    let Some((plan, other)) = read(run).zip(read(other)) else { return Html::default() };
    let differences = other.differences(&plan);
    let items: Vec<Html> = match differences.as_slice() {
        [] => vec![Html::of_text("li", "the same in everything that decides the result")],
        differences => differences.iter().map(|text| Html::of_text("li", text)).collect(),
    };
    Html::all([Html::of_text("h3", "From the first to the second"), Html::element("ul", &[], items)])
}

/// Which plugin takes which stage, with what settings.
fn plugins(runs: &[&Run]) -> Html {
    let mut rows = Vec::new();
    for run in runs {
        for stage in run.plan["stages"].as_array().into_iter().flatten() {
            let plugin =
                run.plan["plugins"].as_array().into_iter().flatten().find(|plugin| plugin["name"] == stage["plugin"]);
            let plugin = plugin.unwrap_or(&Value::Null);
            let cells = [
                &Value::from(run.name.as_str()),
                &stage["stage"],
                &stage["plugin"],
                &stage["settings"],
                &plugin["grants"],
                &plugin["digest"],
            ];
            rows.push(cells.into_iter().map(|cell| Html::text(&shown(cell))).collect());
        }
    }
    if rows.is_empty() {
        Html::default()
    } else {
        table(&["run", "stage", "plugin", "settings", "grants", "sha256"], rows)
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// How long the trace is, whether it holds, and where it begins and ends.
pub(crate) fn trace(runs: &[&Run]) -> Html {
    let mut rows = Vec::new();
    for run in runs {
        let lines = &run.trace.lines;
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { continue };
        let mut add = |name: &str, value: &str| {
            rows.push(vec![Html::text(&run.name), Html::text(name), Html::of_text("code", value)]);
        };
        add("lines, each chained to the one before by hash", &lines.len().to_string());
        add("head: the hash of the last line", &last.hash);
        if let Record::Start { plan, .. } = &first.record {
            add("digest of the plan", plan);
        }
        if let Some(digest) = lines.iter().find_map(|line| match &line.record {
            Record::TrainingSet { digest, .. } => Some(digest),
            _ => None,
        }) {
            add("digest of the training set", digest);
        }
        if let Record::End { parameters, .. } = &last.record {
            add("digest of the trained parameters", parameters);
        }
        add("damage", &run.trace.fault.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string));
    }
    if rows.is_empty() { Html::default() } else { table(&["run", "", ""], rows) }
}
