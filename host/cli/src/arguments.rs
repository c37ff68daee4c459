//! What can be typed.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use tunesmith::Stage;

/// Fine-tuning methods for language models as sandboxed WebAssembly components.
///
/// Exit codes: 0 all went well; 1 the work failed; 2 bad usage or bad input, nothing was run and nothing was written.
///
/// Environment: `TUNESMITH_CACHE` is the folder for compiled plugins (default: `$XDG_CACHE_HOME/tunesmith` or `~/.cache/tunesmith`).
#[derive(Debug, Parser)]
#[command(name = "tunesmith", version, max_term_width = 120, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model as a recipe says.
    Train(Train),
    /// Check a recipe with all files it names and print the plan; nothing is written.
    Check(Check),
    /// Measure a recipe's model, or an adapter of it, on the recipe's evaluation sets.
    Eval(Eval),
    /// Continue prompts with a model.
    Generate(Generate),
    /// Write a run as one HTML page: curves, scores, where rows came from, samples, costs. It has no scripts and asks no network.
    Report(Report),
    /// Say what this machine has of what Tunesmith needs, and the command that mends what is missing.
    ///
    /// Exit codes: 0 everything that training needs is there; 1 something of it is missing. What is optional never counts.
    Doctor(Doctor),
    /// Import, merge and look at models.
    #[command(subcommand)]
    Model(Model),
    /// Look at data.
    #[command(subcommand)]
    Data(Data),
    /// Make, build and look at plugins.
    #[command(subcommand)]
    Plugin(Plugin),
}

/// A recipe and what is put over it.
#[derive(Debug, Args)]
pub(crate) struct Recipe {
    /// The recipe, a TOML file. Paths in it are relative to it.
    pub(crate) recipe: PathBuf,
    /// Put a value over a key of the recipe: `train.steps=50`. Values are TOML; what is no TOML is taken as text.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.trim().into())),
        _ => Err("expected KEY=VALUE, such as `train.steps=50`".into()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    #[command(flatten)]
    pub(crate) recipe: Recipe,
    /// The run folder to be made, instead of the recipe's `output`; relative to the current folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Go on with the run in the output folder, wherever it was stopped. Its trace comes out as if it had never been stopped.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) recipe: Recipe,
    /// The run folder that is to be made, instead of the recipe's `output`; relative to the current folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) recipe: Recipe,
    /// The adapter of a run: `RUN/adapter`.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Print the metrics as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The model, a folder in Hugging Face form.
    pub(crate) model: PathBuf,
    /// An adapter for it: `RUN/adapter`.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: PromptSource,
    /// Continue the text as it is, without the model's chat template.
    #[arg(long)]
    pub(crate) raw: bool,
    /// A system message before every prompt.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub(crate) system: Option<String>,
    /// At most this many new tokens per answer.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// How random: 0 always takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(crate) temperature: f32,
    /// Keep the likeliest tokens that together have this probability; 1 keeps all.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Keep this many likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) top_k: u32,
    /// The seed of the random numbers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// End an answer before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Sequences at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Print one JSON object per prompt and line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PromptSource {
    /// One prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// JSON lines, each with a `prompt` (text) or `messages` (role and content).
    #[arg(long, value_name = "FILE")]
    pub(crate) prompts: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The run folder; the run may be going on, stopped, or damaged.
    pub(crate) run: PathBuf,
    /// The file to be written. Default: `report.html` in the run folder. One that is there is replaced.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Another run, shown beside this one.
    #[arg(long, value_name = "RUN")]
    pub(crate) compare: Option<PathBuf>,
    /// Print JSON: the file, its bytes, and what of the runs cannot be read.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON: whether all that training needs is there, and each check.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Make a Hugging Face folder from a GGUF file.
    Import {
        /// The GGUF file.
        gguf: PathBuf,
        /// The folder to be made.
        out: PathBuf,
    },
    /// Fold an adapter into a model: a new Hugging Face folder with the adapter's change in its weights.
    Merge(Merge),
    /// Compare a model folder with what another implementation computed with it; 1 if a value is off by more than the tolerance.
    Compare(Compare),
    /// Print sizes, types, tokenizer and chat template of a model folder; weights are not read.
    Inspect {
        /// The model folder.
        folder: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The model folder.
    pub(crate) folder: PathBuf,
    /// The expectations, a JSON file: `input_ids`, `logits_row0`, `gradient_norms`, `runs` and others; all are optional.
    pub(crate) expected: PathBuf,
    /// An adapter on top of the model: `RUN/adapter`.
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// The largest `|found - expected| / (|expected| + 0.1)` that is fine; tokens must be equal.
    #[arg(long, value_name = "X", default_value_t = 1e-4)]
    pub(crate) tolerance: f64,
    /// `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// The model that the adapter was trained on, a folder in Hugging Face form.
    pub(crate) model: PathBuf,
    /// The adapter, in PEFT's form: `RUN/adapter`.
    pub(crate) adapter: PathBuf,
    /// The folder to be made.
    pub(crate) out: PathBuf,
    /// The type of all weights. Default: each as in the model.
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(["f32", "bf16", "f16"]))]
    pub(crate) weight_type: Option<String>,
    /// Split a weights file that would be longer: bytes, or with `kB`, `MB` or `GB`.
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    pub(crate) shard_size: u64,
    /// Merge into another model of the same shapes than the adapter was trained on.
    #[arg(long)]
    pub(crate) any_base: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A number of bytes, at least 1.
fn size(text: &str) -> Result<u64, String> {
    let units = [("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
    let found = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = found.unwrap_or((text, 1));
    let size = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(bytes));
    size.filter(|size| 0 < *size).ok_or_else(|| "expected a size, such as `500MB` or `5GB`".into())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Print rows, columns, lengths in tokens, what would be cut, and a row as it is trained on.
    Inspect(DataInspect),
}

#[derive(Debug, Args)]
pub(crate) struct DataInspect {
    /// A recipe (`.toml`), a data file, or a pattern for several in quotes.
    pub(crate) source: PathBuf,
    /// The model folder whose tokenizer and chat template count, instead of the recipe's; no weight is read.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// The row that is shown as it is trained on, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) row: u64,
    /// Put a value over a key of the recipe, such as `data.loss=all`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Make a Rust crate for a new plugin: it builds, passes its tests and `plugin check`, and runs, as it is.
    New(New),
    /// Build a Rust plugin into a component with its manifest.
    Build(Build),
    /// Load and compile a plugin, and list what it needs; nothing in it is run.
    Check {
        /// The component.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a plugin's manifest, exports and imports; nothing in it is run or compiled.
    Inspect {
        /// The component.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The plugin's name, which is the crate's too: lower-case letters, digits and hyphens.
    pub(crate) name: String,
    /// The stages that it takes, with commas between them: curate, judge, reward, credit, weigh, objective, edit, measure, answer, retain.
    #[arg(long, value_name = "STAGE", value_delimiter = ',', required = true)]
    pub(crate) stage: Vec<Stage>,
    /// The folder to be made. Default: the plugin's name, in the current folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// The folder `sdk` of a checkout of Tunesmith, on which the crate will depend. Default: that of the checkout which this program was
    /// built from.
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
    /// Print JSON: the folder, its files, the stages, the SDK.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The plugin's folder, with `Cargo.toml` and `plugin.toml`.
    pub(crate) folder: PathBuf,
    /// The file to be written. Default: the plugin's name with `.wasm`, beside its folder.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A sysroot with the standard library for wasm32-unknown-unknown, as `cargo xtask setup` makes it.
    #[arg(long, value_name = "DIR")]
    pub(crate) sysroot: Option<PathBuf>,
    /// Where cargo keeps its work. Default: as cargo is set up.
    #[arg(long, value_name = "DIR")]
    pub(crate) target_dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!((size("5GB"), size("20 kB"), size("7")), (Ok(5_000_000_000), Ok(20_000), Ok(7)));
        assert!(["0", "", "GB", "-1MB", "99999999999GB", "5TB"].iter().all(|text| size(text).is_err()));
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(assignment("a.b = c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(assignment("a.b").is_err());
        assert!(assignment("=b").is_err());
    }
}
