//! A folder that appears complete or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A folder beside the wanted one that becomes it at the end, or disappears.
pub(crate) struct NewFolder {
    temporary: PathBuf,
    wanted: PathBuf,
}

/// Why a folder could not be made.
pub(crate) enum NewFolderError {
    /// The place is taken or impossible; nothing was written.
    Refused { path: PathBuf, fault: &'static str },
    /// The operating system refused to do `action` to `path`.
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn refused(path: &Path, fault: &'static str) -> NewFolderError {
    NewFolderError::Refused { path: path.to_owned(), fault }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NewFolderError {
    let path = path.to_owned();
    move |source| NewFolderError::Io { action, path, source }
}

impl NewFolder {
    /// Creates the temporary folder; `wanted` must not exist or be an empty folder.
    pub(crate) fn create(wanted: &Path) -> Result<Self, NewFolderError> {
        refuse_taken(wanted)?;
        let name = wanted.file_name().ok_or_else(|| refused(wanted, "it has no name"))?;
        let parent = parent(wanted);
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
        for attempt in 0..100 {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".part-{}-{attempt}", std::process::id()));
            let temporary = parent.join(hidden);
            match fs::create_dir(&temporary) {
                Ok(()) => return Ok(Self { temporary, wanted: wanted.to_owned() }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed("create", &temporary)(source)),
            }
        }
        Err(refused(wanted, "a hundred unfinished folders lie beside it"))
    }

    /// Writes one JSON file into it.
    pub(crate) fn write_json(&self, name: &str, json: &Value) -> Result<(), NewFolderError> {
        let path = self.temporary.join(name);
        fs::write(&path, format!("{json:#}\n")).map_err(failed("write", &path))
    }

    /// Where to write until the end.
    pub(crate) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Brings the files to disk and gives the folder its wanted name.
    pub(crate) fn finish(self) -> Result<(), NewFolderError> {
        let entries = fs::read_dir(&self.temporary).map_err(failed("read", &self.temporary))?;
        for entry in entries.flatten() {
            let path = entry.path();
            File::open(&path).and_then(|file| file.sync_all()).map_err(failed("write", &path))?;
        }
        if self.wanted.exists() {
            // Only an empty folder can be removed so: nothing that appeared meanwhile is lost.
            fs::remove_dir(&self.wanted).map_err(failed("create", &self.wanted))?;
        }
        fs::rename(&self.temporary, &self.wanted).map_err(failed("create", &self.wanted))?;
        // Some systems cannot bring a folder to disk; its files are there all the same.
        let _ = File::open(parent(&self.wanted)).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After `finish` there is nothing left under this name; before it, a failed export leaves nothing behind.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Fails if `wanted` is anything but free: nothing, or an empty folder.
fn refuse_taken(wanted: &Path) -> Result<(), NewFolderError> {
    if wanted.symlink_metadata().is_ok() {
        let mut entries = fs::read_dir(wanted).map_err(|_| refused(wanted, "it is not a folder"))?;
        if entries.next().is_some() {
            return Err(refused(wanted, "the folder is not empty"));
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
