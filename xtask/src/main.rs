//! Set-up, demo and test: `cargo xtask` lists the commands.

mod demo;
mod fetch;
mod files;
mod pins;
mod plugins;
mod shell;
mod wasm_std;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
usage: cargo xtask COMMAND

  setup    get the WebAssembly standard library if it is missing, and build every plugin
  test     set up, then run every test of the workspace
  demo     set up, fetch model and data, fine-tune with a plugin and without, print the table
  fetch    set up, then fetch model and data of the demo (part of demo)
  plugins  the same as setup

Downloads and the standard library are kept in the folder TUNESMITH_CACHE (default: tunesmith in the user's cache folder).
Each step is skipped where its result is there already.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["setup" | "plugins"] => setup(),
        ["fetch"] => {
            setup()?;
            fetch::all()
        }
        ["demo"] => {
            setup()?;
            fetch::all()?;
            demo::run()
        }
        ["test", arguments @ ..] => {
            setup()?;
            test(arguments)
        }
        [] | ["help" | "--help" | "-h"] => {
            eprintln!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown command `{}`\n{HELP}", words.join(" ")),
    }
}

fn setup() -> Result<()> {
    let std = wasm_std::ready()?;
    plugins::build_all(&std)
}

/// Every test of the workspace; `arguments` go to `cargo test`.
fn test(arguments: &[&str]) -> Result<()> {
    shell::say("running every test");
    let mut command = shell::cargo();
    command.args(["test", "--workspace"]).args(arguments);
    shell::run(&mut command, "the failing test is named above")
}

/// The repository's root folder.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
