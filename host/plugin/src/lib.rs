//! Runs method plugins: WebAssembly components that decide how a language model is fine-tuned.
//!
//! A plugin is untrusted. It gets the data of its stage, seeded random numbers and a log; whatever else it may use is granted by name
//! ([`Grants`]), and whatever it uses up is limited ([`Limits`]). It is checked and compiled by [`Plugin::load`]; its stages are then
//! trait objects of [`tunesmith_core::stage`], and nothing else of this crate is needed to call them:
//!
//! ```no_run
//! use tunesmith_core::call::Call;
//! use tunesmith_plugin::{Engine, EngineOptions, LoadOptions, Plugin};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (bytes, cases) = (Vec::new(), std::sync::Arc::default());
//! let engine = Engine::new(&EngineOptions::default())?;
//! let plugin = Plugin::load(&engine, "match", &bytes, LoadOptions::default())?;
//! let judge = plugin.judge().ok_or("no judge")?;
//! let verdicts = judge.judge(cases, &mut Call::new(17, 0))?;
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows tensors only through [`tunesmith_core::tensors::Tensors`], so it embeds with any tensor library, or with none.
//! It prints nothing and reads no environment.

mod error;
mod grants;
mod limits;
pub mod manifest;
mod outline;
mod plugin;
mod settings;
mod text;
mod wasm;

pub use self::error::{EngineError, LoadError};
pub use self::grants::{Grant, Grants, UnknownGrant, needed};
pub use self::limits::Limits;
pub use self::manifest::{Manifest, ManifestError};
pub use self::outline::{ComponentError, Import, Item, Outline, WIT_VERSION, read as inspect};
pub use self::plugin::{LoadOptions, Plugin};
pub use self::settings::{SettingsError, resolve as resolve_settings};
pub use self::wasm::engine::{Engine, EngineOptions};
pub use self::wasm::fault::{Cause, Fault};
