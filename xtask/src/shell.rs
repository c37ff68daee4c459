//! Runs other programs and says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// One line about what happens now.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// The cargo that runs us, in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    // `cargo run` describes xtask in the environment; build scripts that watch these would run again for nothing.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Cargo's folder for what it builds.
pub(crate) fn target() -> PathBuf {
    // `join` keeps a full path as it is, as cargo does.
    crate::root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The command line of Tunesmith, which [`crate::plugins::build_all`] has built.
///
/// Not `cargo run --package`: cargo chooses the features of dependencies by what is selected, and would build many of them again.
pub(crate) fn tunesmith() -> Command {
    let name = format!("tunesmith{}", std::env::consts::EXE_SUFFIX);
    let mut command = Command::new(target().join("debug").join(name));
    command.current_dir(crate::root());
    command
}

/// Runs a program whose output the user sees; fails with `hint` unless it ends well.
pub(crate) fn run(command: &mut Command, hint: &str) -> Result<()> {
    let name = shown(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {name}\nhint: {hint}"))?;
    if !status.success() {
        bail!("{name} ended with {status}\nhint: {hint}");
    }
    Ok(())
}

/// What a program prints, without the last line feed; fails with `hint` unless it ends well.
pub(crate) fn output(command: &mut Command, hint: &str) -> Result<String> {
    let name = shown(command);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {name}\nhint: {hint}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}\nhint: {hint}", output.status);
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("{name} printed no UTF-8"))?;
    Ok(text.trim_end().to_owned())
}

/// Whether a program ended well within `limit`; it is stopped at the limit.
pub(crate) fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).spawn() else {
        return false;
    };
    let end = Instant::now() + limit;
    while Instant::now() < end {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(Duration::from_millis(100)),
            Err(_) => break,
        }
    }
    // Both fail only when the program has ended meanwhile.
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Program and first arguments, for messages.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy();
    let arguments: Vec<_> = command.get_args().take(2).map(|argument| argument.to_string_lossy()).collect();
    format!("`{name} {}`", arguments.join(" "))
}
