//! Compiled plugins on disk, so that a second run does not compile them again.
//!
//! Loading compiled code is as dangerous as loading a shared library: whoever can write the file can run code in this process.
//! So the folder must belong to the user of this process and be closed to everybody else (mode 0700), and so must each file;
//! links are not followed. Somebody who can write there all the same is the user himself, or has the user's rights already: a
//! secret key for a MAC would lie beside the files and keep nobody out. What the digest in each file is for is damage: a file that
//! is cut short, of another component, another engine or another processor is passed over and written anew. The file is read into
//! memory, checked there and loaded from there, so nothing can change in between.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::error::EngineError;
use crate::outline::Outline;

/// Bytes of the digest before the compiled code.
const DIGEST_BYTES: usize = 32;

/// Bytes of the largest compiled plugin that is read back.
const MAX_BYTES: u64 = 1 << 30;

/// What the cache has of a component: how it was found to be, and its code.
pub(crate) struct Known {
    pub(crate) outline: Outline,
    pub(crate) component: Component,
}

/// The folder. A file holds a digest over all that follows and what it belongs to, the length of the outline, the outline as JSON,
/// and the compiled code.
pub(crate) struct Cache {
    folder: PathBuf,
    /// The user of this process, as the owner of a file that it made.
    owner: rights::Owner,
    /// Digest of everything about the engine that compiled code depends on: version, settings, features of the processor.
    engine: [u8; DIGEST_BYTES],
}

impl Cache {
    /// Opens the folder, making it if it is not there.
    pub(crate) fn open(folder: &Path, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let fault = |what: String| EngineError::Cache { folder: folder.display().to_string(), what };
        make_private(folder).map_err(|error| fault(error.to_string()))?;
        let owner = probe(folder).map_err(|error| fault(error.to_string()))?;
        expect_private(folder, owner).map_err(fault)?;
        let mut hasher = DigestHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder: folder.into(), owner, engine: hasher.0.finalize().into() })
    }

    /// The component, if the folder has it whole.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Known> {
        // The folder's rights may have changed since it was opened.
        expect_private(&self.folder, self.owner).ok()?;
        let bytes = read_private(&self.path(digest), self.owner)?;
        let (stored, content) = bytes.split_at_checked(DIGEST_BYTES)?;
        if stored != self.check(digest, &[content]) {
            return None;
        }
        let (length, rest) = content.split_first_chunk()?;
        let (outline, code) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Known { outline: serde_json::from_slice(outline).ok()?, component: deserialize(engine, code)? })
    }

    /// Keeps a compiled component. A full disk only costs the next run some time, so failures are passed over.
    pub(crate) fn store(&self, digest: &str, outline: &Outline, component: &Component) {
        let (Ok(code), Ok(outline)) = (component.serialize(), serde_json::to_vec(outline)) else { return };
        let Ok(length) = u32::try_from(outline.len()) else { return };
        if expect_private(&self.folder, self.owner).is_err() {
            return;
        }
        let content = [&length.to_le_bytes()[..], &outline, &code];
        let path = self.path(digest);
        let draft = path.with_extension(format!("{}.tmp", own_suffix()));
        let check = self.check(digest, &content);
        let is_written = write_private(&draft, &[&[&check[..]], &content[..]].concat()).is_ok();
        if !is_written || fs::rename(&draft, &path).is_err() {
            let _ = fs::remove_file(&draft);
        }
    }

    /// The digest covers the component and the engine too, so that one entry cannot stand in for another.
    fn check(&self, digest: &str, content: &[&[u8]]) -> [u8; DIGEST_BYTES] {
        let hasher = Sha256::new().chain_update(self.engine).chain_update(digest.as_bytes());
        content.iter().fold(hasher, Sha256::chain_update).finalize().into()
    }

    fn path(&self, digest: &str) -> PathBuf {
        let name = tunesmith_core::digest::of_parts([self.engine.as_slice(), digest.as_bytes()]);
        self.folder.join(name).with_extension("cwasm")
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime cannot check compiled code; see the module's documentation for why it can be trusted"
)]
fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: `code` was read from a file that only this user could write, with a digest over code, component and engine that holds,
    // and `store` writes nothing but what `Component::serialize` returned.
    unsafe { Component::deserialize(engine, code) }.ok()
}

fn read_private(path: &Path, owner: rights::Owner) -> Option<Vec<u8>> {
    // A link is refused by name, and whatever replaced it meanwhile by its own rights.
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || MAX_BYTES < metadata.len() || rights::expect_private(&metadata, owner).is_err() {
        return None;
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn write_private(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    rights::private_file(&mut options);
    let mut file = options.open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    Ok(())
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    rights::private_folder(&mut builder);
    builder.create(folder)
}

/// The owner of files that this process makes: the user of this process.
fn probe(folder: &Path) -> std::io::Result<rights::Owner> {
    let path = folder.join(format!("probe-{}.tmp", own_suffix()));
    let metadata = write_private(&path, &[]).and_then(|()| fs::symlink_metadata(&path));
    let _ = fs::remove_file(&path);
    Ok(rights::owner(&metadata?))
}

/// A suffix that no other process and no other thread uses.
fn own_suffix() -> String {
    format!("{}-{:?}", std::process::id(), std::thread::current().id()).replace(['(', ')'], "")
}

/// Fails when somebody else could write to the folder.
fn expect_private(folder: &Path, owner: rights::Owner) -> Result<(), String> {
    let metadata = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("it is not a folder, or only a link to one".into());
    }
    rights::expect_private(&metadata, owner)
}

/// Who may write a file.
#[cfg(unix)]
mod rights {
    use std::fs::{DirBuilder, Metadata, OpenOptions};
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};

    pub(super) type Owner = u32;

    pub(super) fn private_file(options: &mut OpenOptions) {
        options.mode(0o600);
    }

    pub(super) fn private_folder(builder: &mut DirBuilder) {
        builder.mode(0o700);
    }

    pub(super) fn owner(metadata: &Metadata) -> Owner {
        metadata.uid()
    }

    pub(super) fn expect_private(metadata: &Metadata, owner: Owner) -> Result<(), String> {
        if metadata.uid() != owner {
            return Err("it belongs to another user".into());
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(format!("its mode is {:o}, so others may use it", metadata.mode() & 0o777));
        }
        Ok(())
    }
}

/// Elsewhere than on Unix there is no such check, and plugins there count as trusted.
#[cfg(not(unix))]
mod rights {
    use std::fs::{DirBuilder, Metadata, OpenOptions};

    pub(super) type Owner = ();

    pub(super) fn private_file(_: &mut OpenOptions) {}

    pub(super) fn private_folder(_: &mut DirBuilder) {}

    pub(super) fn owner(_: &Metadata) -> Owner {}

    pub(super) fn expect_private(_: &Metadata, (): Owner) -> Result<(), String> {
        Ok(())
    }
}

/// Lets SHA-256 take what is made for the standard library's hashers, which promise nothing across versions.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}
