//! The commands, one file each.

pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod data;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod generate;
pub(crate) mod model;
pub(crate) mod new;
pub(crate) mod plugin;
pub(crate) mod report;
pub(crate) mod train;

use std::path::Path;

use crate::arguments::Recipe;
use crate::environment;

/// The user has to mend the input; exit code 2.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// What the command line says about a session.
fn options(recipe: &Recipe, output: Option<&Path>) -> tunesmith::Options {
    tunesmith::Options {
        set: recipe.set.clone(),
        output: output.map(Path::to_path_buf),
        cache: environment::plugin_cache(),
        keys: tunesmith::Keys::new(environment::key),
        ..tunesmith::Options::default()
    }
}

/// JSON for machines, indented.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    crate::terminal::print_exactly(&serde_json::to_string_pretty(value)?)?;
    Ok(())
}
