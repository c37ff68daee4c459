//! `check`: the plan of a recipe; nothing is written.

use anyhow::Result;
use serde_json::{Value, json};
use tunesmith::{Forecast, Plan, Session};

use super::{options, print_json};
use crate::arguments::Check;
use crate::progress::Progress;
use crate::terminal::print;

pub(crate) fn run(check: &Check) -> Result<()> {
    let session = Session::open_with(&check.recipe.recipe, &options(&check.recipe, check.output.as_deref()))?;
    let mut progress = Progress::new();
    let forecasts = session.forecast(&mut progress)?;
    drop(progress);
    let phases: Vec<(&Plan, &Forecast)> = session.plans().zip(&forecasts).collect();
    if check.json {
        let phases: Vec<Value> = phases.iter().map(|(plan, forecast)| as_json(plan, forecast)).collect();
        // A recipe without phases is one object, as it always was.
        return if let [only] = phases.as_slice() { print_json(only) } else { print_json(&phases) };
    }
    print(&format!("# {} is in order. Nothing was written.", check.recipe.recipe.display()))?;
    phases.into_iter().try_for_each(|(plan, forecast)| show(plan, forecast))
}

fn as_json(plan: &Plan, forecast: &Forecast) -> Value {
    json!({
        "plan": plan,
        "digest": plan.digest(),
        "forecast": {
            "rows": forecast.rows,
            "tokens": forecast.tokens,
            "loss-tokens": forecast.loss_tokens,
            "truncated": forecast.truncated,
            "longest": forecast.longest,
            "steps": forecast.steps,
        },
    })
}

fn show(plan: &Plan, forecast: &Forecast) -> Result<()> {
    if let Some(phase) = &plan.phase {
        print(&format!("\n# phase {}", phase.name))?;
    }
    print(&format!("# plan {}", plan.digest()))?;
    print(&format!(
        "# {} rows of {} tokens, {} of them trained on in one pass; the longest has {}; {} will be cut",
        forecast.rows, forecast.tokens, forecast.loss_tokens, forecast.longest, forecast.truncated
    ))?;
    let steps = forecast.steps.map_or_else(|| "known after curating".to_owned(), |steps| steps.to_string());
    print(&format!("# steps: {steps}\n"))?;
    print(toml::to_string_pretty(plan)?.trim_end())?;
    Ok(())
}
