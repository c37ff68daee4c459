//! `check`: the plan of a recipe; nothing is written.

use anyhow::Result;
use serde_json::json;
use tunesmith::Session;

use super::{options, print_json};
use crate::arguments::Check;
use crate::progress::Progress;
use crate::terminal::print;

pub(crate) fn run(check: &Check) -> Result<()> {
    let session = Session::open_with(&check.recipe.recipe, &options(&check.recipe, check.output.as_deref()))?;
    let mut progress = Progress::new();
    let forecast = session.forecast(&mut progress)?;
    drop(progress);
    let plan = session.plan();
    if check.json {
        return print_json(&json!({
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
        }));
    }
    print(&format!("# {} is in order. Nothing was written.", check.recipe.recipe.display()))?;
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
