//! What this machine has of what Tunesmith needs, and how to get the rest.

mod driver;
mod folders;
mod processor;
mod toolchains;

use serde::Serialize;

/// What something is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Need {
    /// Any run.
    Training,
    /// Runs with `device = "cuda"`.
    Cuda,
    /// Plugins written in Rust.
    RustPlugins,
    /// Plugins written in Python or JavaScript.
    OtherPlugins,
}

impl Need {
    /// What a person calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Cuda => "NVIDIA cards",
            Self::RustPlugins => "plugins in Rust",
            Self::OtherPlugins => "plugins in Python and JavaScript",
        }
    }
}

/// Something that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Check {
    pub(crate) need: Need,
    pub(crate) name: String,
    /// Whether it is there and can be used.
    pub(crate) is_fine: bool,
    /// What is there, or what is wrong.
    pub(crate) found: String,
    /// The command that mends it, or what to do where there is no command.
    pub(crate) mend: Option<String>,
}

impl Check {
    fn fine(need: Need, name: &str, found: impl Into<String>) -> Self {
        Self { need, name: name.into(), is_fine: true, found: found.into(), mend: None }
    }

    fn missing(need: Need, name: &str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { need, name: name.into(), is_fine: false, found: found.into(), mend: Some(mend.into()) }
    }
}

/// Looks for everything. Takes a second: other programs are asked for their versions.
pub(crate) fn checks() -> Vec<Check> {
    let mut checks = vec![processor::check()];
    checks.extend(folders::checks());
    checks.extend(cuda());
    checks.extend(toolchains::rust());
    checks.extend(toolchains::others());
    checks
}

/// The driver and its cards, and whether this program can use them.
fn cuda() -> Vec<Check> {
    let need = Need::Cuda;
    let feature = if cfg!(feature = "cuda") {
        Check::fine(need, "cuda in this program", "built in")
    } else {
        let mend = "cargo build --release --package tunesmith-cli --features cuda (in a checkout of Tunesmith)";
        Check::missing(need, "cuda in this program", "this program was built without the feature `cuda`", mend)
    };
    let mut checks = vec![feature];
    checks.extend(toolchains::llvm());
    match driver::probe(&driver::LIBRARIES) {
        Ok(found) => {
            checks.push(Check::fine(need, "driver", format!("for CUDA {}.{}", found.version.0, found.version.1)));
            checks.extend(found.cards.iter().enumerate().map(|(number, card)| {
                let (major, minor) = card.capability;
                let gigabytes = card.memory as f64 / f64::from(1 << 30);
                let told = format!("{}, {gigabytes:.1} GiB, compute capability {major}.{minor}", card.name);
                Check::fine(need, &format!("cuda:{number}"), told)
            }));
            if found.cards.is_empty() {
                checks.push(Check::missing(
                    need,
                    "card",
                    "the driver sees none",
                    "nvidia-smi (says what the driver sees)",
                ));
            }
        }
        Err(absent) => checks.push(Check::missing(need, "driver", absent.to_string(), absent.mend())),
    }
    let mend = "install the CUDA toolkit: https://developer.nvidia.com/cuda-downloads (Debian: apt-get install nvidia-cuda-toolkit)";
    checks.push(match driver::first_of(&driver::COMPILERS) {
        Some(name) => Check::fine(need, "kernel compiler", name),
        None => Check::missing(need, "kernel compiler", "there is no NVRTC library", mend),
    });
    checks
}
