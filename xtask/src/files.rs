//! The cache folder, and folders that appear complete or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The folder for downloads and the built standard library, made if it is missing.
pub(crate) fn cache() -> Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = named("TUNESMITH_CACHE");
    let users = || {
        let folder = named("XDG_CACHE_HOME").or_else(|| named("LOCALAPPDATA"));
        folder.or_else(|| named("HOME").map(|home| home.join(".cache")))
    };
    let Some(folder) = own.or_else(|| users().map(|folder| folder.join("tunesmith"))) else {
        bail!("there is no cache folder\nhint: set TUNESMITH_CACHE to the full path of a folder");
    };
    fs::create_dir_all(&folder).with_context(|| {
        format!("cannot create `{}`\nhint: set TUNESMITH_CACHE to a folder that you may write", folder.display())
    })?;
    Ok(folder)
}

/// Cargo's own folder.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    named("CARGO_HOME").or_else(|| named("HOME").map(|home| home.join(".cargo")))
}

/// A folder that is filled under another name and disappears unless it is finished.
pub(crate) struct Draft {
    pub(crate) path: PathBuf,
    wanted: PathBuf,
}

impl Draft {
    /// Starts a draft of `wanted`, beside it.
    pub(crate) fn of(wanted: &Path) -> Result<Self> {
        let mut name = wanted.file_name().unwrap_or_default().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let path = wanted.with_file_name(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        Ok(Self { path, wanted: wanted.to_owned() })
    }

    /// Puts the draft in the place of whatever is there.
    pub(crate) fn finish(self) -> Result<()> {
        remove(&self.wanted)?;
        let moved = fs::rename(&self.path, &self.wanted);
        moved.with_context(|| format!("cannot create `{}`", self.wanted.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After `finish` nothing has this name any more.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes a folder with all in it, if it is there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    Ok(())
}

/// The folders in `parent` that hold `file`, sorted; none where there is no such parent.
pub(crate) fn folders_with(parent: &Path, file: &str) -> Result<Vec<PathBuf>> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(parent).with_context(|| format!("cannot read `{}`", parent.display()))? {
        let path = entry.with_context(|| format!("cannot read `{}`", parent.display()))?.path();
        if path.join(file).is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}
