//! A loaded plugin.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use tunesmith_core::digest;
use tunesmith_core::extra::ExtraParameter;
use tunesmith_core::memory::Memory;
use tunesmith_core::stage::{Answer, Credit, Curate, Edit, Judge, Measure, Objective, Retain, Reward, Stage, Weigh};

use crate::error::LoadError;
use crate::grants::{self, Grants};
use crate::limits::Limits;
use crate::manifest::{Manifest, ManifestError};
use crate::outline::{self, Item, Outline};
use crate::settings;
use crate::text;
use crate::wasm::engine::Engine;
use crate::wasm::v0_1::{Adapters, Identity, WasmPlugin};

/// How to load a plugin.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// What the plugin may use beyond its own data. Nothing by default.
    pub grants: Grants,
    /// The recipe's settings for the plugin.
    pub settings: Map<String, Value>,
    /// What the plugin may use up.
    pub limits: Limits,
}

/// A plugin, checked and compiled. Cheap to clone; may be called from several threads at once.
///
/// Each call runs on a fresh instance, so a call that fails leaves the plugin usable.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
}

struct Inner {
    digest: String,
    manifest: Manifest,
    stages: Vec<Stage>,
    settings: Map<String, Value>,
    parameters: Vec<ExtraParameter>,
    is_from_cache: bool,
    adapters: Adapters,
    component: Arc<WasmPlugin>,
}

impl Plugin {
    /// Checks and compiles a plugin. Everything is checked before anything is compiled, and nothing of it is executed.
    ///
    /// With a cache that has this very plugin, validating and compiling it are spared; contract, manifest, grants and settings are not.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are no component of this contract, the manifest is missing or not true, something is imported that is
    /// not granted, or the settings break the plugin's schema.
    pub fn load(engine: &Engine, name: &str, bytes: &[u8], options: LoadOptions) -> Result<Self, LoadError> {
        let plugin = || name.to_owned();
        let LoadOptions { grants, settings, limits } = options;
        let unusable = |source| LoadError::Component { plugin: plugin(), source };
        outline::expect_component(bytes, &limits).map_err(unusable)?;
        let digest = digest::of(bytes);
        let known = engine.recall(&digest);
        let is_from_cache = known.is_some();
        let outline = match &known {
            Some(known) => known.outline.clone(),
            None => outline::read(bytes, &limits).map_err(unusable)?,
        };
        expect_contract(name, &outline)?;
        let broken = |source: ManifestError| LoadError::Manifest { plugin: plugin(), source };
        let manifest = Manifest::read(bytes, &limits).map_err(broken)?;
        manifest.matches(&outline).map_err(broken)?;
        expect_granted(name, &outline, &grants)?;
        let unsettled = |source| LoadError::Settings { plugin: plugin(), source };
        let settings = settings::resolve(&manifest, &settings).map_err(unsettled)?;
        let parameters = manifest.trainable(&settings).map_err(unsettled)?;

        let stages = outline.stages();
        let unfit = |error: wasmtime::Error| LoadError::Incompatible {
            plugin: plugin(),
            what: text::escape(&format!("{error:#}"), 1_000),
        };
        let component = match known {
            Some(known) => known.component,
            None => engine.compile(&digest, bytes, &outline).map_err(unfit)?,
        };
        let json = Value::Object(settings.clone()).to_string();
        let identity = Identity { name: plugin(), grants, settings: json, limits };
        let component = Arc::new(WasmPlugin::link(engine, &component, &outline, identity).map_err(unfit)?);
        let adapters = Adapters::new(&component, &stages).map_err(unfit)?;
        let inner = Inner { digest, manifest, stages, settings, parameters, is_from_cache, adapters, component };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The name in the recipe.
    pub fn name(&self) -> &str {
        &self.inner.component.identity.name
    }

    /// The digest of the file.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// Who and what the plugin is.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// The settings, with defaults filled in.
    pub fn settings(&self) -> &Map<String, Value> {
        &self.inner.settings
    }

    /// The extra parameters that the plugin's objective trains, under its settings.
    pub fn parameters(&self) -> &[ExtraParameter] {
        &self.inner.parameters
    }

    /// What the plugin was granted.
    pub fn grants(&self) -> &Grants {
        &self.inner.component.identity.grants
    }

    /// The stages that the plugin exports, in the order of the data flow.
    pub fn stages(&self) -> &[Stage] {
        &self.inner.stages
    }

    /// Whether the compiled code came from the cache.
    pub fn is_from_cache(&self) -> bool {
        self.inner.is_from_cache
    }

    /// The state that the plugin keeps between calls, for checkpoints. None if it keeps none, or was not called yet.
    pub fn state(&self) -> Option<Vec<u8>> {
        self.inner.component.save().map(|blob| blob.to_vec())
    }

    /// Replaces the state that the plugin keeps between calls, as a checkpoint has it. Nothing happens for plugins without state.
    pub fn set_state(&self, state: Option<Vec<u8>>) {
        self.inner.component.restore(state);
    }

    /// What the plugin keeps between its calls, for whoever saves and restores whole runs; none if it exports no `state`.
    /// Clones of a plugin share it.
    pub fn memory(&self) -> Option<Arc<dyn Memory>> {
        self.inner.component.has_memory().then(|| Arc::clone(&self.inner.component) as _)
    }

    /// The plugin in stage `curate`, if it exports it.
    pub fn curate(&self) -> Option<Arc<dyn Curate>> {
        self.inner.adapters.curate.clone()
    }

    /// The plugin in stage `judge`, if it exports it.
    pub fn judge(&self) -> Option<Arc<dyn Judge>> {
        self.inner.adapters.judge.clone()
    }

    /// The plugin in stage `reward`, if it exports it.
    pub fn reward(&self) -> Option<Arc<dyn Reward>> {
        self.inner.adapters.reward.clone()
    }

    /// The plugin in stage `credit`, if it exports it.
    pub fn credit(&self) -> Option<Arc<dyn Credit>> {
        self.inner.adapters.credit.clone()
    }

    /// The plugin in stage `weigh`, if it exports it.
    pub fn weigh(&self) -> Option<Arc<dyn Weigh>> {
        self.inner.adapters.weigh.clone()
    }

    /// The plugin in stage `objective`, if it exports it.
    pub fn objective(&self) -> Option<Arc<dyn Objective>> {
        self.inner.adapters.objective.clone()
    }

    /// The plugin in stage `edit`, if it exports it.
    pub fn edit(&self) -> Option<Arc<dyn Edit>> {
        self.inner.adapters.edit.clone()
    }

    /// The plugin in stage `measure`, if it exports it.
    pub fn measure(&self) -> Option<Arc<dyn Measure>> {
        self.inner.adapters.measure.clone()
    }

    /// The plugin in stage `answer`, if it exports it.
    pub fn answer(&self) -> Option<Arc<dyn Answer>> {
        self.inner.adapters.answer.clone()
    }

    /// The plugin in stage `retain`, if it exports it.
    pub fn retain(&self) -> Option<Arc<dyn Retain>> {
        self.inner.adapters.retain.clone()
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<&str> = self.stages().iter().map(|stage| stage.name()).collect();
        formatter.debug_struct("Plugin").field("name", &self.name()).field("stages", &stages).finish_non_exhaustive()
    }
}

/// Fails when something is imported from outside the contract, is of an unknown version, or no stage is exported.
fn expect_contract(name: &str, outline: &Outline) -> Result<(), LoadError> {
    let plugin = name.to_owned();
    if let Some(import) = outline.imports.iter().find(|import| import.item == Item::Foreign) {
        return Err(LoadError::Foreign { plugin, import: text::name(&import.name) });
    }
    let names = outline.imports.iter().map(|import| &import.name).chain(&outline.exports);
    if let Some(item) = names.into_iter().find(|name| Item::of(name).is_of_unknown_version()) {
        return Err(LoadError::Version { plugin, item: text::name(item) });
    }
    if outline.stages().is_empty() {
        let exports: Vec<String> =
            outline.exports.iter().take(20).map(|name| format!("`{}`", text::name(name))).collect();
        let exports = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        return Err(LoadError::NoStage { plugin, exports });
    }
    Ok(())
}

fn expect_granted(name: &str, outline: &Outline, granted: &Grants) -> Result<(), LoadError> {
    let lacks = grants::lacks(outline, granted);
    if lacks.is_empty() {
        return Ok(());
    }
    let missing = grants::missing(&lacks);
    let functions = lacks.iter().map(|lack| format!("`{}`", text::name(&lack.function))).collect::<Vec<_>>().join(", ");
    let wanted = granted.iter().chain(missing.iter()).collect();
    Err(LoadError::Ungranted { plugin: name.to_owned(), missing, wanted, functions })
}
