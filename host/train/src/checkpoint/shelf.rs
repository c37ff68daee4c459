//! Which checkpoints there are, and which are thrown away.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{RunError, remove_folder};

/// How many places before training are kept: the newest, and one to fall back to.
const KEPT_PROGRESS: usize = 2;

/// The checkpoints of a run, the newest first: those of steps, then those before training.
pub(crate) fn shelf(run: &Path) -> Vec<PathBuf> {
    let mut found = numbered(&run.join("checkpoints"), "step-");
    found.extend(numbered(&run.join("progress"), "line-"));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Throws away all but the newest `kept` checkpoints up to `step`, which is the newest and was just written. Later ones, from before a run fell
/// back, are not counted: the run comes to them and writes them anew.
pub(crate) fn prune(run: &Path, step: u32, kept: u32) -> Result<(), RunError> {
    let steps =
        numbered(&run.join("checkpoints"), "step-").into_iter().filter(|(number, _)| *number <= u64::from(step));
    steps.skip(kept.max(1) as usize).try_for_each(|(_, path)| remove_folder(&path))
}

/// The same for the places before training, up to the line `lines`.
pub(crate) fn prune_progress(run: &Path, lines: usize) -> Result<(), RunError> {
    let places = numbered(&run.join("progress"), "line-").into_iter().filter(|(number, _)| *number <= lines as u64);
    places.skip(KEPT_PROGRESS).try_for_each(|(_, path)| remove_folder(&path))
}

/// Folders called `prefix` and a number, the largest number first.
fn numbered(folder: &Path, prefix: &str) -> Vec<(u64, PathBuf)> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse::<u64>().ok();
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((number(&entry.path())?, entry.path())))
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found
}
