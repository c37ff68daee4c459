//! Text to token ids and back, and which tokens begin, end and pad a text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::Tokenizer;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::processors::sequence::Sequence;
use tunesmith_core::data::Span;

use crate::error::ModelError;
use crate::model::config::ModelConfig;

/// The tokenizer of a model folder.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    special: SpecialTokens,
}

/// Tokens with a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Each of them ends a text.
    pub eos: Vec<u32>,
    /// Fills rows; the first `eos` if the model names none.
    pub pad: Option<u32>,
    /// The texts of the tokens by role, for example `bos_token`; chat templates use them.
    pub texts: BTreeMap<String, String>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` in `folder`, and the special tokens from `generation_config.json`, `config.json`,
    /// `tokenizer_config.json` and `special_tokens_map.json`, the first that names one winning.
    ///
    /// # Errors
    ///
    /// Fails when `tokenizer.json` is missing or damaged, another file is not JSON, or an id has no place in the model's
    /// vocabulary.
    pub fn load(folder: &Path, config: &ModelConfig) -> Result<Self, ModelError> {
        let path = folder.join("tokenizer.json");
        let bytes = fs::read(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let failed = |reason: String| ModelError::Tokenizer { path: path.clone(), reason };
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| {
            failed(format!(
                "is not a tokenizer: {error}\nhint: expected the `tokenizer.json` of the `tokenizers` library"
            ))
        })?;
        // Lengths are our business: a stored setting would cut or fill texts behind our back.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| failed(error.to_string()))?;
        if let Some(processor) = tokenizer.get_post_processor().cloned() {
            tokenizer.with_post_processor(Some(with_blanks(processor)));
        }
        let vocabulary = tokenizer.get_vocab(true);
        if let Some((token, id)) = vocabulary.iter().max_by_key(|(token, id)| (**id, token.as_str()))
            && config.vocab_size <= *id as usize
        {
            return Err(ModelError::VocabularyMismatch {
                path,
                id: *id,
                token: token.clone(),
                vocab_size: config.vocab_size,
            });
        }
        let special = SpecialTokens::read(folder, &tokenizer, config)?;
        Ok(Self { tokenizer, path, special })
    }

    /// Token ids of a text. With `add_special_tokens` the tokenizer adds what it was told to, for example a beginning; texts
    /// that come from a chat template have it already.
    ///
    /// # Errors
    ///
    /// Fails when the tokenizer cannot represent the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, ModelError> {
        match self.tokenizer.encode_fast(text, add_special_tokens) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(ModelError::Tokenizer { path: self.path.clone(), reason: error.to_string() }),
        }
    }

    /// As [`TextTokenizer::encode`], with the characters of the text that each token stands for.
    ///
    /// A token that is a part of a character stands for all of it; a token that the tokenizer adds stands for no text. Blanks belong to the token
    /// that holds them; one that a normalizer puts in front of a text goes with the first character.
    ///
    /// # Errors
    ///
    /// As [`TextTokenizer::encode`].
    pub fn encode_with_spans(&self, text: &str, add_special_tokens: bool) -> Result<(Vec<u32>, Vec<Span>), ModelError> {
        match self.tokenizer.encode_char_offsets(text, add_special_tokens) {
            Ok(encoding) => {
                let span = |&(start, end): &(usize, usize)| Span { start: start as u32, end: end as u32 };
                Ok((encoding.get_ids().to_vec(), encoding.get_offsets().iter().map(span).collect()))
            }
            Err(error) => Err(ModelError::Tokenizer { path: self.path.clone(), reason: error.to_string() }),
        }
    }

    /// Whether each of the first `count` ids has a text that a person could have meant: ids without a token and special tokens have none.
    pub fn plain(&self, count: usize) -> Vec<bool> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let is_special = |id: u32| added.get(&id).is_some_and(|token| token.special);
        (0..count as u32).map(|id| self.tokenizer.id_to_token(id).is_some() && !is_special(id)).collect()
    }

    /// The text of token ids; unknown ids give nothing.
    ///
    /// # Errors
    ///
    /// Fails when the tokenizer's decoder does.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, ModelError> {
        self.tokenizer
            .decode(ids, skip_special_tokens)
            .map_err(|error| ModelError::Tokenizer { path: self.path.clone(), reason: error.to_string() })
    }

    /// Tokens with a role.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The number of tokens, added ones included.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The id of a token's exact text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }
}

/// The processor with offsets that cover the blanks at the borders of a token. Nothing else of it changes.
fn with_blanks(processor: PostProcessorWrapper) -> PostProcessorWrapper {
    match processor {
        PostProcessorWrapper::ByteLevel(it) => it.trim_offsets(false).into(),
        PostProcessorWrapper::Roberta(it) => it.trim_offsets(false).into(),
        PostProcessorWrapper::Sequence(it) => {
            PostProcessorWrapper::Sequence(Sequence::new(it.into_iter().map(with_blanks).collect()))
        }
        other @ (PostProcessorWrapper::Bert(_) | PostProcessorWrapper::Template(_)) => other,
    }
}

impl SpecialTokens {
    fn read(folder: &Path, tokenizer: &Tokenizer, config: &ModelConfig) -> Result<Self, ModelError> {
        let generation = optional_object(&folder.join("generation_config.json"))?;
        let settings = optional_object(&folder.join("tokenizer_config.json"))?;
        let map = optional_object(&folder.join("special_tokens_map.json"))?;
        let mut texts = BTreeMap::new();
        for source in [&map, &settings] {
            for (role, value) in source {
                if role.ends_with("_token")
                    && let Some(text) = token_text(value)
                {
                    texts.insert(role.clone(), text.to_owned());
                }
            }
        }
        let named = |role: &str| texts.get(role).and_then(|text| tokenizer.token_to_id(text));
        let bos =
            ids(&generation, "bos_token_id").first().copied().or(config.bos_token_id).or_else(|| named("bos_token"));
        let eos = [ids(&generation, "eos_token_id"), config.eos_token_ids.clone()]
            .into_iter()
            .find(|ids| !ids.is_empty())
            .unwrap_or_else(|| named("eos_token").into_iter().collect());
        let pad = ids(&generation, "pad_token_id")
            .first()
            .copied()
            .or(config.pad_token_id)
            .or_else(|| named("pad_token"))
            .or_else(|| eos.first().copied());
        // Folders made from other formats often lack the texts; the ids tell them.
        for (role, id) in [("bos_token", bos), ("eos_token", eos.first().copied()), ("pad_token", pad)] {
            if let Some(text) = id.and_then(|id| tokenizer.id_to_token(id)) {
                texts.entry(role.to_owned()).or_insert(text);
            }
        }
        Ok(Self { bos, eos, pad, texts })
    }
}

/// The object in a JSON file; empty when there is no such file.
pub(crate) fn optional_object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let text = fs::read_to_string(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| ModelError::Json { path: path.to_owned(), source })
}

fn ids(object: &Map<String, Value>, name: &str) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match object.get(name) {
        Some(Value::Array(values)) => values.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A token is a text, or an object whose `content` is the text.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

#[cfg(test)]
mod tests;
