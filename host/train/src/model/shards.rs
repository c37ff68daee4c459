//! Writes weights as safetensors, tensor by tensor: one file, or several with an index where one would be too large.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::model::weight_type::WeightType;

/// The largest weights file that an export makes, in bytes, unless a single tensor is larger: 5 GB, as Hugging Face's hub advises.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// A tensor that is to be written: all but its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its name in the file.
    pub name: String,
    /// How its numbers are stored.
    pub weight_type: WeightType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

impl Outline {
    /// How many numbers it has.
    pub fn weights(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }

    /// Bytes of its numbers.
    pub fn bytes(&self) -> u64 {
        self.weights() * self.weight_type.size() as u64
    }
}

/// Gives the encoded numbers of one tensor, [`Outline::bytes`] many. Every tensor is asked for once.
pub(crate) type Encode<'a, E> = dyn FnMut(&Outline) -> Result<Vec<u8>, E> + 'a;

/// Writes `model.safetensors`, or `model-00001-of-0000N.safetensors` and their index, into a folder: tensors in the order given, a
/// new file before each that would make its file longer than `limit` bytes. Gives the names of the weights files.
///
/// # Errors
///
/// Fails when `encode` does, or a file cannot be written.
pub(crate) fn write_model<E: From<ModelError>>(
    folder: &Path,
    tensors: &[Outline],
    limit: u64,
    encode: &mut Encode<'_, E>,
) -> Result<Vec<String>, E> {
    let shards = shards(tensors, limit);
    if let [all] = shards.as_slice() {
        write_file(&folder.join("model.safetensors"), all, encode)?;
        return Ok(vec!["model.safetensors".to_owned()]);
    }
    let name = |index: usize| format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
    let mut map = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        write_file(&folder.join(name(index)), shard, encode)?;
        map.extend(shard.iter().map(|tensor| (tensor.name.clone(), name(index).into())));
    }
    map.sort_keys();
    let size: u64 = tensors.iter().map(Outline::bytes).sum();
    let weights: u64 = tensors.iter().map(Outline::weights).sum();
    let index = json!({ "metadata": { "total_parameters": weights, "total_size": size }, "weight_map": map });
    let path = folder.join("model.safetensors.index.json");
    fs::write(&path, format!("{index:#}\n")).map_err(|source| ModelError::Write { path, source })?;
    Ok((0..shards.len()).map(name).collect())
}

/// At least one shard, even if there is no tensor.
fn shards(tensors: &[Outline], limit: u64) -> Vec<Vec<Outline>> {
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for tensor in tensors {
        if 0 < size && limit < size + tensor.bytes() {
            shards.push(Vec::new());
            size = 0;
        }
        size += tensor.bytes();
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor.clone());
        }
    }
    shards
}

/// Writes one safetensors file, whole or not at all. Tensors are ordered as the format's own writer does: wide types first, so that every
/// number is aligned, then by name.
///
/// # Errors
///
/// Fails when `encode` does, or the file cannot be written.
pub(crate) fn write_file<E: From<ModelError>>(
    path: &Path,
    tensors: &[Outline],
    encode: &mut Encode<'_, E>,
) -> Result<(), E> {
    let failed = |source: io::Error| ModelError::Write { path: path.to_owned(), source };
    let mut tensors: Vec<&Outline> = tensors.iter().collect();
    tensors.sort_by(|a, b| (b.weight_type.size(), &a.name).cmp(&(a.weight_type.size(), &b.name)));
    let header = header(&tensors);
    let partial = path.with_extension("safetensors.partial");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial).map_err(failed)?);
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(header.as_bytes()).map_err(failed)?;
    for tensor in tensors {
        let bytes = encode(tensor)?;
        if bytes.len() as u64 != tensor.bytes() {
            let reason = format!("tensor `{}` has {} bytes for {}", tensor.name, bytes.len(), tensor.bytes());
            return Err(failed(io::Error::other(reason)).into());
        }
        out.write_all(&bytes).map_err(failed)?;
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    fs::rename(&partial, path).map_err(failed)?;
    Ok(())
}

/// The file's head, padded so that the numbers begin at a multiple of 8.
fn header(tensors: &[&Outline]) -> String {
    let mut map = Map::new();
    // transformers refuses files without this entry.
    map.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut at = 0;
    for tensor in tensors {
        let end = at + tensor.bytes();
        let entry = json!({ "dtype": tensor.weight_type.name(), "shape": tensor.shape, "data_offsets": [at, end] });
        map.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut text = Value::Object(map).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    fn outline(name: &str, weight_type: WeightType, len: usize) -> Outline {
        Outline { name: name.to_owned(), weight_type, shape: vec![len] }
    }

    fn tensors() -> Vec<Outline> {
        vec![outline("b", WeightType::Bf16, 3), outline("a", WeightType::F32, 2), outline("c", WeightType::F16, 1)]
    }

    fn ones(tensor: &Outline) -> Result<Vec<u8>, ModelError> {
        tensor.weight_type.encode(&tensor.name, &vec![1.0; tensor.weights() as usize])
    }

    #[test]
    fn a_file_is_what_the_formats_own_reader_reads() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = write_model(folder.path(), &tensors(), SHARD_BYTES, &mut ones).expect("written");
        assert_eq!(names, ["model.safetensors"]);
        let bytes = fs::read(folder.path().join(&names[0])).expect("written");
        let (_, head) = SafeTensors::read_metadata(&bytes).expect("whole");
        assert_eq!(head.metadata().as_ref().and_then(|it| it.get("format")).map(String::as_str), Some("pt"));
        let file = SafeTensors::deserialize(&bytes).expect("whole");
        assert_eq!(file.len(), 3);
        assert_eq!(file.tensor("a").expect("there").data(), [0, 0, 128, 63, 0, 0, 128, 63]);
        assert_eq!(file.tensor("b").expect("there").data(), [128, 63, 128, 63, 128, 63]);
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1, "nothing else is left");
    }

    #[test]
    fn shards_are_cut_before_they_grow_too_large_and_listed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let names = write_model(folder.path(), &tensors(), 10, &mut ones).expect("written");
        assert_eq!(names, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        let text = fs::read_to_string(folder.path().join("model.safetensors.index.json")).expect("written");
        let index: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(index["metadata"], json!({ "total_parameters": 6, "total_size": 16 }));
        assert_eq!(index["weight_map"], json!({ "a": names[1], "b": names[0], "c": names[1] }));
    }

    #[test]
    fn a_tensor_longer_than_the_limit_has_its_own_file() {
        let sizes: Vec<usize> = shards(&tensors(), 1).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 1]);
        assert_eq!(shards(&[], 1).len(), 1);
    }
}
