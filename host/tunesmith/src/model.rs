//! Model folders: what they hold, whether they are whole, and making them from GGUF files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::Serialize;
use tunesmith_core::digest;
use tunesmith_core::plan::Plan;
use tunesmith_core::set::{Event, Observer};
use tunesmith_train::ModelError;
use tunesmith_train::gguf;
use tunesmith_train::lora::merge::{MergeBase, MergeReport};
use tunesmith_train::model::shards::SHARD_BYTES;
use tunesmith_train::model::weights::check_headers;
use tunesmith_train::model::{Decoder, ModelConfig, WeightType};
use tunesmith_train::template::ChatTemplate;
use tunesmith_train::tokenizer::TextTokenizer;

use crate::error::{Error, Fault};
use crate::written::Written;

/// The small files of a model folder that decide what the model does.
const PARTS: [&str; 7] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// What a model folder holds. Its weights were not read, only the heads of their files.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModelReport {
    /// The architecture, such as `llama`.
    pub architecture: String,
    /// Parameters; a tied head counts once.
    pub parameters: u64,
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the feed-forward block.
    pub intermediate_size: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// The longest sequence that the model was made for, in tokens.
    pub max_positions: u64,
    /// Whether the head is the embedding.
    pub is_tied: bool,
    /// The number of tensors by element type.
    pub types: BTreeMap<String, u64>,
    /// The folder's files that belong to the model, with their bytes.
    pub files: BTreeMap<String, u64>,
    /// Tokens of the tokenizer; none if the folder has no tokenizer, which training and generating need.
    pub tokens: Option<u64>,
    /// The texts of the tokens with a role, such as `eos_token`.
    pub special_tokens: BTreeMap<String, String>,
    /// Whether there is a chat template.
    pub has_template: bool,
}

/// What an import made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Imported {
    /// The architecture, such as `llama`.
    pub architecture: String,
    /// The model's name as the file gives it; not escaped.
    pub name: Option<String>,
    /// The licence as the file gives it; not escaped.
    pub licence: Option<String>,
    /// Tensors written.
    pub tensors: u64,
    /// Weights written.
    pub weights: u64,
    /// Bytes of the weights file.
    pub bytes: u64,
}

/// Looks at a model folder and checks that it is whole: configuration, tokenizer, chat template, and the heads of its weights.
///
/// # Errors
///
/// Fails with [`Error::Model`] that names the file and the field or tensor.
pub fn inspect_model(folder: &Path) -> Result<ModelReport, Error> {
    inspect(folder)
        .map_err(|error| Error::model(Fault::of_file(folder, "the model folder cannot be used").because(error)))
}

/// Makes a new Hugging Face folder from a GGUF file. The folder appears complete or not at all.
///
/// # Errors
///
/// Fails with [`Error::Model`] when the file is broken or of an unknown kind, or the folder exists and is not empty.
pub fn import_model(file: &Path, folder: &Path, observer: &mut dyn Observer) -> Result<Imported, Error> {
    let mut bar = WeightsBar::new("import", observer);
    let result = gguf::import(file, folder, &mut |done, total| bar.advance(done, total));
    bar.finish();
    let report =
        result.map_err(|error| Error::model(Fault::of_file(file, "the file cannot be imported").because(error)))?;
    let gguf::ImportReport { architecture, name, licence, tensors, weights, bytes, .. } = report;
    Ok(Imported { architecture, name, licence, tensors, weights, bytes })
}

/// How a merged model is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeOptions {
    /// The type of all weights; each keeps the type that it has in the base where none is given.
    pub weight_type: Option<WeightType>,
    /// A weights file longer than this many bytes is split, with an index.
    pub shard_bytes: u64,
    /// Whether the adapter may be merged into another model of the same shapes than it was trained on.
    pub any_base: bool,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self { weight_type: None, shard_bytes: SHARD_BYTES, any_base: false }
    }
}

/// What a merge made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Merged {
    /// Tensors written.
    pub tensors: u64,
    /// How many of them the adapter has changed.
    pub changed: u64,
    /// Weights written.
    pub weights: u64,
    /// The names of the weights files.
    pub files: Vec<String>,
    /// The element types written, as a `config.json` names them.
    pub types: Vec<String>,
}

/// Makes a new model folder from the one in `model` and an adapter in PEFT's form: `W + alpha / rank * B A`. The folder appears complete or
/// not at all; configuration, tokenizer, generation settings and chat template are the base's.
///
/// # Errors
///
/// Fails with [`Error::Model`] when the model or the adapter cannot be used or do not belong together, with [`Error::Output`] when `out` is
/// taken, and with [`Error::Run`] when a file cannot be written.
pub fn merge_model(
    model: &Path,
    adapter: &Path,
    out: &Path,
    options: &MergeOptions,
    observer: &mut dyn Observer,
) -> Result<Merged, Error> {
    let base = MergeBase::open(model)
        .map_err(|error| Error::model(Fault::of_file(model, "the model folder cannot be used").because(error)))?;
    let merge = base
        .with_adapter(adapter, options.any_base)
        .map_err(|error| Error::model(Fault::of_file(adapter, "the adapter cannot be used").because(error)))?;
    let mut bar = WeightsBar::new("merge", observer);
    let result =
        merge.write(out, options.weight_type, options.shard_bytes, &mut |done, total| bar.advance(done, total));
    bar.finish();
    let report = result.map_err(|error| match error {
        ModelError::Output { .. } => Error::output(Fault::of_file(out, "the folder cannot be made").because(error)),
        error => Error::run("the merged model cannot be written", error),
    })?;
    let MergeReport { tensors, changed, weights, files, types } = report;
    let types = types.into_iter().map(|kind| kind.config_name().to_owned()).collect();
    Ok(Merged { tensors, changed, weights, files, types })
}

/// Tells an observer how many weights are done.
struct WeightsBar<'a> {
    work: &'static str,
    observer: &'a mut dyn Observer,
    before: Option<u64>,
}

impl<'a> WeightsBar<'a> {
    fn new(work: &'static str, observer: &'a mut dyn Observer) -> Self {
        Self { work, observer, before: None }
    }

    fn advance(&mut self, done: u64, total: u64) {
        if self.before.is_none() {
            self.observer.event(Event::Begin { work: self.work, total: Some(total) });
        }
        let units = done - self.before.unwrap_or(0);
        self.observer.event(Event::Advance { units, note: "weights" });
        self.before = Some(done);
    }

    fn finish(self) {
        if self.before.is_some() {
            self.observer.event(Event::Finish);
        }
    }
}

/// How far a model is from what another implementation computed with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// What was compared, by its field in the expectations.
    pub name: String,
    /// How many values.
    pub values: u64,
    /// The largest `|found - expected| / (|expected| + 0.1)`; infinite where tokens or the number of values differ.
    pub error: f64,
}

/// Compares the model in `folder`, with an adapter on top if one is given, with the logits, hidden norms, loss, gradient norms and greedy tokens in the JSON file `expected`, as a
/// short transformers script writes them; see [`tunesmith_train::compare`] for its fields.
///
/// # Errors
///
/// Fails with [`Error::Model`] when the folder or the file cannot be used.
pub fn compare_model(
    folder: &Path,
    adapter: Option<&Path>,
    expected: &Path,
    device: &str,
) -> Result<Vec<Comparison>, Error> {
    let fault = |what: &str| Fault::of_file(folder, what);
    let device = tunesmith_train::device::open(device)
        .map_err(|error| Error::model(fault("the model cannot be loaded").because(error)))?;
    let found = tunesmith_train::compare::compare_adapted(folder, adapter, expected, &device)
        .map_err(|error| Error::model(fault("the model cannot be compared").because(error)))?;
    Ok(found
        .into_iter()
        .map(|one| Comparison { name: one.name, values: one.values as u64, error: one.error })
        .collect())
}

/// Checks the plan's model without reading its weights, and notes its digest.
pub(crate) fn check(written: &Written, plan: &mut Plan) -> Result<(), Error> {
    plan.model.digest = check_folder(written, "model.path", &plan.model.path)?;
    tunesmith_train::device::open(&plan.model.device)
        .map_err(|error| Error::recipe(written.fault("model.device", "the device cannot be used").because(error)))?;
    Ok(())
}

/// Checks a model folder that the recipe names at `field`, without reading its weights, and gives its digest.
pub(crate) fn check_folder(written: &Written, field: &str, path: &Path) -> Result<String, Error> {
    let fault = |what: &str| written.fault(field, what);
    let folder = path.display();
    let missing = match (path.is_dir(), path.join("config.json").exists()) {
        (false, _) => Some(format!("there is no folder `{folder}`")),
        (true, false) => Some(format!("`{folder}` has no `config.json`")),
        (true, true) => None,
    };
    if let Some(what) = missing {
        let hint = "give a folder with `config.json`, `tokenizer.json` and safetensors; `tunesmith model import` makes one from GGUF";
        return Err(Error::model(fault(&what).hint(hint)));
    }
    let report = inspect(path)
        .and_then(|report| match report.tokens {
            Some(_) => Ok(report),
            // Says what is missing, in the words of whoever would read it.
            None => TextTokenizer::load(path, &ModelConfig::load(path)?).map(|_| report),
        })
        .map_err(|error| Error::model(fault("the model folder cannot be used").because(error)))?;
    folder_digest(path, &report).map_err(|error| Error::model(fault("the model's files cannot be read").because(error)))
}

fn inspect(folder: &Path) -> Result<ModelReport, ModelError> {
    let config = ModelConfig::load(folder)?;
    let headers = check_headers(folder, &Decoder::tensor_shapes(&config))?;
    let has_tokenizer = folder.join("tokenizer.json").exists();
    let tokenizer = has_tokenizer.then(|| TextTokenizer::load(folder, &config)).transpose()?;
    let special = tokenizer.as_ref().map(|tokenizer| tokenizer.special().clone()).unwrap_or_default();
    let template = ChatTemplate::load(folder, &special)?;
    let mut types = BTreeMap::new();
    for header in &headers {
        *types.entry(header.dtype.clone()).or_default() += 1;
    }
    Ok(ModelReport {
        architecture: format!("{:?}", config.family).to_lowercase(),
        parameters: config.parameters() as u64,
        layers: config.layers as u64,
        hidden_size: config.hidden_size as u64,
        intermediate_size: config.intermediate_size as u64,
        heads: config.heads as u64,
        kv_heads: config.kv_heads as u64,
        vocabulary: config.vocab_size as u64,
        max_positions: config.max_positions as u64,
        is_tied: config.tied_head,
        types,
        files: files(folder).map_err(|source| ModelError::Read { path: folder.to_owned(), source })?,
        tokens: tokenizer.map(|tokenizer| tokenizer.size() as u64),
        special_tokens: special.texts,
        has_template: template.is_some(),
    })
}

/// The files that decide what a model does, by name, with their bytes.
fn files(folder: &Path) -> io::Result<BTreeMap<String, u64>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        let metadata = fs::metadata(&path)?;
        if metadata.is_file() && (PARTS.contains(&name) || path.extension().is_some_and(|end| end == "safetensors")) {
            files.insert(name.to_owned(), metadata.len());
        }
    }
    Ok(files)
}

/// The digest of names and contents of the model's files.
fn folder_digest(folder: &Path, report: &ModelReport) -> io::Result<String> {
    let mut parts = Vec::new();
    for name in report.files.keys() {
        parts.push(name.clone());
        parts.push(digest::of_reader(&mut File::open(folder.join(name))?)?);
    }
    Ok(digest::of_parts(parts.iter().map(String::as_bytes)))
}
