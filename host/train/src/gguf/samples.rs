//! Small GGUF files for the tests, written byte by byte.

use std::path::PathBuf;

/// A GGUF file in the making.
#[derive(Default)]
pub(super) struct Sample {
    keys: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn typed(kind: u32, value: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), value].concat()
}

impl Sample {
    pub(super) fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.retain(|(old, _)| old != key);
        self.keys.push((key.to_owned(), typed(kind, value)));
        self
    }

    /// A key a second time, or a first: nothing is replaced.
    pub(super) fn again(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push((key.to_owned(), typed(kind, value)));
        self
    }

    pub(super) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(old, _)| old != key);
        self
    }

    pub(super) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(super) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(super) fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[value.into()])
    }

    pub(super) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value))
    }

    pub(super) fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut bytes = [8_u32.to_le_bytes().to_vec(), (values.len() as u64).to_le_bytes().to_vec()].concat();
        bytes.extend(values.iter().flat_map(|value| text(value)));
        self.raw(key, 9, &bytes)
    }

    pub(super) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let mut bytes = [5_u32.to_le_bytes().to_vec(), (values.len() as u64).to_le_bytes().to_vec()].concat();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    /// A tensor of any format; `dims` has the fastest dimension first.
    pub(super) fn tensor(mut self, name: &str, dims: &[u64], format: u32, data: &[u8]) -> Self {
        self.tensors.retain(|(old, ..)| old != name);
        self.tensors.push((name.to_owned(), dims.to_vec(), format, data.to_vec()));
        self
    }

    /// A float32 tensor that counts up from `first`.
    pub(super) fn counting(self, name: &str, dims: &[u64], first: f32) -> Self {
        let len = dims.iter().product::<u64>();
        let data: Vec<u8> = (0..len).flat_map(|i| (first + i as f32).to_le_bytes()).collect();
        self.tensor(name, dims, 0, &data)
    }

    /// The file; tensor data lie in order, aligned to 32.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(text(key));
            out.extend(value);
        }
        let mut data = Vec::new();
        for (name, dims, format, bytes) in &self.tensors {
            out.extend(text(name));
            out.extend((dims.len() as u32).to_le_bytes());
            out.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(format.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }
}

/// A Llama of one layer: hidden 8, two heads of 4 rows, one key/value head, feed-forward 4, eight tokens.
pub(super) fn llama() -> Sample {
    Sample::default()
        .text("general.architecture", "llama")
        .text("general.name", "sample")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 8)
        .u32("llama.feed_forward_length", 4)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("llama.rope.freq_base", 500.0)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b", "5", "\u{120}", "ab", "\u{120}\u{120}"])
        .i32s("tokenizer.ggml.token_type", &[3, 3, 1, 1, 1, 1, 1, 1])
        .texts("tokenizer.ggml.merges", &["a b", "\u{120} \u{120}"])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1)
        .text("tokenizer.chat_template", "{{ messages[0].content }}")
        .counting("token_embd.weight", &[8, 8], 0.0)
        .counting("output_norm.weight", &[8], 0.0)
        .counting("blk.0.attn_norm.weight", &[8], 1.0)
        .counting("blk.0.attn_q.weight", &[8, 8], 0.0)
        .counting("blk.0.attn_k.weight", &[8, 4], 0.0)
        .counting("blk.0.attn_v.weight", &[8, 4], 0.0)
        .counting("blk.0.attn_output.weight", &[8, 8], 0.0)
        .counting("blk.0.ffn_norm.weight", &[8], 0.0)
        .counting("blk.0.ffn_gate.weight", &[8, 4], 0.0)
        .counting("blk.0.ffn_up.weight", &[8, 4], 0.0)
        .counting("blk.0.ffn_down.weight", &[4, 8], 0.0)
}

/// A private folder that disappears at the end of the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tunesmith-gguf-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path)
    }

    pub(super) fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.join("sample.gguf");
        std::fs::write(&path, bytes).expect("the temporary folder can be written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
