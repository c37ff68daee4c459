//! Builds every plugin into a component beside its folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::files::{cargo_home, folders_with};
use crate::shell;
use crate::wasm_std::WasmStd;

const TARGET: &str = "wasm32-unknown-unknown";
const HINT: &str = "the compiler's message stands above";

/// Builds the host, then `plugins/*/` and `tests/components/*/`; cargo does again only what has changed.
pub(crate) fn build_all(std: &WasmStd) -> Result<()> {
    shell::say("building the host, which builds plugins");
    // The selection that `cargo test --workspace` makes: with a smaller one cargo would choose other features for some
    // dependencies, and build all that stands on them a second time for the tests.
    shell::run(shell::cargo().args(["build", "--workspace", "--all-targets"]), HINT)?;
    let mut folders = folders_with(&crate::root().join("plugins"), "Cargo.toml")?;
    folders.extend(folders_with(&crate::root().join("tests").join("components"), "Cargo.toml")?);
    shell::say(&format!("building {} components", folders.len()));
    for folder in folders {
        if folder.join("plugin.toml").is_file() {
            with_manifest(std, &folder)?;
        } else {
            without_manifest(std, &folder)?;
        }
    }
    Ok(())
}

/// A plugin: `tunesmith plugin build` compiles it and puts its manifest in.
fn with_manifest(std: &WasmStd, folder: &Path) -> Result<()> {
    let mut command = shell::tunesmith();
    command.args(["plugin", "build"]).arg(folder).arg("--output").arg(folder.with_extension("wasm"));
    command.arg("--target-dir").arg(target());
    if let WasmStd::Built(sysroot) = std {
        command.arg("--sysroot").arg(sysroot);
    }
    shell::run(&mut command, HINT)
}

/// A component that tests need as it comes from the compiler.
fn without_manifest(std: &WasmStd, folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The flags of `tunesmith plugin build`, so that both share the dependencies they have built.
    let mut flags = vec!["-Clinker=wasm-component-ld".to_owned(), "-Ctarget-feature=+simd128".to_owned()];
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    if let WasmStd::Built(sysroot) = std {
        flags.push(format!("--sysroot={}", sysroot.display()));
    }
    let mut command = shell::cargo();
    command.args(["build", "--quiet", "--profile", "plugin", "--target", TARGET]).arg("--target-dir").arg(target());
    command.arg("--manifest-path").arg(folder.join("Cargo.toml"));
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    shell::run(&mut command, HINT)?;
    let made = target().join(TARGET).join("plugin").join(format!("{}.wasm", name.replace('-', "_")));
    let wanted = folder.with_extension("wasm");
    fs::copy(&made, &wanted).with_context(|| format!("cannot copy `{}` to `{}`", made.display(), wanted.display()))?;
    shell::say(&format!("{}: without a manifest", wanted.display()));
    Ok(())
}

/// Where cargo keeps its work for plugins, apart from the host's: neither waits for the other's lock or throws its work away.
fn target() -> PathBuf {
    shell::target().join("plugins")
}
