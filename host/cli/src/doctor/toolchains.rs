//! Compilers and interpreters that plugins are written for.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Check, Need};
use crate::commands::build;
use crate::environment;

/// The oldest compiler that builds Tunesmith and its plugins: major and minor.
const OLDEST_RUST: (u32, u32) = (1, 95);
const RUSTUP: &str = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh";

/// Rust, for plugins.
pub(super) fn rust() -> Vec<Check> {
    let need = Need::RustPlugins;
    let mut checks = Vec::new();
    for (name, program) in [("cargo", environment::cargo()), ("rustc", environment::rustc())] {
        let version = first_line(Command::new(&program).arg("--version"));
        checks.push(match version {
            None => Check::missing(need, name, format!("`{}` cannot be run", program.display()), RUSTUP),
            Some(told) if is_old(&told) => {
                let (major, minor) = OLDEST_RUST;
                Check::missing(need, name, format!("{told}: older than {major}.{minor}"), "rustup update stable")
            }
            Some(told) => Check::fine(need, name, told),
        });
    }
    let std = "standard library for wasm32";
    checks.push(match build::sysroot(None) {
        Ok(None) => Check::fine(need, std, "the compiler has it"),
        Ok(Some(built)) => Check::fine(need, std, format!("built from sources: {}", built.display())),
        Err(_) => {
            let mend = "rustup target add wasm32-unknown-unknown (where that cannot be: cargo xtask setup, in a checkout of Tunesmith)";
            Check::missing(need, std, "the compiler has none for wasm32-unknown-unknown", mend)
        }
    });
    let linker = "linker of components";
    checks.push(match component_linker() {
        Some(path) => Check::fine(need, linker, path.display().to_string()),
        None => Check::missing(need, linker, "there is no `wasm-component-ld`", "cargo install wasm-component-ld"),
    });
    checks
}

/// Whether a version such as `rustc 1.95.0 (59807616e 2026-04-14)` is too old.
fn is_old(told: &str) -> bool {
    let mut numbers = told.split_whitespace().nth(1).unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < OLDEST_RUST,
        _ => false,
    }
}

/// The linker, which comes with the compiler or is on the path.
fn component_linker() -> Option<PathBuf> {
    let name = format!("wasm-component-ld{}", std::env::consts::EXE_SUFFIX);
    let rustc = environment::rustc();
    let own = || {
        let sysroot = first_line(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let host = first_line(Command::new(&rustc).args(["--print", "host-tuple"]))?;
        let path = PathBuf::from(sysroot).join("lib").join("rustlib").join(host).join("bin").join(&name);
        path.is_file().then_some(path)
    };
    own().or_else(|| environment::on_path(&name))
}

/// What building the feature `cuda` needs: a bundle of LLVM, which its build script fetches where it can.
pub(super) fn llvm() -> Option<Check> {
    if cfg!(feature = "cuda") {
        return None;
    }
    let folder = environment::llvm_bundle()?;
    let name = "LLVM, to build with cuda";
    let shown = folder.display();
    Some(if folder.join(".tracel-llvm-installed").is_file() {
        Check::fine(Need::Cuda, name, shown.to_string())
    } else {
        let mend = "cargo build --package tunesmith-cli --features cuda (its build script fetches the bundle from GitHub; without a network, \
                    xtask/scripts/cuda_llvm.py makes it)";
        Check::missing(Need::Cuda, name, format!("there is no `{shown}`"), mend)
    })
}

/// Python and JavaScript, for plugins in these languages.
pub(super) fn others() -> Vec<Check> {
    let need = Need::OtherPlugins;
    let languages = [
        (
            "python",
            "python3",
            ["-c", "import importlib.metadata as m; print(m.version('componentize-py'))"],
            "componentize-py",
            "https://www.python.org/downloads (Debian: apt-get install python3 python3-venv)",
            "python3 -m pip install componentize-py",
        ),
        (
            "node",
            "node",
            ["-p", "require('componentize-qjs/package.json').version"],
            "componentize-qjs",
            "https://nodejs.org (Debian: apt-get install nodejs npm)",
            "npm install componentize-qjs",
        ),
    ];
    let mut checks = Vec::new();
    for (name, program, ask, package, install, add) in languages {
        let Some(version) = first_line(Command::new(program).arg("--version")) else {
            checks.push(Check::missing(need, name, format!("`{program}` cannot be run"), install));
            continue;
        };
        checks.push(Check::fine(need, name, version));
        let found = first_line(Command::new(program).args(ask));
        let found = found.or_else(|| environment::on_path(package).map(|path| path.display().to_string()));
        checks.push(match found {
            Some(found) => Check::fine(need, package, found),
            None => Check::missing(need, package, format!("`{program}` does not find it"), add),
        });
    }
    checks
}

/// The first line that a program prints; none if it cannot be run or fails.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_old("rustc 1.9.0 (x)") && is_old("cargo 1.94.1") && is_old("rustc 0.100.0"));
        assert!(!is_old("rustc 1.95.0 (x)") && !is_old("rustc 1.100.0-nightly (x)") && !is_old("rustc 2.0.0"));
        assert!(!is_old("something else"), "what cannot be read is not refused");
    }

    #[test]
    fn a_program_that_is_not_there_says_nothing() {
        assert_eq!(first_line(&mut Command::new("tunesmith-no-such-program")), None);
    }
}
