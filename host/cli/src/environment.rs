//! What the environment says: the one place that reads it.

use std::env;
use std::path::PathBuf;

/// The folder for compiled plugins, `plugins` in Tunesmith's cache folder: others may be able to read the latter. None: nothing is kept.
pub(crate) fn plugin_cache() -> Option<PathBuf> {
    cache().map(|folder| folder.join("plugins"))
}

/// The key of a server, from the variable that a recipe names; none if it is not set, or empty.
pub(crate) fn key(name: &str) -> Option<String> {
    // The system knows no variable with such a name, and asking it would panic on some.
    let is_name = !name.is_empty() && !name.contains(['=', '\0']);
    is_name.then(|| env::var(name).ok()).flatten().filter(|key| !key.is_empty())
}

/// Where `cargo xtask setup` puts the standard library for plugins that it builds for the compiler of this commit.
pub(crate) fn built_std(commit: &str) -> Option<PathBuf> {
    cache().map(|folder| folder.join(format!("wasm-std-{commit}")))
}

/// Tunesmith's cache folder: `TUNESMITH_CACHE`, or `tunesmith` in the user's cache folder.
fn cache() -> Option<PathBuf> {
    folder("TUNESMITH_CACHE")
        // A relative path in XDG_CACHE_HOME is invalid by its specification.
        .or_else(|| folder("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("tunesmith")))
        .or_else(|| folder("HOME").map(|path| path.join(".cache").join("tunesmith")))
}

/// The folder that a variable names; none if it is not set, or empty.
fn folder(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty())
}

/// The program that builds plugins: the cargo that runs us, if one does, else the one on the path.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The compiler that cargo uses.
pub(crate) fn rustc() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from)
}

/// Cargo's own folder, whose place must not show in a plugin's bytes.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
}

/// Where the build script of the feature `cuda` keeps its bundle of LLVM: in the user's data folder.
pub(crate) fn llvm_bundle() -> Option<PathBuf> {
    let data = folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local").join("share")))?;
    Some(data.join("tracel").join("tracel-llvm-23.1.0-4"))
}

/// A program on the path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}
