//! Plugins as files: what they say of themselves, what they need, and writing their manifest.

use std::fs;
use std::path::Path;

use serde::Serialize;
use tunesmith_core::digest;
use tunesmith_core::stage::Stage;
use tunesmith_plugin::{
    Engine, EngineOptions, Grant, Limits, LoadError, LoadOptions, Manifest, Plugin, manifest, needed,
};

use crate::error::{Error, Fault};

/// What a component says of itself, what it imports and exports, and what it needs. Nothing in it was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginReport {
    /// The digest of the file.
    pub digest: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Who and what it says it is; none if that cannot be read.
    pub manifest: Option<Manifest>,
    /// The stages that it exports, in the order of the data flow.
    pub stages: Vec<Stage>,
    /// Whether it keeps memory between calls.
    pub has_state: bool,
    /// The grants that it needs, as a recipe writes them.
    pub grants: Vec<String>,
    /// What it imports.
    pub imports: Vec<PluginImport>,
    /// The names of all it exports.
    pub exports: Vec<String>,
    /// Why it cannot be used, if so, with hints.
    pub faults: Vec<String>,
}

/// What a component imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginImport {
    /// The name, as it stands in the component.
    pub name: String,
    /// The functions that are used.
    pub functions: Vec<String>,
}

/// Looks at a component without compiling or running anything.
///
/// # Errors
///
/// Fails with [`Error::Plugin`] when the file cannot be read or is no component. A missing manifest is a fault in the report.
pub fn inspect_plugin(file: &Path) -> Result<PluginReport, Error> {
    let bytes = read(file)?;
    inspect(file, &bytes)
}

/// Looks at a component, loads it with everything granted, and compiles it; nothing in it is run. Compiled code is kept in `cache`.
///
/// # Errors
///
/// As [`inspect_plugin`], and when no engine can be started. What is wrong with the plugin itself is told in the report's `faults`.
pub fn check_plugin(file: &Path, cache: Option<&Path>) -> Result<PluginReport, Error> {
    let bytes = read(file)?;
    let mut report = inspect(file, &bytes)?;
    if report.faults.is_empty() {
        let options = EngineOptions { cache: cache.map(Path::to_path_buf), ..EngineOptions::default() };
        let engine = Engine::new(&options).map_err(|error| Error::run("plugins cannot be compiled", error))?;
        let options = LoadOptions { grants: Grant::ALL.into_iter().collect(), ..LoadOptions::default() };
        match Plugin::load(&engine, "plugin", &bytes, options) {
            // A setting without a default is the recipe's to give; by then everything but the compiler has passed.
            Ok(_) | Err(LoadError::Settings { .. }) => {}
            Err(error) => report.faults.push(chain(&error)),
        }
    }
    Ok(report)
}

/// Puts the manifest that a `plugin.toml` describes into a component, in place of one that is there.
///
/// # Errors
///
/// Fails when `plugin_toml` is wrong, the bytes are no component, or the two do not agree on stages.
pub fn embed_manifest(component: &[u8], plugin_toml: &str) -> Result<Vec<u8>, Error> {
    manifest::embed(component, plugin_toml).map_err(|error| {
        Error::plugin(Fault::of_file(Path::new("plugin.toml"), "the manifest cannot be written").because(error))
    })
}

/// Reads a `plugin.toml`, as [`embed_manifest`] will.
///
/// # Errors
///
/// Fails when a key is unknown, missing or wrong.
pub fn read_manifest(plugin_toml: &str) -> Result<Manifest, Error> {
    Manifest::parse(plugin_toml).map_err(|error| {
        Error::plugin(Fault::of_file(Path::new("plugin.toml"), "the manifest cannot be used").because(error))
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| {
        let fault = Fault::of_file(file, "cannot read the plugin").because(error);
        Error::plugin(fault.hint("give a component, a `.wasm` file; `tunesmith plugin build FOLDER` makes one"))
    })
}

fn inspect(file: &Path, bytes: &[u8]) -> Result<PluginReport, Error> {
    let limits = Limits::default();
    let outline = tunesmith_plugin::inspect(bytes, &limits)
        .map_err(|error| Error::plugin(Fault::of_file(file, "this is no plugin").because(error)))?;
    let mut faults = Vec::new();
    let manifest = match Manifest::read(bytes, &limits) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            faults.push(chain(&error));
            None
        }
    };
    Ok(PluginReport {
        digest: digest::of(bytes),
        bytes: bytes.len() as u64,
        manifest,
        stages: outline.stages(),
        has_state: outline.has_state(),
        grants: needed(&outline).iter().map(|grant| grant.name().to_owned()).collect(),
        imports: outline
            .imports
            .into_iter()
            .map(|import| PluginImport { name: import.name, functions: import.functions })
            .collect(),
        exports: outline.exports,
        faults,
    })
}

/// An error and its causes as one text.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
