//! Writes the tensors of a GGUF file as those of a Hugging Face folder.

use std::path::Path;

use half::bf16;

use super::blocks::BlockFormat;
use super::error::GgufError;
use super::llama::{Source, rotary_row};
use super::reader::Gguf;
use crate::model::WeightType;
use crate::model::shards::{Outline, SHARD_BYTES, write_model};

/// Writes the weights into `folder` in BF16 and gives their bytes; `progress` gets weights written and weights in all.
pub(super) fn write_weights(
    folder: &Path,
    gguf: &mut Gguf,
    sources: &[Source],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, GgufError> {
    let outline = |source: &Source| Outline {
        name: source.name.clone(),
        weight_type: WeightType::Bf16,
        shape: source.shape.iter().map(|size| *size as usize).collect(),
    };
    let outlines: Vec<Outline> = sources.iter().map(outline).collect();
    let total: u64 = sources.iter().map(weights).sum();
    let mut done = 0;
    progress(done, total);
    let files = write_model(folder, &outlines, SHARD_BYTES, &mut |outline| {
        let found = sources.iter().find(|source| source.name == outline.name);
        let source = found.ok_or_else(|| GgufError::tensor(gguf.path(), &outline.name, "was not asked for"))?;
        let bytes = unpacked(gguf, source)?;
        done += weights(source);
        progress(done, total);
        Ok::<_, GgufError>(bytes)
    })?;
    let len = |name: &String| {
        let path = folder.join(name);
        path.metadata().map(|file| file.len()).map_err(|source| GgufError::io("read", &path, source))
    };
    files.iter().map(len).sum()
}

/// The number of weights of one tensor; the reader has checked that the product fits.
pub(super) fn weights(source: &Source) -> u64 {
    source.shape.iter().product()
}

/// A tensor in Hugging Face order, as BF16 bytes.
fn unpacked(gguf: &mut Gguf, source: &Source) -> Result<Vec<u8>, GgufError> {
    let packed = gguf.read(&source.tensor)?;
    let mut bytes = Vec::with_capacity(2 * weights(source) as usize);
    for row in Rows::new(source, &packed) {
        let fault = "holds a weight that is not a finite number in bfloat16";
        bytes.extend(row.ok_or_else(|| GgufError::tensor(gguf.path(), &source.tensor.name, fault))?);
    }
    Ok(bytes)
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
        let columns = source.shape.last().copied().unwrap_or(0);
        Self {
            bytes,
            format,
            row_bytes: columns as usize / format.block_len() * format.block_bytes(),
            count: weights(source).checked_div(columns).unwrap_or(0),
            next: 0,
            rotary_head: source.rotary_head,
            weights: Vec::new(),
        }
    }

    /// Unpacks the row that comes next in Hugging Face order.
    fn unpack_next(&mut self) {
        let is_bias = self.count == 1;
        let row = match self.rotary_head {
            Some(head) if !is_bias => rotary_row(self.next, head),
            _ => self.next,
        } as usize;
        self.weights.clear();
        self.format.dequantise(&self.bytes[row * self.row_bytes..][..self.row_bytes], &mut self.weights);
        // A bias has one weight per output row: its weights are reordered like the rows of its matrix.
        if let (Some(head), true) = (self.rotary_head, is_bias) {
            let places = 0..self.weights.len() as u64;
            self.weights = places.map(|place| self.weights[rotary_row(place, head) as usize]).collect();
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Option<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        self.unpack_next();
        self.next += 1;
        let rounded: Vec<bf16> = self.weights.iter().map(|weight| bf16::from_f32(*weight)).collect();
        let is_sound = rounded.iter().all(|weight| weight.is_finite());
        Some(is_sound.then(|| rounded.iter().flat_map(|weight| weight.to_le_bytes()).collect()))
    }
}
