//! Writes the Hugging Face folder: all of it or nothing.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::bf16;
use serde_json::{Map, Value as Json, json};

use super::blocks::BlockFormat;
use super::error::GgufError;
use super::llama::{Source, rotary_row};
use super::reader::Gguf;

/// A folder beside the wanted one that becomes it at the end, or disappears.
pub(super) struct PendingFolder {
    temporary: PathBuf,
    wanted: PathBuf,
}

impl PendingFolder {
    /// Creates the temporary folder; `wanted` must not exist or be an empty folder.
    pub(super) fn create(wanted: &Path) -> Result<Self, GgufError> {
        let refuse = |fault| GgufError::Output { path: wanted.to_owned(), fault };
        if wanted.exists() {
            let mut entries = fs::read_dir(wanted).map_err(|_| refuse("it is not a folder"))?;
            if entries.next().is_some() {
                return Err(refuse("the folder is not empty"));
            }
        }
        let name = wanted.file_name().ok_or_else(|| refuse("it has no name"))?;
        let parent = match wanted.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(|source| GgufError::io("create", parent, source))?;
        for attempt in 0..100 {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".part-{}-{attempt}", std::process::id()));
            let temporary = parent.join(hidden);
            match fs::create_dir(&temporary) {
                Ok(()) => return Ok(Self { temporary, wanted: wanted.to_owned() }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(GgufError::io("create", &temporary, source)),
            }
        }
        Err(refuse("a hundred unfinished imports lie beside it"))
    }

    /// Writes one JSON file.
    pub(super) fn write_json(&self, name: &str, json: &Json) -> Result<(), GgufError> {
        let path = self.temporary.join(name);
        let text = format!("{json:#}\n");
        fs::write(&path, text).map_err(|source| GgufError::io("write", &path, source))
    }

    /// Writes `model.safetensors` in BF16 and gives its length in bytes; `progress` gets weights written and weights in all.
    pub(super) fn write_weights(
        &self,
        gguf: &mut Gguf,
        sources: &[Source],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, GgufError> {
        let path = self.temporary.join("model.safetensors");
        let io = |source| GgufError::io("write", &path, source);
        let header = header(sources);
        let total: u64 = sources.iter().map(weights).sum();
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(io)?);
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
        out.write_all(header.as_bytes()).map_err(io)?;
        let mut done = 0;
        progress(done, total);
        for source in sources {
            let bytes = gguf.read(&source.tensor)?;
            for row in Rows::new(source, &bytes) {
                let row = row.ok_or_else(|| {
                    GgufError::tensor(
                        gguf.path(),
                        &source.tensor.name,
                        "holds a weight that is not a finite number in bfloat16",
                    )
                })?;
                out.write_all(row.as_slice()).map_err(io)?;
            }
            done += weights(source);
            progress(done, total);
        }
        let file = out.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        Ok(8 + header.len() as u64 + 2 * total)
    }

    /// Gives the folder its wanted name.
    pub(super) fn finish(self) -> Result<(), GgufError> {
        let io = |source| GgufError::io("create", &self.wanted, source);
        if self.wanted.exists() {
            // Only an empty folder can be removed so: nothing that appeared meanwhile is lost.
            fs::remove_dir(&self.wanted).map_err(io)?;
        }
        fs::rename(&self.temporary, &self.wanted).map_err(io)
    }
}

impl Drop for PendingFolder {
    fn drop(&mut self) {
        // After `finish` there is nothing left under this name; before it, a failed import leaves nothing behind.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// The number of weights of one tensor; the reader has checked that the product fits.
pub(super) fn weights(source: &Source) -> u64 {
    source.shape.iter().product()
}

/// The JSON header of the safetensors file, padded so that the weights begin at a multiple of 8.
fn header(sources: &[Source]) -> String {
    let mut map = Map::new();
    map.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut at = 0;
    for source in sources {
        let end = at + 2 * weights(source);
        let entry = json!({ "dtype": "BF16", "shape": source.shape, "data_offsets": [at, end] });
        map.insert(source.name.clone(), entry);
        at = end;
    }
    let mut text = Json::Object(map).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

/// The rows of a tensor in Hugging Face order, as BF16 bytes; none for a row with a weight that is not finite.
struct Rows<'a> {
    bytes: &'a [u8],
    format: BlockFormat,
    row_bytes: usize,
    count: u64,
    next: u64,
    rotary_head: Option<u64>,
    weights: Vec<f32>,
}

impl<'a> Rows<'a> {
    fn new(source: &Source, bytes: &'a [u8]) -> Self {
        let format = source.tensor.format;
        // A bias has one weight per output row: it is reordered like the rows of its matrix.
        let columns = match (source.shape.as_slice(), source.rotary_head) {
            ([_], Some(_)) => 1,
            ([.., columns], _) => *columns,
            ([], _) => 0,
        };
        let count = weights(source).checked_div(columns).unwrap_or(0);
        Self {
            bytes,
            format,
            row_bytes: columns as usize / format.block_len() * format.block_bytes(),
            count,
            next: 0,
            rotary_head: source.rotary_head,
            weights: Vec::new(),
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Option<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let row = self.rotary_head.map_or(self.next, |head| rotary_row(self.next, head)) as usize;
        self.next += 1;
        let packed = &self.bytes[row * self.row_bytes..][..self.row_bytes];
        self.weights.clear();
        self.format.dequantise(packed, &mut self.weights);
        let rounded = self.weights.iter().map(|weight| bf16::from_f32(*weight));
        let mut out = Vec::with_capacity(2 * self.weights.len());
        for weight in rounded {
            if !weight.is_finite() {
                return Some(None);
            }
            out.extend(weight.to_le_bytes());
        }
        Some(Some(out))
    }
}
