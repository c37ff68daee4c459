//! Paths with `*`, `?` or `[..]`, and the files they stand for.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, glob_with};
use tunesmith_core::plan::{FilePlan, SourcePlan};

use super::DataError;

/// Puts the files in the place of patterns, sorted by their path. A path of a file that is there is no pattern.
///
/// # Errors
///
/// Fails when a pattern is broken or matches no file, or a file comes twice.
pub(super) fn expand(set: &mut FilePlan) -> Result<(), DataError> {
    if set.files.is_empty() {
        if is_pattern(&set.path) {
            set.files = matches(&set.path)?.into_iter().map(|path| source(path, 1.0)).collect();
        }
        return Ok(());
    }
    let mut files: Vec<SourcePlan> = Vec::new();
    for file in &set.files {
        let paths = if is_pattern(&file.path) { matches(&file.path)? } else { vec![file.path.clone()] };
        for path in paths {
            if files.iter().any(|known| known.path == path) {
                let hint = "name each file once; a `weight` of 2 draws its rows twice".into();
                return Err(DataError::Files { path, what: "is named twice".into(), hint });
            }
            files.push(source(path, file.weight));
        }
    }
    set.files = files;
    Ok(())
}

fn source(path: PathBuf, weight: f64) -> SourcePlan {
    SourcePlan { path, digest: String::new(), weight }
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[']) && !path.exists()
}

fn matches(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let fault = |what: String, hint: &str| DataError::Files { path: path.to_owned(), what, hint: hint.into() };
    // The folder of the recipe may have such characters in its name, and is meant as it is.
    let options =
        MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..MatchOptions::default() };
    let found = glob_with(&pattern(path), options).map_err(|error| {
        fault(format!("is no pattern: {error}"), "write `*`, `?`, or `[abc]` for one of these letters")
    })?;
    let mut files = Vec::new();
    for entry in found {
        let file = entry.map_err(|error| DataError::Read { path: error.path().to_owned(), source: error.into() })?;
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(fault(
            "matches no file".into(),
            "patterns are relative to the recipe: `*` is any text within a name, `**` any folders",
        ));
    }
    Ok(files)
}

/// The path as a pattern in which folders that are there stand for themselves.
fn pattern(path: &Path) -> String {
    let there = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new(""));
    let rest = path.strip_prefix(there).unwrap_or(path);
    let folder = glob::Pattern::escape(&there.to_string_lossy());
    if folder.is_empty() {
        rest.to_string_lossy().into_owned()
    } else {
        Path::new(&folder).join(rest).to_string_lossy().into_owned()
    }
}
