//! `eval`: measures a recipe's model, or an adapter of it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{options, print_json};
use crate::arguments::Eval;
use crate::progress::Progress;
use crate::terminal::{one_line, print, table};

pub(crate) fn run(eval: &Eval) -> Result<()> {
    let options = options(&eval.recipe, None);
    let sets = tunesmith::evaluate(&eval.recipe.recipe, eval.adapter.as_deref(), &options, &mut Progress::new())?;
    if eval.json {
        let metrics: BTreeMap<&str, _> = sets.iter().map(|set| (set.name.as_str(), &set.before)).collect();
        return print_json(&metrics);
    }
    let mut rows = vec![vec!["set".to_owned(), "metric".to_owned(), "value".to_owned()]];
    for set in &sets {
        for (name, value) in &set.before {
            rows.push(vec![one_line(&set.name), one_line(name), format!("{value:.4}")]);
        }
    }
    print(&table(&rows))?;
    Ok(())
}
