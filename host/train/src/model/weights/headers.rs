//! The heads of safetensors files: what a folder holds, known without reading its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{check_shape, is_harmless, weight_files};
use crate::error::ModelError;
use crate::model::weight_type::WeightType;

/// Bytes of the largest head that is read; the format allows no more either.
const MAX_HEAD: u64 = 100_000_000;

/// One tensor as the head of its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightHeader {
    /// The file.
    pub path: PathBuf,
    /// The name.
    pub name: String,
    /// The element type as the file writes it: `F32`, `F16` or `BF16`.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The first byte of its numbers, from the start of the file.
    pub start: u64,
    /// Bytes of its numbers.
    pub bytes: u64,
}

impl WeightHeader {
    /// The bytes of its numbers, read from the file; at most the first `limit`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read or has become shorter.
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, ModelError> {
        let failed = |source: io::Error| ModelError::Read { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.start)).map_err(failed)?;
        // `bytes` is at most the length of the file: checked when its head was read.
        let mut bytes = vec![0; self.bytes.min(limit) as usize];
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// Checks that a folder's weights are exactly `expected`, whole, and of known types, by the heads of its files alone: this costs
/// milliseconds, whatever the size of the model. Returns every tensor, by file and name.
///
/// # Errors
///
/// As [`WeightFiles::load`](super::WeightFiles::load).
pub fn check_headers(folder: &Path, expected: &BTreeMap<String, Vec<usize>>) -> Result<Vec<WeightHeader>, ModelError> {
    let mut headers = Vec::new();
    for path in weight_files(folder)? {
        headers.extend(read(&path)?);
    }
    let mut unknown = BTreeSet::new();
    let mut found = BTreeSet::new();
    for header in &headers {
        match expected.get(&header.name) {
            Some(shape) => check_shape(&header.path, &header.name, shape, &header.shape)?,
            None if is_harmless(&header.name) => continue,
            None => {
                unknown.insert(header.name.clone());
                continue;
            }
        }
        if !matches!(header.dtype.as_str(), "F32" | "F16" | "BF16") {
            let (path, name) = (header.path.clone(), header.name.clone());
            return Err(ModelError::WrongType { path, name, dtype: header.dtype.clone() });
        }
        found.insert(&header.name);
    }
    let names: Vec<String> = expected.keys().filter(|name| !found.contains(name)).cloned().collect();
    if !names.is_empty() {
        return Err(ModelError::MissingTensors { folder: folder.to_owned(), names });
    }
    if !unknown.is_empty() {
        return Err(ModelError::UnknownTensors { folder: folder.to_owned(), names: unknown.into_iter().collect() });
    }
    Ok(headers)
}

impl Entry {
    /// Whether a tensor of this shape and a type that is known here cannot have this many bytes.
    fn is_wrong_size(&self, bytes: u64) -> bool {
        let weights = self.shape.iter().try_fold(1_u64, |all, size| all.checked_mul(*size as u64));
        WeightType::from_name(&self.dtype)
            .is_some_and(|kind| weights.and_then(|all| all.checked_mul(kind.size() as u64)) != Some(bytes))
    }
}

/// The names of the tensors in one file.
///
/// # Errors
///
/// Fails when the file cannot be read or has no head.
pub(crate) fn names(path: &Path) -> Result<BTreeSet<String>, ModelError> {
    Ok(read(path)?.into_iter().map(|header| header.name).collect())
}

fn read(path: &Path) -> Result<Vec<WeightHeader>, ModelError> {
    let unreadable = |source: io::Error| ModelError::Read { path: path.to_owned(), source };
    let broken = |reason: String| ModelError::BrokenWeights { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size < 8 {
        return Err(broken(format!("it has {size} bytes, fewer than any head")));
    }
    let mut length = [0_u8; 8];
    file.read_exact(&mut length).map_err(unreadable)?;
    let length = u64::from_le_bytes(length);
    if MAX_HEAD < length || size - 8 < length {
        return Err(broken(format!("its head says {length} bytes, the file has {size}")));
    }
    let mut head = vec![0_u8; length as usize];
    file.read_exact(&mut head).map_err(unreadable)?;
    let mut entries: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&head).map_err(|error| broken(format!("its head is not JSON: {error}")))?;
    entries.remove("__metadata__");
    let data = size - 8 - length;
    let mut end = 0;
    let mut headers = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let entry: Entry = serde_json::from_value(entry)
            .map_err(|error| broken(format!("its head's entry `{name}` is wrong: {error}")))?;
        let (from, to) = entry.data_offsets;
        if to < from || data < to || entry.is_wrong_size(to - from) {
            return Err(broken(format!(
                "tensor `{name}` has the bytes {from} to {to}, which does not fit its shape or the file"
            )));
        }
        end = end.max(to);
        let (start, bytes) = (8 + length + from, to - from);
        headers.push(WeightHeader {
            path: path.to_owned(),
            name,
            dtype: entry.dtype,
            shape: entry.shape,
            start,
            bytes,
        });
    }
    if end != data {
        return Err(broken(format!("its tensors take {end} bytes, the file has {data} for them")));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these head and data bytes.
    fn file(name: &str, head: &str, data: usize) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tunesmith-headers-{}-{name}.safetensors", std::process::id()));
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(head.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    #[track_caller]
    fn check(name: &str, head: &str, data: usize, expected: &str) {
        let path = file(name, head, data);
        let error = read(&path).expect_err("the file is broken").to_string();
        std::fs::remove_file(path).expect("the file can be removed");
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    const HEAD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    #[test]
    fn a_whole_file_gives_its_tensors() {
        let path = file("whole", HEAD, 8);
        let headers = read(&path).expect("it is whole");
        std::fs::remove_file(path).expect("the file can be removed");
        assert_eq!((headers.len(), headers[0].shape.as_slice()), (1, [2].as_slice()));
    }

    #[test]
    fn a_truncated_file_is_not_whole() {
        check("short", HEAD, 7, "tensor `a` has the bytes 0 to 8, which does not fit");
        check("long", HEAD, 9, "its tensors take 8 bytes, the file has 9 for them");
        check("shape", &HEAD.replace("[2]", "[3]"), 8, "tensor `a` has the bytes 0 to 8, which does not fit");
        check("huge", &HEAD.replace("[2]", "[9000000000,9000000000]"), 8, "does not fit");
        check("back", &HEAD.replace("[0,8]", "[8,0]"), 8, "tensor `a` has the bytes 8 to 0");
        check("head", "{", 0, "its head is not JSON");
        check("entry", r#"{"a":{"dtype":"F32"}}"#, 0, "entry `a` is wrong");
    }

    #[test]
    fn a_head_longer_than_the_file_is_refused_before_it_is_read() {
        let path = std::env::temp_dir().join(format!("tunesmith-headers-{}-long.safetensors", std::process::id()));
        std::fs::write(&path, u64::MAX.to_le_bytes()).expect("a file can be written");
        let error = read(&path).expect_err("the file is broken").to_string();
        std::fs::remove_file(path).expect("the file can be removed");
        assert!(error.contains("not a whole safetensors file"), "{error}");
    }
}
