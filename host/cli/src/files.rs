//! Files that appear whole or not at all.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::commands::BadInput;

/// Writes a file as a whole or not at all; one that is there is replaced.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.with_context(|| BadInput(format!("cannot write `{}`", path.display())))
}
