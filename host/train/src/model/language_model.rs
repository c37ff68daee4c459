//! A model folder as one value: configuration, decoder, tokenizer, chat template.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use crate::error::ModelError;
use crate::model::config::ModelConfig;
use crate::model::decoder::Decoder;
use crate::model::weights::WeightFiles;
use crate::template::ChatTemplate;
use crate::tokenizer::TextTokenizer;

/// Everything that a Hugging Face model folder holds.
#[derive(Clone, Debug)]
pub struct LanguageModel {
    /// Where it was read from.
    pub folder: PathBuf,
    /// The weights, on the device asked for, without autodiff.
    pub decoder: Decoder,
    /// Text to ids and back.
    pub tokenizer: TextTokenizer,
    /// `None` if the model is not made for chats.
    pub template: Option<ChatTemplate>,
}

impl LanguageModel {
    /// Reads a model folder. Small files are checked first, so that a mistake costs milliseconds.
    ///
    /// # Errors
    ///
    /// Fails when a file is missing or damaged, the files disagree, or the model is of a kind that is not supported.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let config = ModelConfig::load(folder)?;
        let tokenizer = TextTokenizer::load(folder, &config)?;
        let template = ChatTemplate::load(folder, tokenizer.special())?;
        let mut weights = WeightFiles::load(folder, &Decoder::tensor_shapes(&config))?;
        let decoder = Decoder::load(&config, &mut weights, device)?;
        Ok(Self { folder: folder.to_owned(), decoder, tokenizer, template })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// The chat template.
    ///
    /// # Errors
    ///
    /// Fails when the folder has none.
    pub fn chat_template(&self) -> Result<&ChatTemplate, ModelError> {
        self.template.as_ref().ok_or_else(|| ModelError::Template {
            path: self.folder.clone(),
            reason: "the folder has no chat template\nhint: use prompts in plain text, or add `chat_template.jinja`"
                .to_owned(),
        })
    }
}
