//! Imports GGUF files: the `llama` architecture becomes a Hugging Face folder with BF16 weights.

mod blocks;
mod error;
mod llama;
mod metadata;
mod output;
mod reader;
#[cfg(test)]
mod samples;
mod tokenizer;

use std::path::Path;

use self::llama::Llama;
use self::output::{weights, write_weights};
use self::tokenizer::Tokenizer;
use crate::new_folder::NewFolder;

pub use self::blocks::BlockFormat;
pub use self::error::GgufError;
pub use self::metadata::{Metadata, Value};
pub use self::reader::{Gguf, TensorInfo};

/// What an import has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportReport {
    /// The architecture: `llama`.
    pub architecture: String,
    /// The model's name as the file gives it; not escaped.
    pub name: Option<String>,
    /// The licence as the file gives it; not escaped.
    pub licence: Option<String>,
    /// Number of tensors written.
    pub tensors: u64,
    /// Number of weights written.
    pub weights: u64,
    /// Length of the weights files in bytes.
    pub bytes: u64,
    /// The block formats found, with the number of tensors of each, by falling number.
    pub formats: Vec<(BlockFormat, u64)>,
}

/// Imports the GGUF file at `gguf_path` into the new folder `out_folder`.
///
/// Writes `config.json`, `generation_config.json`, `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and
/// `model.safetensors` (BF16, rounded to nearest even; several files with an index above 5 GB). The folder appears complete or not at all. `progress` is called with
/// weights done and weights in all, at the start and after every tensor.
///
/// # Errors
///
/// Fails when the file is not GGUF, breaks the format, is of an architecture, tokenizer or block format that is not known here,
/// or when `out_folder` exists and is not empty.
pub fn import(
    gguf_path: &Path,
    out_folder: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ImportReport, GgufError> {
    let mut gguf = Gguf::open(gguf_path)?;
    let llama = Llama::from_gguf(&gguf)?;
    let tokenizer = Tokenizer::from_metadata(gguf.metadata(), llama.context)?;
    let sources = llama.sources(&gguf)?;
    let name = gguf.metadata().text("general.name")?.map(str::to_owned);
    let licence = gguf.metadata().text("general.license")?.map(str::to_owned);
    let mut config = llama.config(name.as_deref());
    config.extend([
        ("bos_token_id".to_owned(), tokenizer.bos.into()),
        ("eos_token_id".to_owned(), tokenizer.eos_json().into()),
        ("pad_token_id".to_owned(), tokenizer.pad.into()),
        ("unk_token_id".to_owned(), tokenizer.unknown.into()),
    ]);
    config.sort_keys();

    let folder = NewFolder::create(out_folder)?;
    folder.write_json("config.json", &config.into())?;
    folder.write_json("generation_config.json", &tokenizer.generation_config())?;
    folder.write_json("tokenizer.json", &tokenizer.json)?;
    folder.write_json("tokenizer_config.json", &tokenizer.config)?;
    folder.write_json("special_tokens_map.json", &tokenizer.special_tokens)?;
    let bytes = write_weights(folder.path(), &mut gguf, &sources, progress)?;
    folder.finish()?;
    Ok(ImportReport {
        architecture: "llama".to_owned(),
        name,
        licence,
        tensors: sources.len() as u64,
        weights: sources.iter().map(weights).sum(),
        bytes,
        formats: formats(gguf.tensors()),
    })
}

/// The block formats of `tensors` with the number of tensors of each, by falling number.
fn formats(tensors: &[TensorInfo]) -> Vec<(BlockFormat, u64)> {
    let mut counts: Vec<(BlockFormat, u64)> = Vec::new();
    for tensor in tensors {
        match counts.iter_mut().find(|(format, _)| *format == tensor.format) {
            Some((_, count)) => *count += 1,
            None => counts.push((tensor.format, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[cfg(test)]
mod tests;
