//! `check`: the plan of a recipe; nothing is written.

use anyhow::Result;
use tunesmith::Session;

use super::{options, print_json};
use crate::arguments::Check;
use crate::terminal::print;

pub(crate) fn run(check: &Check) -> Result<()> {
    let session = Session::open_with(&check.recipe.recipe, &options(&check.recipe, check.output.as_deref()))?;
    let plan = session.plan();
    if check.json {
        return print_json(plan);
    }
    print(&format!("# {} is in order. Nothing was written.", check.recipe.recipe.display()))?;
    print(&format!("# plan {}", plan.digest()))?;
    print("")?;
    print(toml::to_string_pretty(plan)?.trim_end())?;
    Ok(())
}
