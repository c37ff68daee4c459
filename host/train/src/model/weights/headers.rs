//! The heads of safetensors files: what a folder holds, known without reading its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{check_shape, is_harmless, weight_files};
use crate::error::ModelError;

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
    let mut end = 0;
    let mut headers = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let entry: Entry = serde_json::from_value(entry)
            .map_err(|error| broken(format!("its head's entry `{name}` is wrong: {error}")))?;
        end = end.max(entry.data_offsets.1);
        headers.push(WeightHeader { path: path.to_owned(), name, dtype: entry.dtype, shape: entry.shape });
    }
    let data = size - 8 - length;
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
        check("short", HEAD, 7, "its tensors take 8 bytes, the file has 7 for them");
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
