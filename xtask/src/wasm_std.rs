//! Rust's standard library for `wasm32-unknown-unknown`: the toolchain's own, rustup's, or one built here from pinned sources.
//!
//! Building uses `-Zbuild-std`, which stable cargo accepts only with `RUSTC_BOOTSTRAP`, and a test switch of cargo that says where
//! the sources are. Both are used for this one build; plugins are then built with the ordinary commands and `--sysroot`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::files::{Draft, cache, cargo_home, remove};
use crate::pins::{Pins, RustSource, verify};
use crate::shell::{self, output, say, succeeds_within};

const TARGET: &str = "wasm32-unknown-unknown";
/// A download of 20 MB; where there is no network rustup gives up within seconds by itself.
const RUSTUP_LIMIT: Duration = Duration::from_mins(3);
const RUSTC_HINT: &str = "install Rust 1.95 or newer: https://rustup.rs";

/// Where plugins find their standard library.
pub(crate) enum WasmStd {
    /// In the toolchain.
    Own,
    /// In this sysroot.
    Built(PathBuf),
}

/// The compiler in use.
struct Compiler {
    sysroot: PathBuf,
    release: String,
    commit: String,
}

impl Compiler {
    fn find() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ask =
            |arguments: &[&str]| output(Command::new(&rustc).current_dir(crate::root()).args(arguments), RUSTC_HINT);
        let version = ask(&["-vV"])?;
        let field = |name: &str| {
            let value = version.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::to_owned).with_context(|| format!("`rustc -vV` says no `{name}`"))
        };
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
        Ok(Self { sysroot, release: field("release: ")?, commit: field("commit-hash: ")? })
    }
}

/// Finds the standard library, or gets it: from the toolchain, the cache, rustup, or sources.
pub(crate) fn ready() -> Result<WasmStd> {
    let compiler = Compiler::find()?;
    if has_std(&compiler.sysroot) {
        say(&format!("the toolchain has the standard library for {TARGET}"));
        return Ok(WasmStd::Own);
    }
    let built = cache()?.join(format!("wasm-std-{}", compiler.commit));
    if has_std(&built) {
        say(&format!("using the standard library in {}", built.display()));
        return Ok(WasmStd::Built(built));
    }
    say(&format!("getting the standard library for {TARGET} with rustup"));
    let mut rustup = Command::new("rustup");
    rustup.current_dir(crate::root()).args(["target", "add", TARGET]);
    if succeeds_within(&mut rustup, RUSTUP_LIMIT) && has_std(&compiler.sysroot) {
        return Ok(WasmStd::Own);
    }
    say("rustup could not; building it from sources (once, about a minute)");
    build(&compiler, &built).with_context(|| both_ways(&compiler))?;
    Ok(WasmStd::Built(built))
}

/// What a person can do when nothing worked.
fn both_ways(compiler: &Compiler) -> String {
    format!(
        "there is no standard library for {TARGET}, and plugins need it. Two ways to mend that:\n  \
         1. where Rust's servers can be reached: `rustup target add {TARGET}`\n  \
         2. elsewhere: a compiler of the release that `pins.toml` names under `rust-src` (this one is {}) and that file, \
         from the mirror of Debian that apt is set up with or put into the cache folder by hand",
        compiler.release
    )
}

fn libraries(sysroot: &Path) -> PathBuf {
    sysroot.join("lib").join("rustlib").join(TARGET).join("lib")
}

fn has_std(sysroot: &Path) -> bool {
    fs::read_dir(libraries(sysroot))
        .is_ok_and(|files| files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

/// Builds the standard library into the new sysroot `wanted`.
fn build(compiler: &Compiler, wanted: &Path) -> Result<()> {
    let draft = Draft::of(wanted)?;
    let work = draft.path.join("work");
    let sources = sources(compiler, &work)?;
    say("building the standard library");
    let stub = stub(&work)?;
    shell::run(&mut build_std(compiler, &sources, &stub), "the compiler's message stands above")?;
    let made = stub.join("target").join(TARGET).join("release").join("deps");
    let libraries = libraries(&draft.path);
    fs::create_dir_all(&libraries).with_context(|| format!("cannot create `{}`", libraries.display()))?;
    for entry in fs::read_dir(&made).with_context(|| format!("cannot read `{}`", made.display()))?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".rlib") && !text.starts_with("libstub-") {
            let copied = fs::copy(entry.path(), libraries.join(&name));
            copied.with_context(|| format!("cannot copy `{}`", entry.path().display()))?;
        }
    }
    ensure!(has_std(&draft.path), "the build made no standard library");
    remove(&work)?;
    draft.finish()
}

/// The folder `library` of the compiler's own sources: those of rustup if they are installed, else the pinned ones.
fn sources(compiler: &Compiler, work: &Path) -> Result<PathBuf> {
    let own = compiler.sysroot.join("lib").join("rustlib").join("src").join("rust").join("library");
    if own.join("Cargo.lock").is_file() {
        return Ok(own);
    }
    let pin = Pins::read()?.rust_src;
    ensure!(
        pin.rustc == compiler.release,
        "`pins.toml` names the sources of Rust {}, the compiler is {}",
        pin.rustc,
        compiler.release
    );
    let package = download(&pin)?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&package).arg(work);
    shell::run(&mut unpack, "dpkg-deb is part of Debian and its descendants")?;
    let library = work.join("usr/src").join(format!("rustc-{}", pin.rustc)).join("library");
    ensure!(library.join("Cargo.lock").is_file(), "`{}` holds no `library/Cargo.lock`", package.display());
    Ok(library)
}

/// The pinned package in the cache, downloaded from the first of apt's mirrors that has it.
fn download(pin: &RustSource) -> Result<PathBuf> {
    let path = cache()?.join(&pin.file);
    if path.is_file() {
        verify(&path, pin.bytes, &pin.sha256)?;
        return Ok(path);
    }
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"]);
    let sites = output(&mut ask, "the sources come from the mirror that apt is set up with, and there is no apt")?;
    let mut sites: Vec<&str> = sites.lines().collect();
    sites.sort_unstable();
    sites.dedup();
    let part = path.with_extension(format!("part-{}", std::process::id()));
    for site in sites {
        say(&format!("fetching {} ({} MB) from apt's mirror", pin.file, pin.bytes / 1_000_000));
        // apt's own downloader knows its proxies and keys, and checks the digest.
        let mut fetch = Command::new("/usr/lib/apt/apt-helper");
        fetch.args(["-o", "APT::Sandbox::User=root", "download-file"]);
        fetch.arg(format!("{}/{}{}", site.trim_end_matches('/'), pin.path, pin.file)).arg(&part);
        fetch.arg(format!("SHA256:{}", pin.sha256));
        if shell::run(&mut fetch, "trying the next mirror").is_ok() && part.is_file() {
            verify(&part, pin.bytes, &pin.sha256)?;
            fs::rename(&part, &path).with_context(|| format!("cannot create `{}`", path.display()))?;
            return Ok(path);
        }
        let _ = fs::remove_file(&part);
    }
    bail!("no mirror of apt has `{}{}`", pin.path, pin.file)
}

/// A crate with nothing in it, which cargo builds the standard library for.
fn stub(work: &Path) -> Result<PathBuf> {
    let folder = work.join("stub");
    let manifest =
        "[package]\nname = \"stub\"\nedition = \"2021\"\n[profile.release]\ncodegen-units = 1\n[workspace]\n";
    let written = fs::create_dir_all(folder.join("src"))
        .and_then(|()| fs::write(folder.join("src/lib.rs"), ""))
        .and_then(|()| fs::write(folder.join("Cargo.toml"), manifest));
    written.with_context(|| format!("cannot write `{}`", folder.display()))?;
    Ok(folder)
}

fn build_std(compiler: &Compiler, sources: &Path, stub: &Path) -> Command {
    let vendor = sources.join("vendor");
    // Paths of this machine must not get into a plugin's bytes; plugins with `lto` need the bitcode.
    let mut flags = vec![
        "-Cembed-bitcode=yes".to_owned(),
        format!("--remap-path-prefix={}=/rustc/{}/library", sources.display(), compiler.commit),
    ];
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    let bin = compiler.sysroot.join("bin");
    let mut command = Command::new(bin.join("cargo"));
    command.current_dir(stub).args([
        "build",
        "--quiet",
        "--release",
        "--target",
        TARGET,
        "-Zbuild-std=std,panic_abort",
    ]);
    command.arg("--target-dir").arg(stub.join("target"));
    if vendor.is_dir() {
        let folder = toml::Value::String(vendor.display().to_string());
        command.args(["--offline", "--config", "source.crates-io.replace-with=\"vendor\"", "--config"]);
        command.arg(format!("source.vendor.directory={folder}"));
    }
    command.env("RUSTC", bin.join("rustc")).env("RUSTC_BOOTSTRAP", "1");
    command.env("__CARGO_TESTS_ONLY_SRC_ROOT", sources);
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command
}
