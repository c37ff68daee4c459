//! Reads the header of a GGUF file (versions 2 and 3, little endian) and its tensors' bytes.
//!
//! Nothing in the file is believed: every length is compared with what is left of the file before memory is reserved for it,
//! every sum and product is checked, and tensors must lie inside the file without overlapping.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::blocks::{BlockFormat, name_of};
use super::error::{GgufError, shown};
use super::metadata::{Metadata, Value};

/// The longest header read, in bytes: vocabularies take a few MiB, so more is not a model.
const MAX_HEADER: u64 = 256 << 20;
/// Most metadata keys and most tensors in a file.
const MAX_ENTRIES: u64 = 1 << 17;
/// The longest key or tensor name, in bytes (the format's own limit for keys).
const MAX_NAME: u64 = 65_535;

/// One tensor of the file, as its header describes it.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Name in the file: `blk.0.attn_q.weight`.
    pub name: String,
    /// Dimensions, the fastest first: `[columns, rows]` for a matrix.
    pub dims: Vec<u64>,
    /// How the weights are packed.
    pub format: BlockFormat,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// An open GGUF file with its header read and checked.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Where each name stands in `tensors`.
    places: HashMap<String, usize>,
}

impl Gguf {
    /// Opens `path` and reads its header.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, is not GGUF version 2 or 3, or its header breaks the format.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = File::open(path).map_err(|source| GgufError::io("open", path, source))?;
        let len = file.metadata().map_err(|source| GgufError::io("read", path, source))?.len();
        let mut header = Header { path, input: BufReader::new(file), at: 0, len };
        let (tensor_count, key_count) = header.counts()?;
        let metadata = header.metadata(key_count)?;
        let tensors = header.tensors(tensor_count, &metadata)?;
        let names = tensors.iter().map(|tensor| tensor.name.clone());
        let places = names.zip(0..).collect();
        Ok(Self { path: path.to_owned(), file: header.input.into_inner(), metadata, tensors, places })
    }

    /// The file's path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the order of the header.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`, if the file has it.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.places.get(name).map(|at| &self.tensors[*at])
    }

    /// The packed bytes of one tensor of this file.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read or has become shorter since it was opened.
    pub fn read(&mut self, tensor: &TensorInfo) -> Result<Vec<u8>, GgufError> {
        // `bytes` is at most the length of the file: checked when the header was read.
        let mut bytes = Vec::new();
        let len = usize::try_from(tensor.bytes).unwrap_or(usize::MAX);
        bytes
            .try_reserve_exact(len)
            .map_err(|_| GgufError::tensor(&self.path, &tensor.name, "does not fit in memory"))?;
        let io = |source| GgufError::io("read", &self.path, source);
        self.file.seek(SeekFrom::Start(tensor.offset)).map_err(io)?;
        let read = (&mut self.file).take(tensor.bytes).read_to_end(&mut bytes);
        if read.map_err(io)? < len {
            return Err(GgufError::tensor(
                &self.path,
                &tensor.name,
                "is cut short: the file changed while it was read",
            ));
        }
        Ok(bytes)
    }
}

/// The header while it is read; `at` is the position and `len` the length of the file.
struct Header<'a> {
    path: &'a Path,
    input: BufReader<File>,
    at: u64,
    len: u64,
}

impl Header<'_> {
    fn broken(&self, fault: impl Into<String>) -> GgufError {
        GgufError::broken(self.path, self.at, fault)
    }

    /// Fails unless `bytes` more may be read.
    fn room(&self, bytes: u64, what: &str) -> Result<(), GgufError> {
        if self.len - self.at < bytes {
            let left = self.len - self.at;
            return Err(self.broken(format!("{what} takes {bytes} bytes, {left} are left in the file")));
        }
        if MAX_HEADER - self.at < bytes {
            return Err(self.broken(format!("{what} makes the header longer than {MAX_HEADER} bytes")));
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        self.room(N as u64, what)?;
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|source| GgufError::io("read", self.path, source))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &str) -> Result<String, GgufError> {
        let len = self.u64(what)?;
        self.room(len, what)?;
        let start = self.at;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.input.read_exact(&mut bytes).map_err(|source| GgufError::io("read", self.path, source))?;
        self.at += len;
        String::from_utf8(bytes).map_err(|_| GgufError::broken(self.path, start, format!("{what} is not UTF-8")))
    }

    fn name(&mut self, what: &str) -> Result<String, GgufError> {
        let text = self.text(what)?;
        if text.is_empty() || MAX_NAME < text.len() as u64 {
            return Err(self.broken(format!("{what} is empty or longer than {MAX_NAME} bytes")));
        }
        Ok(text)
    }

    /// Magic number and version; gives the number of tensors and of metadata keys.
    fn counts(&mut self) -> Result<(u64, u64), GgufError> {
        if self.len < 4 || self.array::<4>("the magic number")? != *b"GGUF" {
            return Err(GgufError::broken(self.path, 0, "this is not a GGUF file (no `GGUF` at its start)"));
        }
        match self.u32("the version")? {
            2 | 3 => {}
            // Read the wrong way round, a big-endian 2 or 3 is a very large number.
            0x0200_0000 | 0x0300_0000 => return Err(self.broken("big-endian files cannot be imported")),
            other => return Err(self.broken(format!("GGUF version {other} is unknown (known: 2 and 3)"))),
        }
        let tensors = self.u64("the tensor count")?;
        let keys = self.u64("the metadata count")?;
        if MAX_ENTRIES < tensors || MAX_ENTRIES < keys {
            return Err(self.broken(format!(
                "{tensors} tensors and {keys} metadata keys; at most {MAX_ENTRIES} of each are read"
            )));
        }
        Ok((tensors, keys))
    }

    fn metadata(&mut self, count: u64) -> Result<Metadata, GgufError> {
        let mut metadata = Metadata::new(self.path);
        for _ in 0..count {
            let key = self.name("a metadata key")?;
            let kind = self.u32("a value's type")?;
            let value = match kind {
                9 => self.list(&key)?,
                kind => self.scalar(kind, &key)?,
            };
            if !metadata.insert(key.clone(), value) {
                return Err(self.broken(format!("metadata key `{}` stands there twice", shown(&key))));
            }
        }
        Ok(metadata)
    }

    fn scalar(&mut self, kind: u32, key: &str) -> Result<Value, GgufError> {
        const WHAT: &str = "a metadata value";
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>(WHAT)?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array(WHAT)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array(WHAT)?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array(WHAT)?).into()),
            4 => Value::Unsigned(self.u32(WHAT)?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array(WHAT)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(WHAT)?).into()),
            7 => match self.array::<1>(WHAT)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(self.broken(format!("`{}` is neither 0 nor 1", shown(key)))),
            },
            8 => Value::Text(self.text(WHAT)?),
            10 => Value::Unsigned(self.u64(WHAT)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(WHAT)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(WHAT)?)),
            kind => return Err(self.broken(format!("`{}` has the unknown type {kind}", shown(key)))),
        })
    }

    fn list(&mut self, key: &str) -> Result<Value, GgufError> {
        let kind = self.u32("a list's type")?;
        let count = self.u64("a list's length")?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8, // a text is at least its 8-byte length
            kind => {
                let key = shown(key);
                return Err(self.broken(format!("list `{key}` has the unknown element type {kind}")));
            }
        };
        let bytes = count.checked_mul(size).ok_or_else(|| self.broken("a list's length overflows"))?;
        self.room(bytes, "a list")?;
        let mut integers = Vec::new();
        let mut floats = Vec::new();
        let mut texts = Vec::new();
        for _ in 0..count {
            match self.scalar(kind, key)? {
                Value::Signed(value) => integers.extend(i32::try_from(value)),
                Value::Unsigned(value) => integers.extend(i32::try_from(value)),
                Value::Float(value) if kind == 6 => floats.push(value as f32),
                Value::Text(text) => texts.push(text),
                _ => {}
            }
        }
        let all = |len: usize| len as u64 == count;
        Ok(match kind {
            8 => Value::Texts(texts),
            6 => Value::Floats(floats),
            _ if all(integers.len()) => Value::Integers(integers),
            _ => Value::Other { len: count },
        })
    }

    /// The tensor table, with offsets made absolute and checked against the file.
    fn tensors(&mut self, count: u64, metadata: &Metadata) -> Result<Vec<TensorInfo>, GgufError> {
        const ALIGNMENT: &str = "general.alignment";
        let alignment = u64::from(metadata.integer(ALIGNMENT)?.unwrap_or(32));
        if alignment == 0 || alignment % 8 != 0 {
            return Err(metadata.fault(ALIGNMENT, "is not a multiple of 8"));
        }
        let mut tensors = Vec::new();
        for _ in 0..count {
            tensors.push(self.tensor(alignment)?);
        }
        let data = self.at.next_multiple_of(alignment);
        for tensor in &mut tensors {
            let end = data.checked_add(tensor.offset).and_then(|start| start.checked_add(tensor.bytes));
            if end.is_none_or(|end| self.len < end) {
                let fault = format!(
                    "ends behind the end of the file ({} bytes)\nhint: the download was cut short; fetch it again",
                    self.len
                );
                return Err(GgufError::tensor(self.path, &tensor.name, fault));
            }
            tensor.offset += data;
        }
        self.reject_overlaps(&tensors)?;
        Ok(tensors)
    }

    fn tensor(&mut self, alignment: u64) -> Result<TensorInfo, GgufError> {
        let name = self.name("a tensor's name")?;
        let rank = self.u32("a tensor's rank")?;
        if rank == 0 || 4 < rank {
            return Err(self.broken(format!("tensor `{}` has rank {rank}, not 1 to 4", shown(&name))));
        }
        let mut dims = Vec::new();
        for _ in 0..rank {
            dims.push(self.u64("a tensor's dimension")?);
        }
        let number = self.u32("a tensor's format")?;
        let offset = self.u64("a tensor's offset")?;
        let fault = |fault: String| GgufError::tensor(self.path, &name, fault);
        let format = BlockFormat::from_number(number).ok_or_else(|| {
            let format = name_of(number).map_or_else(|| format!("number {number}"), |name| format!("`{name}`"));
            fault(format!("has the block format {format}, which cannot be read\nhint: take a file in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K"))
        })?;
        let block = format.block_len() as u64;
        if dims[0] % block != 0 || dims.contains(&0) {
            return Err(fault(format!(
                "has the dimensions {dims:?}; {} wants rows in blocks of {block}",
                format.name()
            )));
        }
        let blocks = dims[1..].iter().try_fold(dims[0] / block, |n, dim| n.checked_mul(*dim));
        let bytes = blocks.and_then(|n| n.checked_mul(format.block_bytes() as u64));
        let bytes = bytes.ok_or_else(|| fault(format!("has the dimensions {dims:?}, which overflow")))?;
        if offset % alignment != 0 {
            return Err(fault(format!("starts at {offset}, not a multiple of {alignment}")));
        }
        Ok(TensorInfo { name, dims, format, offset, bytes })
    }

    /// Two tensors with the same name or the same bytes: with them a small file could ask for a huge import.
    fn reject_overlaps(&self, tensors: &[TensorInfo]) -> Result<(), GgufError> {
        let mut names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(GgufError::tensor(self.path, twice[0], "stands there twice"));
        }
        let mut order: Vec<_> = tensors.iter().collect();
        order.sort_by_key(|tensor| tensor.offset);
        for pair in order.windows(2) {
            if pair[1].offset < pair[0].offset + pair[0].bytes {
                let fault = format!("overlaps tensor `{}`", shown(&pair[0].name));
                return Err(GgufError::tensor(self.path, &pair[1].name, fault));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
