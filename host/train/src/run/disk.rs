//! Files and folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::RunError;

pub(super) fn json_line(value: &impl Serialize, path: &Path) -> Result<String, RunError> {
    serde_json::to_string(value)
        .map_err(|error| RunError::Io { path: path.to_owned(), source: io::Error::other(error) })
}

/// Writes a whole JSON file: under another name first, so that nobody ever reads half of it.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| RunError::Io { path: path.to_owned(), source: io::Error::other(error) })?;
    write_whole(path, format!("{text}\n").as_bytes())
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(RunError::io(path))
}

/// Makes a folder appear whole: `fill` writes into another one, whose files are brought to disk before it gets its name. A folder that
/// has that name already is replaced.
pub(crate) fn folder_whole(path: &Path, fill: impl FnOnce(&Path) -> Result<(), RunError>) -> Result<(), RunError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = parent.join(format!(".{name}.partial"));
    // Left over from a run that was stopped while it wrote.
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(RunError::io(&partial))?;
    }
    fs::create_dir_all(&partial).map_err(RunError::io(&partial))?;
    fill(&partial)?;
    sync_files(&partial).map_err(RunError::io(&partial))?;
    if path.exists() {
        remove_folder(path)?;
    }
    fs::rename(&partial, path).map_err(RunError::io(path))?;
    sync_folder(parent);
    Ok(())
}

/// Removes a folder so that nobody ever sees half of it.
pub(crate) fn remove_folder(path: &Path) -> Result<(), RunError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let gone = path.with_file_name(format!(".{name}.gone.partial"));
    let remove = || {
        if gone.exists() {
            fs::remove_dir_all(&gone)?;
        }
        fs::rename(path, &gone)?;
        fs::remove_dir_all(&gone)
    };
    remove().map_err(RunError::io(path))
}

/// Removes what a stopped run has left half-written in this folder.
pub(super) fn sweep(folder: &Path) -> Result<(), RunError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(RunError::io(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(RunError::io(folder))?.path();
        let is_partial = path.extension().is_some_and(|extension| extension == "partial");
        if is_partial {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(RunError::io(&path))?;
        }
    }
    Ok(())
}

fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_files(&path)? } else { File::open(&path)?.sync_all()? }
    }
    sync_folder(folder);
    Ok(())
}

/// Some systems cannot bring a folder to disk; its files are there all the same.
pub(super) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
