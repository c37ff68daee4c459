//! The tokenizer of a GGUF file as `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.
//!
//! Byte-level BPE vocabularies (`tokenizer.ggml.model = gpt2`) only. How text is cut before merging depends on
//! `tokenizer.ggml.pre`; an unknown value is refused, because guessing changes the ids.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::error::{GgufError, shown};
use super::metadata::Metadata;

/// Token kinds of `tokenizer.ggml.token_type`.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// How Llama 3 cuts text before merging (its `tokenizer.json`).
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How Qwen 2 cuts text before merging (its `tokenizer.json`).
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The files of a tokenizer and the ids that other files repeat.
#[derive(Debug)]
pub(super) struct Tokenizer {
    /// `tokenizer.json`.
    pub(super) json: Json,
    /// `tokenizer_config.json`.
    pub(super) config: Json,
    /// `special_tokens_map.json`.
    pub(super) special_tokens: Json,
    /// First token of a text or turn, if there is one.
    pub(super) bos: Option<u32>,
    /// Tokens that end an answer, the main one first.
    pub(super) eos: Vec<u32>,
    /// Filler of short rows.
    pub(super) pad: Option<u32>,
    /// Token for what cannot be encoded.
    pub(super) unknown: Option<u32>,
}

impl Tokenizer {
    /// Reads the tokenizer out of the metadata; `context` is the model's longest input in tokens.
    pub(super) fn from_metadata(meta: &Metadata, context: u32) -> Result<Self, GgufError> {
        const MODEL: &str = "tokenizer.ggml.model";
        match meta.text(MODEL)? {
            Some("gpt2") => {}
            Some(other) => return Err(meta.unknown(MODEL, other, "`gpt2` (byte-level BPE)")),
            None => return Err(meta.fault(MODEL, "is missing")),
        }
        let tokens = meta.texts("tokenizer.ggml.tokens")?;
        let id = |key: &str| token_id(meta, key, tokens.len());
        let bos = id("tokenizer.ggml.bos_token_id")?;
        let mut eos: Vec<u32> = id("tokenizer.ggml.eos_token_id")?.into_iter().collect();
        if let Some(turn) = id("tokenizer.ggml.eot_token_id")?
            && !eos.contains(&turn)
        {
            eos.push(turn);
        }
        let pad = id("tokenizer.ggml.padding_token_id")?;
        let unknown = id("tokenizer.ggml.unknown_token_id")?;
        let adds_bos = meta.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
        let prefix = bos.filter(|_| adds_bos).map(|id| (id, tokens[id as usize].as_str()));
        let text = |id: Option<u32>| id.map(|id| tokens[id as usize].as_str());
        let special = special_tokens([
            ("bos_token", text(bos)),
            ("eos_token", text(eos.first().copied())),
            ("pad_token", text(pad)),
            ("unk_token", text(unknown)),
        ]);
        let mut config = special.clone();
        config.insert("add_bos_token".to_owned(), adds_bos.into());
        config.insert("clean_up_tokenization_spaces".to_owned(), false.into());
        config.insert("model_max_length".to_owned(), context.into());
        config.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
        if let Some(template) = meta.text("tokenizer.chat_template")? {
            config.insert("chat_template".to_owned(), template.into());
        }
        Ok(Self {
            json: tokenizer(meta, tokens, prefix)?,
            config: Json::Object(config),
            special_tokens: Json::Object(special),
            bos,
            eos,
            pad,
            unknown,
        })
    }

    /// `generation_config.json`.
    pub(super) fn generation_config(&self) -> Json {
        let mut map = Map::new();
        map.extend(self.bos.map(|id| ("bos_token_id".to_owned(), id.into())));
        map.extend(self.eos_json().map(|ids| ("eos_token_id".to_owned(), ids)));
        map.extend(self.pad.map(|id| ("pad_token_id".to_owned(), id.into())));
        Json::Object(map)
    }

    /// The end tokens as Hugging Face writes them: one id, or a list; none where there is no end token.
    pub(super) fn eos_json(&self) -> Option<Json> {
        match self.eos.as_slice() {
            [] => None,
            [id] => Some((*id).into()),
            ids => Some(ids.into()),
        }
    }
}

fn special_tokens(tokens: [(&str, Option<&str>); 4]) -> Map<String, Json> {
    let present = tokens.into_iter().filter_map(|(name, text)| Some((name, text?)));
    present.map(|(name, text)| (name.to_owned(), text.into())).collect()
}

/// A token id that must lie in the vocabulary.
fn token_id(meta: &Metadata, key: &str, tokens: usize) -> Result<Option<u32>, GgufError> {
    match meta.integer(key)? {
        Some(id) if tokens <= id as usize => Err(meta.fault(key, format!("is {id}, but there are {tokens} tokens"))),
        id => Ok(id),
    }
}

/// `tokenizer.json`; `prefix` is the token put before every text, if any.
fn tokenizer(meta: &Metadata, tokens: &[String], prefix: Option<(u32, &str)>) -> Result<Json, GgufError> {
    let cut = Cut::from_metadata(meta)?;
    let ids = vocabulary(meta, tokens)?;
    let merges = merges(meta, &ids)?;
    let vocab: Map<String, Json> = tokens.iter().zip(0_u32..).map(|(token, id)| (token.clone(), id.into())).collect();
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(meta, tokens)?,
        "normalizer": cut.normalizer,
        "pre_tokenizer": cut.pre_tokenizer,
        "post_processor": post_processor(prefix),
        "decoder": byte_level(true, true),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": cut.ignore_merges,
            "vocab": vocab,
            "merges": merges,
        },
    }))
}

/// How text is cut before merging.
struct Cut {
    normalizer: Json,
    pre_tokenizer: Json,
    /// A word that is a token as a whole is taken as that, whatever the merges say.
    ignore_merges: bool,
}

impl Cut {
    fn from_metadata(meta: &Metadata) -> Result<Self, GgufError> {
        const PRE: &str = "tokenizer.ggml.pre";
        const SPACE: &str = "tokenizer.ggml.add_space_prefix";
        let space = meta.bool(SPACE)?.unwrap_or(false);
        let pattern = |pattern: &str| {
            let split =
                json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
            sequence(&[split, byte_level(space, false)])
        };
        let digits = json!({ "type": "Digits", "individual_digits": true });
        let (normalizer, pre_tokenizer, ignore_merges) = match meta.text(PRE)? {
            // Without `Digits`, runs of spaces before a digit get other ids than in training.
            Some("smollm") => (Json::Null, sequence(&[digits, byte_level(space, true)]), false),
            Some("gpt-2" | "gpt2") => (Json::Null, byte_level(space, true), false),
            Some("llama3" | "llama-v3" | "llama-bpe") => (Json::Null, pattern(LLAMA3), true),
            Some("qwen2") => (json!({ "type": "NFC" }), pattern(QWEN2), false),
            Some(other) => return Err(meta.unknown(PRE, other, "`smollm`, `gpt-2`, `llama-bpe`, `qwen2`")),
            None => return Err(meta.fault(
                PRE,
                "is missing, so the way to cut text is unknown\nhint: convert the model again with a current llama.cpp",
            )),
        };
        Ok(Self { normalizer, pre_tokenizer, ignore_merges })
    }
}

fn sequence(parts: &[Json]) -> Json {
    json!({ "type": "Sequence", "pretokenizers": parts })
}

fn byte_level(add_prefix_space: bool, use_regex: bool) -> Json {
    json!({ "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex })
}

fn post_processor(prefix: Option<(u32, &str)>) -> Json {
    let text = |id: &str, kind: u32| json!({ "Sequence": { "id": id, "type_id": kind } });
    let (mut single, mut pair, mut special) = (vec![text("A", 0)], vec![text("A", 0), text("B", 1)], Map::new());
    if let Some((id, token)) = prefix {
        let first = |kind: u32| json!({ "SpecialToken": { "id": token, "type_id": kind } });
        single.insert(0, first(0));
        pair.insert(1, first(1));
        pair.insert(0, first(0));
        special.insert(token.to_owned(), json!({ "id": token, "ids": [id], "tokens": [token] }));
    }
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special })
}

/// The id of every token; fails where two tokens are the same.
fn vocabulary<'a>(meta: &Metadata, tokens: &'a [String]) -> Result<HashMap<&'a str, u32>, GgufError> {
    let mut ids = HashMap::new();
    for (token, id) in tokens.iter().zip(0_u32..) {
        if let Some(first) = ids.insert(token.as_str(), id) {
            let fault = format!("has `{}` twice, as {first} and {id}", shown(token));
            return Err(meta.fault("tokenizer.ggml.tokens", fault));
        }
    }
    Ok(ids)
}

/// The merges in order, each as the two tokens it joins; all three tokens must exist.
fn merges<'a>(meta: &'a Metadata, ids: &HashMap<&str, u32>) -> Result<Vec<(&'a str, &'a str)>, GgufError> {
    const KEY: &str = "tokenizer.ggml.merges";
    let mut merges = Vec::new();
    let mut joined = String::new();
    for (at, merge) in meta.texts(KEY)?.iter().enumerate() {
        // Byte-level tokens hold no plain space, so the first one is the border.
        let pair = merge.split_once(' ').filter(|(left, right)| {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            [left, right, joined.as_str()].iter().all(|token| ids.contains_key(token))
        });
        let Some(pair) = pair else {
            let fault = format!("has `{}` at {at}, which does not join two tokens to a third", shown(merge));
            return Err(meta.fault(KEY, fault));
        };
        merges.push(pair);
    }
    Ok(merges)
}

/// Control and user-defined tokens, which are found in the text before it is cut.
fn added_tokens(meta: &Metadata, tokens: &[String]) -> Result<Vec<Json>, GgufError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let kinds = meta.integers(KEY)?.unwrap_or(&[]);
    if kinds.len() != tokens.len() {
        return Err(meta.fault(KEY, format!("has {} entries for {} tokens", kinds.len(), tokens.len())));
    }
    let added = tokens.iter().zip(kinds).enumerate();
    let added = added.filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].contains(*kind));
    Ok(added.map(|(id, (token, kind))| added_token(id, token, *kind == CONTROL)).collect())
}

fn added_token(id: usize, content: &str, special: bool) -> Json {
    json!({
        "id": id,
        "content": content,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": special,
    })
}
