//! The page about a run: one file without scripts, that asks no network for anything.

mod chart;
mod costs;
mod curves;
mod html;
mod rows;
mod run;
mod samples;
mod setting;

use tunesmith::trace::Record;

use html::{Html, number, table};
pub(crate) use run::Run;

const HEAD: &str = concat!(
    "<meta charset=\"utf-8\">",
    // Nothing may be fetched and no script may run, whatever got into the page.
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
    "<meta name=\"referrer\" content=\"no-referrer\">",
    "<style>",
    include_str!("report/style.css"),
    "</style>"
);

/// The whole page about a run, compared with another if there is one.
pub(crate) fn page(run: &Run, other: Option<&Run>) -> String {
    let runs: Vec<&Run> = std::iter::once(run).chain(other).collect();
    let title = match other {
        None => run.name.clone(),
        Some(other) => format!("{} and {}", run.name, other.name),
    };
    let sections = [
        section(
            "Evaluation",
            "evaluation",
            curves::evaluation(&runs),
            "Nothing was measured: the recipe has no `data.eval`.",
        ),
        section("Training", "training", curves::training(&runs), "No step is in the trace."),
        section("Training set", "rows", rows::training_set(&runs), "The training set is not complete."),
        section("Scores of answers", "scores", rows::scores(&runs), "There are no samples."),
        section("Samples", "samples", rows::samples(&runs), "There are no samples."),
        section("Plugins", "plugins", costs::shown(&runs), "No plugin was called."),
        section("Plan", "plan", setting::plan(&runs), "There is no plan that can be read."),
        section("Trace", "trace", setting::trace(&runs), "There is no trace that can be read."),
    ];
    let head = Html::element("head", &[], [Html::fixed(HEAD), Html::of_text("title", &format!("{title} - Tunesmith"))]);
    let top = [Html::of_text("h1", &title), summary(&runs), faults(&runs)];
    let main = Html::element("main", &[], top.into_iter().chain(sections));
    let page = Html::element("html", &[("lang", "en")], [head, Html::element("body", &[], [main])]);
    format!("<!doctype html>\n{}\n", page.markup())
}

fn section(title: &'static str, id: &'static str, content: Html, missing: &'static str) -> Html {
    let is_missing = content.is_empty();
    let none = || Html::element("p", &[("class", "none")], [Html::text(missing)]);
    let content = if is_missing { none() } else { content };
    Html::element("section", &[("id", id)], [Html::of_text("h2", title), content])
}

/// What cannot be read of the runs.
fn faults(runs: &[&Run]) -> Html {
    let of_run = |run: &&Run| {
        let name = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        run.faults.iter().map(move |fault| Html::of_text("li", &format!("{name}{fault}"))).collect::<Vec<_>>()
    };
    let faults: Vec<Html> = runs.iter().flat_map(of_run).collect();
    if faults.is_empty() { Html::default() } else { Html::element("ul", &[("class", "faults")], faults) }
}

/// How the runs stand, one per column.
fn summary(runs: &[&Run]) -> Html {
    let facts: Vec<Vec<(&'static str, String)>> = runs.iter().map(|run| facts(run)).collect();
    let names = runs.iter().map(|run| run.name.as_str());
    let heads: Vec<&str> = std::iter::once("").chain(names).collect();
    let rows = facts[0].iter().enumerate().map(|(index, (name, _))| {
        let values = facts.iter().map(|facts| Html::text(&facts[index].1));
        std::iter::once(Html::text(name)).chain(values).collect()
    });
    table(&heads, rows)
}

/// The same facts for every run, in the same order.
fn facts(run: &Run) -> Vec<(&'static str, String)> {
    let none = || "-".to_owned();
    let records = || run.trace.lines.iter().map(|line| (&line.record, &line.times));
    let steps = || {
        records().filter_map(|(record, times)| if let Record::Step(step) = record { Some((step, times)) } else { None })
    };
    let is_finished = records().any(|(record, _)| matches!(record, Record::End { .. }));
    let state = match (is_finished, run.trace.fault.is_some()) {
        (_, true) => "its trace is damaged",
        (true, false) => "came to its end",
        (false, false) => "goes on, or was stopped",
    };
    let device = records().find_map(|(record, _)| match record {
        Record::Start { device, host, .. } => Some(format!("{device}, version {host}")),
        _ => None,
    });
    let rows = records().find_map(|(record, _)| match record {
        Record::TrainingSet { rows, .. } => Some(rows.to_string()),
        _ => None,
    });
    let loss = steps().next().zip(steps().next_back());
    let (tokens, seconds) =
        steps().fold((0.0, 0.0), |sums, (step, times)| (sums.0 + step.tokens as f64, sums.1 + times.total));
    let all: f64 = records().map(|(_, times)| times.total).sum();
    vec![
        ("state", state.to_owned()),
        ("device", device.unwrap_or_else(none)),
        ("rows trained on", rows.unwrap_or_else(none)),
        ("steps", steps().count().to_string()),
        (
            "loss",
            loss.map_or_else(none, |((first, _), (last, _))| {
                format!("{} at the first step, {} at the last", number(first.loss.into()), number(last.loss.into()))
            }),
        ),
        ("tokens per second", if seconds > 0.0 { number(tokens / seconds) } else { none() }),
        ("time", format!("{} s in all, {} s in steps", number(all), number(seconds))),
    ]
}
