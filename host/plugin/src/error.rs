//! Why a plugin cannot be loaded.

use tunesmith_core::stage::Stage;

use crate::grants::Grants;
use crate::manifest::ManifestError;
use crate::outline::{ComponentError, WIT_VERSION};
use crate::settings::SettingsError;

/// Why a plugin cannot be loaded. Nothing of it was executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are no component that this host compiles. Fix the file.
    #[error("plugin `{plugin}` cannot be loaded")]
    Component {
        /// The plugin's name in the recipe.
        plugin: String,
        /// What is wrong.
        #[source]
        source: ComponentError,
    },
    /// The manifest is missing, broken, or not true. Fix the plugin.
    #[error("plugin `{plugin}` has no usable manifest")]
    Manifest {
        /// The plugin's name in the recipe.
        plugin: String,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// The component was built for a contract that this host does not speak.
    #[error(
        "plugin `{plugin}` uses `{item}`, a version that this host does not know\nhint: this host speaks tunesmith:method {WIT_VERSION} and every other 0.1.x"
    )]
    Version {
        /// The plugin's name in the recipe.
        plugin: String,
        /// The import or export.
        item: String,
    },
    /// The component exports no stage.
    #[error(
        "plugin `{plugin}` exports no stage\nhint: a plugin exports at least one of {}; it exports {exports}",
        stage_names()
    )]
    NoStage {
        /// The plugin's name in the recipe.
        plugin: String,
        /// What it exports.
        exports: String,
    },
    /// The component wants something from outside the plugin contract.
    #[error(
        "plugin `{plugin}` imports `{import}`, which does not exist here\nhint: plugins live in a closed world without files, clock, network and environment; build for a target without WASI, or with stubs for it"
    )]
    Foreign {
        /// The plugin's name in the recipe.
        plugin: String,
        /// The import.
        import: String,
    },
    /// The component imports functions that nobody granted. Fix the recipe, or distrust the plugin.
    #[error(
        "plugin `{plugin}` needs {missing}, which the recipe does not grant: it imports {functions}\nhint: if it may have that, give it in the recipe's [plugins]: {plugin} = {{ path = \"...\", grants = {wanted} }}"
    )]
    Ungranted {
        /// The plugin's name in the recipe.
        plugin: String,
        /// The grants that are missing.
        missing: Grants,
        /// The grants that the recipe should list.
        wanted: Grants,
        /// The functions that need them.
        functions: String,
    },
    /// The settings break the plugin's schema. Fix the recipe.
    #[error("plugin `{plugin}` cannot use its settings")]
    Settings {
        /// The plugin's name in the recipe.
        plugin: String,
        /// What is wrong.
        #[source]
        source: SettingsError,
    },
    /// The component is valid but does not compile, or does not fit the contract's types.
    #[error(
        "plugin `{plugin}` does not fit this host: {what}\nhint: build it against the `wit/` of tunesmith:method {WIT_VERSION}"
    )]
    Incompatible {
        /// The plugin's name in the recipe.
        plugin: String,
        /// What does not fit.
        what: String,
    },
}

fn stage_names() -> String {
    Stage::ALL.iter().map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", ")
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// This machine cannot run WebAssembly as configured.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The thread that keeps the time cannot be started.
    #[error("the thread behind deadlines does not start")]
    Ticker(#[source] std::io::Error),
    /// The cache folder cannot be made, or others could write to it.
    #[error(
        "the cache folder `{folder}` cannot be used: {what}\nhint: give a folder that only you can write to, or none"
    )]
    Cache {
        /// The folder.
        folder: String,
        /// What is wrong with it.
        what: String,
    },
}
