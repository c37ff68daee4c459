//! `manifest.json`: the digest of every file of a checkpoint, and one of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use tunesmith_core::digest;

use crate::run::{RunError, write_json};

const NAME: &str = "manifest.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The digest of all names and digests below.
    digest: String,
    /// The digest of each file by its path in the folder, with `/` between folders.
    files: BTreeMap<String, String>,
}

impl Manifest {
    fn digest_of(files: &BTreeMap<String, String>) -> String {
        digest::of_parts(files.iter().flat_map(|(name, digest)| [name.as_bytes(), digest.as_bytes()]))
    }
}

/// Writes the manifest of everything that is in a folder.
pub(super) fn write(folder: &Path) -> Result<(), RunError> {
    let mut files = BTreeMap::new();
    collect(folder, "", &mut files).map_err(RunError::io(folder))?;
    write_json(&folder.join(NAME), &Manifest { digest: Manifest::digest_of(&files), files })
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files)?;
        } else {
            files.insert(name, digest::of_reader(&mut File::open(&path)?)?);
        }
    }
    Ok(())
}

/// Checks every file of a folder against the manifest. Fails with the first file that is not as it was written.
pub(super) fn verify(folder: &Path) -> Result<(), String> {
    let damaged = |name: &str| format!("`{name}` is damaged");
    let unreadable = |name: &str, error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("`{name}` is missing"),
        _ => format!("`{name}` cannot be read ({error})"),
    };
    let text = fs::read_to_string(folder.join(NAME)).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => damaged(NAME),
        _ => unreadable(NAME, &error),
    })?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|_| damaged(NAME))?;
    if manifest.digest != Manifest::digest_of(&manifest.files) || !text.ends_with("}\n") {
        return Err(damaged(NAME));
    }
    for (name, digest) in &manifest.files {
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(format!("`{NAME}` names `{}`, which is no file of the checkpoint", name.escape_debug()));
        }
        let found = File::open(folder.join(name)).and_then(|mut file| digest::of_reader(&mut file));
        match found {
            Ok(found) if found == *digest => {}
            Ok(_) => return Err(damaged(name)),
            Err(error) => return Err(unreadable(name, &error)),
        }
    }
    Ok(())
}
