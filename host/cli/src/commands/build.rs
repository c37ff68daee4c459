//! `plugin build`: cargo makes a component, the manifest goes into it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::BadInput;
use crate::arguments::Build;
use crate::environment;
use crate::files::replace;
use crate::terminal::{one_line, print};

const TARGET: &str = "wasm32-unknown-unknown";
const RUST_HINT: &str = "hint: building a plugin needs Rust: https://rustup.rs";

/// How plugins are built, whatever the workspace says: small, fast, and with function names for backtraces.
const PROFILE: [&str; 6] = [
    "profile.plugin.inherits=\"release\"",
    "profile.plugin.opt-level=3",
    "profile.plugin.lto=true",
    "profile.plugin.codegen-units=1",
    "profile.plugin.panic=\"abort\"",
    "profile.plugin.strip=\"debuginfo\"",
];

pub(crate) fn run(build: &Build) -> Result<()> {
    let folder = fs::canonicalize(&build.folder)
        .with_context(|| BadInput(format!("cannot find the plugin's folder `{}`", build.folder.display())))?;
    let (plugin_toml, name) = manifest(&folder)?;
    let cargo_toml = folder.join("Cargo.toml");
    if !cargo_toml.is_file() {
        let what = format!("`{}` has no `Cargo.toml`\nhint: give the folder of a Rust plugin", folder.display());
        return Err(BadInput(what).into());
    }
    let sysroot = sysroot(build.sysroot.as_deref())?;
    let made = compile(&cargo_toml, sysroot.as_deref(), build.target_dir.as_deref())?;
    let component = fs::read(&made).with_context(|| format!("cannot read `{}`", made.display()))?;
    let plugin = tunesmith::embed_manifest(&component, &plugin_toml)
        .with_context(|| BadInput(format!("the manifest does not fit `{}`", folder.display())))?;
    let output =
        build.output.clone().unwrap_or_else(|| folder.parent().unwrap_or(&folder).join(format!("{name}.wasm")));
    replace(&output, &plugin)?;
    let kilobytes = plugin.len() as f64 / 1e3;
    print(&format!(
        "{}: {kilobytes:.1} kB, sha256 {}",
        one_line(&output.display().to_string()),
        tunesmith::digest(&plugin)
    ))?;
    Ok(())
}

/// The text of `plugin.toml`, checked, and the plugin's name.
fn manifest(folder: &Path) -> Result<(String, String)> {
    let path = folder.join("plugin.toml");
    let text = fs::read_to_string(&path).with_context(|| {
        BadInput(format!(
            "cannot read `{}`\nhint: a plugin says there what it is: name, version, stages, settings",
            path.display()
        ))
    })?;
    let manifest =
        tunesmith::read_manifest(&text).with_context(|| BadInput(format!("`{}` is wrong", path.display())))?;
    Ok((text, manifest.name))
}

/// The sysroot to be named to the compiler, if it is not the compiler's own.
pub(crate) fn sysroot(given: Option<&Path>) -> Result<Option<PathBuf>> {
    let has_std = |sysroot: &Path| {
        let folder = sysroot.join("lib").join("rustlib").join(TARGET).join("lib");
        fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        })
    };
    if let Some(given) = given {
        let given = std::path::absolute(given)?;
        if has_std(&given) {
            return Ok(Some(given));
        }
        let what = format!(
            "`{}` holds no standard library for {TARGET}\nhint: `cargo xtask setup` makes such a sysroot",
            given.display()
        );
        return Err(BadInput(what).into());
    }
    if has_std(Path::new(&rustc(&["--print", "sysroot"])?)) {
        return Ok(None);
    }
    let version = rustc(&["-vV"])?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    if let Some(built) = commit.and_then(environment::built_std).filter(|built| has_std(built)) {
        return Ok(Some(std::path::absolute(built)?));
    }
    let what = format!(
        "the compiler has no standard library for {TARGET}\nhint: `rustup target add {TARGET}` installs it; where that cannot be, \
         `cargo xtask setup` in Tunesmith's repository builds it"
    );
    Err(BadInput(what).into())
}

/// What the compiler says.
fn rustc(arguments: &[&str]) -> Result<String> {
    let rustc = environment::rustc();
    let fault = || BadInput(format!("cannot run `{}`\n{RUST_HINT}", rustc.display()));
    let output = Command::new(&rustc).args(arguments).output().with_context(fault)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs cargo and returns the component that it made.
fn compile(cargo_toml: &Path, sysroot: Option<&Path>, target_dir: Option<&Path>) -> Result<PathBuf> {
    let cargo = environment::cargo();
    let mut command = Command::new(&cargo);
    command.args(["build", "--profile", "plugin", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    command.arg("--manifest-path").arg(cargo_toml);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    if let Some(folder) = target_dir {
        command.arg("--target-dir").arg(std::path::absolute(folder)?);
    }
    // Cargo looks for its own settings from where it is run, not from where the manifest lies.
    command.current_dir(cargo_toml.parent().unwrap_or(cargo_toml));
    // Whatever flags the environment has for the host must not change a plugin's bytes.
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags(sysroot)).stdout(Stdio::piped());
    let mut child =
        command.spawn().with_context(|| BadInput(format!("cannot run `{}`\n{RUST_HINT}", cargo.display())))?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut made = None;
    for line in BufReader::new(stdout).lines() {
        made = component(&line.context("cannot read what cargo says")?, cargo_toml).or(made);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    anyhow::ensure!(status.success(), "the plugin does not build: cargo ended with {status}");
    made.ok_or_else(|| {
        let hint = "hint: add `[lib]` with `crate-type = [\"cdylib\"]` to its `Cargo.toml`";
        BadInput(format!("`{}` builds, but makes no component\n{hint}", cargo_toml.display())).into()
    })
}

/// The compiler's flags, as cargo wants them encoded.
fn flags(sysroot: Option<&Path>) -> String {
    let mut flags = vec!["-Clinker=wasm-component-ld".to_owned(), "-Ctarget-feature=+simd128".to_owned()];
    // Panic messages hold paths of sources; a plugin's digest must not depend on whose machine built it.
    if let Some(home) = environment::cargo_home() {
        let sources = home.join("registry").join("src");
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
        // Each folder there has the name of a registry, which differs where crates come from a mirror. The last prefix that fits counts.
        let mut registries: Vec<PathBuf> =
            fs::read_dir(&sources).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        registries.sort();
        flags.extend(
            registries.iter().map(|folder| format!("--remap-path-prefix={}=/cargo/registry", folder.display())),
        );
    }
    if let Some(sysroot) = sysroot {
        flags.push(format!("--sysroot={}", sysroot.display()));
    }
    flags.join("\u{1f}")
}

/// The component that this line of cargo's says it made of this package.
fn component(line: &str, cargo_toml: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["reason"] == "compiler-artifact"
        && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == cargo_toml);
    if !is_ours {
        return None;
    }
    let files = message["filenames"].as_array()?;
    let mut paths = files.iter().filter_map(Value::as_str).map(PathBuf::from);
    paths.find(|path| path.extension().is_some_and(|extension| extension == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_packages_own_component_counts() {
        let line =
            r#"{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml","filenames":["/t/p.rlib","/t/p.wasm"]}"#;
        assert_eq!(component(line, Path::new("/p/Cargo.toml")), Some("/t/p.wasm".into()));
        assert_eq!(component(line, Path::new("/q/Cargo.toml")), None);
        assert_eq!(component("warning: text", Path::new("/p/Cargo.toml")), None);
    }

    #[test]
    fn flags_turn_simd_on() {
        assert!(flags(Some(Path::new("/s"))).contains("+simd128"));
        assert!(flags(Some(Path::new("/s"))).ends_with("\u{1f}--sysroot=/s"));
    }
}
