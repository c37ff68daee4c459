//! Who and what a plugin is: `plugin.toml` as written, the custom section `tunesmith:manifest` as carried.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tunesmith_core::extra::{self, ExtraParameter, Init};
use tunesmith_core::stage::Stage;

use crate::grants::{self, Grant, Grants, Need};
use crate::limits::Limits;
use crate::outline::{self, ComponentError, Outline, WIT_VERSION};
use crate::settings::SettingsError;
use crate::text;

/// The name of the custom section.
pub const SECTION: &str = "tunesmith:manifest";

/// Bytes of the largest manifest.
const MAX_BYTES: usize = 1 << 20;

/// Sizes that a dimension of a parameter may have.
const SIZES: std::ops::RangeInclusive<u64> = 1..=1 << 24;

/// Who and what a plugin is.
///
/// Unknown fields are passed over, so that plugins built by a newer toolchain can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's own name, of lower-case letters, digits and hyphens. A recipe may call it otherwise.
    pub name: String,
    /// The plugin's version, such as `1.0.2`.
    pub version: String,
    /// The licence, as an SPDX expression.
    pub license: String,
    /// What the plugin does, in one sentence.
    pub description: String,
    /// The paper that the method comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<String>,
    /// The stages that the plugin exports.
    pub stages: Vec<Stage>,
    /// What the plugin asks for. Nothing is granted by asking.
    #[serde(default)]
    pub capabilities: Vec<Grant>,
    /// The JSON Schema of the plugin's settings: an object whose properties are the settings, in order.
    pub settings: Value,
    /// Extra trainable parameters.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// The WIT version that the plugin was written against.
    pub wit: String,
}

/// An extra trainable parameter of a plugin: allocated, optimised and saved by the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The name for `batch.parameter`.
    pub name: String,
    /// The size of each dimension: a number, `hidden`, `vocabulary` or `layers` of the model, or `settings.NAME`, an integer setting.
    pub shape: Vec<Size>,
    /// How it starts: `zeros`, `ones`, `normal` (standard deviation 0.02), or `normal:0.1` with another standard deviation.
    #[serde(default = "zeros")]
    pub init: String,
    /// The highest learning rate, to which the recipe's schedule is applied; without it, the recipe's own.
    #[serde(default, rename = "learning-rate", skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

/// The size of one dimension of a [`Parameter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// So many.
    Number(u32),
    /// As many as the model has: `hidden`, `vocabulary` or `layers`. Or as many as an integer setting says: `settings.NAME`.
    Named(String),
}

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Named(name) => name.fmt(formatter),
        }
    }
}

fn zeros() -> String {
    "zeros".into()
}

/// Why there is no usable manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are no component.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The component has no manifest section.
    #[error("the component has no section `{SECTION}`\nhint: `tunesmith plugin build` writes it from `plugin.toml`")]
    Missing,
    /// The component has several manifest sections.
    #[error(
        "the component has {0} sections `{SECTION}`, not one\nhint: build it again; a second section may have been appended"
    )]
    Several(usize),
    /// The section is larger than any manifest.
    #[error("the section `{SECTION}` has {0} bytes, over the limit of {MAX_BYTES}")]
    TooLarge(usize),
    /// The section is not the JSON of a manifest.
    #[error("the section `{SECTION}` cannot be read: {0}")]
    Json(String),
    /// `plugin.toml` cannot be read.
    #[error("`plugin.toml` cannot be read: {0}")]
    Toml(String),
    /// A field is wrong.
    #[error("the manifest's field `{field}` {fault}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it, and what would be right.
        fault: String,
    },
    /// The manifest and the component's exports disagree.
    #[error(
        "the manifest says stages [{said}], but the component exports [{exported}]\nhint: make `stages` in `plugin.toml` say what the code exports"
    )]
    Stages {
        /// The stages of the manifest.
        said: String,
        /// The stages of the component.
        exported: String,
    },
    /// The component imports a function of a capability that the manifest does not ask for.
    #[error(
        "the component imports `{function}`, but the manifest does not ask for `{grant}`\nhint: add \"{grant}\" to `capabilities` in `plugin.toml`"
    )]
    NotAsked {
        /// The function.
        function: String,
        /// What should be asked for.
        grant: String,
    },
}

/// `plugin.toml`, as written. Unknown keys are mistakes of the author.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    name: String,
    version: String,
    license: String,
    description: String,
    paper: Option<String>,
    stages: Vec<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    parameters: Vec<Parameter>,
}

impl Manifest {
    /// Reads the text of a `plugin.toml`.
    ///
    /// # Errors
    ///
    /// Fails when the text is no TOML, has unknown or missing keys, or a field is wrong.
    pub fn parse(plugin_toml: &str) -> Result<Self, ManifestError> {
        let source: Source = toml::from_str(plugin_toml).map_err(|error| ManifestError::Toml(error.to_string()))?;
        let stages = source.stages.iter().map(|word| word.parse().map_err(|fault| field("stages", fault)));
        let capabilities = source.capabilities.iter().map(|word| word.parse());
        let manifest = Self {
            name: source.name,
            version: source.version,
            license: source.license,
            description: source.description,
            paper: source.paper,
            stages: stages.collect::<Result<_, _>>()?,
            capabilities: capabilities
                .collect::<Result<_, _>>()
                .map_err(|error: crate::grants::UnknownGrant| field("capabilities", error.to_string()))?,
            settings: schema(&source.settings),
            parameters: source.parameters,
            wit: WIT_VERSION.into(),
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads the manifest of a component, without executing anything.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are no component, or its manifest is missing or broken.
    pub fn read(component: &[u8], limits: &Limits) -> Result<Self, ManifestError> {
        let sections = outline::sections(component, limits)?;
        let found: Vec<&[u8]> =
            sections.iter().filter(|section| section.custom == Some(SECTION)).map(|section| section.content).collect();
        let content = match found.as_slice() {
            [] => return Err(ManifestError::Missing),
            [content] => content,
            several => return Err(ManifestError::Several(several.len())),
        };
        if MAX_BYTES < content.len() {
            return Err(ManifestError::TooLarge(content.len()));
        }
        let json = |error: serde_json::Error| ManifestError::Json(error.to_string().escape_debug().to_string());
        let manifest: Self = serde_json::from_slice(content).map_err(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The settings' names, in order.
    pub fn setting_names(&self) -> impl Iterator<Item = &str> {
        self.settings
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.keys().map(String::as_str))
    }

    /// The extra trainable parameters under these settings, which must be those of the schema with defaults filled in.
    ///
    /// # Errors
    ///
    /// Fails when a setting that is a size is no integer from 1 to 16777216.
    pub fn trainable(&self, settings: &Map<String, Value>) -> Result<Vec<ExtraParameter>, SettingsError> {
        self.parameters.iter().map(|parameter| parameter.under(settings)).collect()
    }

    /// Fails when the stages are not those that the component exports, or a capability that the code uses is not asked for: what users
    /// read must be true.
    pub(crate) fn matches(&self, outline: &Outline) -> Result<(), ManifestError> {
        let exported = outline.stages();
        let mut said = self.stages.clone();
        said.sort_unstable();
        said.dedup();
        let words = |stages: &[Stage]| stages.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(", ");
        if said != exported {
            return Err(ManifestError::Stages { said: words(&said), exported: words(&exported) });
        }
        let asked: Grants = self.capabilities.iter().copied().collect();
        match grants::lacks(outline, &asked).into_iter().next() {
            None => Ok(()),
            Some(lack) => {
                let grant = match lack.need {
                    Need::One(grant) => grant,
                    Need::AnyModel | Need::Nothing => Grant::ModelScore,
                };
                Err(ManifestError::NotAsked { function: text::name(&lack.function), grant: grant.name().into() })
            }
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        word("name", &self.name)?;
        let texts = [("version", &self.version), ("license", &self.license), ("description", &self.description)];
        for (name, text) in texts.into_iter().chain(self.paper.iter().map(|paper| ("paper", paper))) {
            // These come to a terminal as they are.
            if text.is_empty() || 2_000 < text.len() || text.chars().any(char::is_control) {
                return Err(field(name, "is empty, longer than 2000 bytes, or has control characters"));
            }
        }
        if self.stages.is_empty() {
            return Err(field("stages", "is empty; name at least one"));
        }
        for (at, parameter) in self.parameters.iter().enumerate() {
            parameter.check(&self.settings)?;
            if self.parameters[..at].iter().any(|earlier| earlier.name == parameter.name) {
                return Err(field("parameters", format!("has `{}` twice", parameter.name)));
            }
        }
        if !self.parameters.is_empty() && !self.stages.contains(&Stage::Objective) {
            return Err(field("parameters", "is given, but only the stage `objective` can use parameters"));
        }
        if 256 < self.parameters.len() {
            return Err(field("parameters", "has more than 256 entries"));
        }
        crate::settings::check_schema(&self.settings).map_err(|fault| field("settings", fault))
    }
}

impl Parameter {
    fn check(&self, schema: &Value) -> Result<(), ManifestError> {
        word("parameters", &self.name)?;
        let fault = |what: String| field("parameters", format!("has `{}` with {what}", self.name));
        if 5 < self.shape.len() {
            return Err(fault(format!("{} dimensions; 5 is the most", self.shape.len())));
        }
        for size in &self.shape {
            self.check_size(size, schema)?;
        }
        if self.start().is_none() {
            return Err(fault("an `init` that is not `zeros`, `ones`, `normal` or `normal:DEVIATION`".into()));
        }
        match self.learning_rate {
            Some(rate) if !(rate.is_finite() && 0.0 <= rate) => {
                Err(fault(format!("the `learning-rate` {rate}, not a number of at least 0")))
            }
            _ => Ok(()),
        }
    }

    fn check_size(&self, size: &Size, schema: &Value) -> Result<(), ManifestError> {
        let fault = |what: String| Err(field("parameters", format!("has `{}` with {what}", self.name)));
        match size {
            Size::Number(number) if SIZES.contains(&u64::from(*number)) => Ok(()),
            Size::Number(number) => fault(format!("the size {number}, not 1 to {}", SIZES.end())),
            Size::Named(name) => match (name.as_str(), name.strip_prefix("settings.")) {
                ("hidden" | "vocabulary" | "layers", _) => Ok(()),
                (_, Some(setting)) if schema["properties"][setting]["type"] == "integer" => Ok(()),
                (_, Some(setting)) => fault(format!(
                    "a size that is the setting `{}`, which is no integer of `[settings]`",
                    text::name(setting)
                )),
                _ => fault(format!(
                    "the size `{}`, which is no number, `hidden`, `vocabulary`, `layers` or `settings.NAME`",
                    text::name(name)
                )),
            },
        }
    }

    /// The parameter under these settings.
    fn under(&self, settings: &Map<String, Value>) -> Result<ExtraParameter, SettingsError> {
        let shape = self.shape.iter().map(|size| self.size_under(size, settings)).collect::<Result<_, _>>()?;
        let init = self.start().unwrap_or(Init::Zeros);
        Ok(ExtraParameter { name: self.name.clone(), shape, init, learning_rate: self.learning_rate })
    }

    fn size_under(&self, size: &Size, settings: &Map<String, Value>) -> Result<extra::Size, SettingsError> {
        let name = match size {
            Size::Number(number) => return Ok(extra::Size::Number(*number)),
            Size::Named(name) => name.as_str(),
        };
        match name {
            "hidden" => return Ok(extra::Size::Hidden),
            "vocabulary" => return Ok(extra::Size::Vocabulary),
            "layers" => return Ok(extra::Size::Layers),
            _ => {}
        }
        let setting = name.strip_prefix("settings.").unwrap_or(name);
        let value = settings.get(setting);
        let number = value.and_then(Value::as_u64).filter(|number| SIZES.contains(number));
        number.and_then(|number| u32::try_from(number).ok()).map(extra::Size::Number).ok_or_else(|| SettingsError {
            field: text::name(setting),
            fault: format!(
                "is {}, but a size of the trainable parameter `{}`",
                value.map_or_else(|| "not there".into(), |value| text::escape(&value.to_string(), 100)),
                self.name
            ),
            hint: format!("give an integer from 1 to {}", SIZES.end()),
        })
    }

    /// How it starts, if `init` says so.
    fn start(&self) -> Option<Init> {
        match (self.init.as_str(), self.init.strip_prefix("normal:")) {
            ("zeros", _) => Some(Init::Zeros),
            ("ones", _) => Some(Init::Ones),
            ("normal", _) => Some(Init::Normal(0.02)),
            (_, deviation) => deviation
                .and_then(|deviation| deviation.parse::<f64>().ok())
                .filter(|deviation| deviation.is_finite() && 0.0 < *deviation)
                .map(Init::Normal),
        }
    }
}

/// Appends the manifest to the component, in place of one that is there.
///
/// # Errors
///
/// Fails when the bytes are no component, `plugin.toml` is wrong, or its stages are not those that the component exports.
pub fn embed(component: &[u8], plugin_toml: &str) -> Result<Vec<u8>, ManifestError> {
    let limits = Limits::default();
    let manifest = Manifest::parse(plugin_toml)?;
    manifest.matches(&outline::read(component, &limits)?)?;
    let json = serde_json::to_vec(&manifest).map_err(|error| ManifestError::Json(error.to_string()))?;
    if MAX_BYTES < json.len() {
        return Err(ManifestError::TooLarge(json.len()));
    }
    let mut bytes = component[..8].to_vec();
    for section in outline::sections(component, &limits)? {
        if section.custom != Some(SECTION) {
            bytes.extend_from_slice(&component[section.range]);
        }
    }
    let mut content = Vec::with_capacity(json.len() + SECTION.len() + 5);
    leb128(&mut content, SECTION.len());
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(&json);
    bytes.push(0);
    leb128(&mut bytes, content.len());
    bytes.extend_from_slice(&content);
    Ok(bytes)
}

/// The JSON Schema of these settings: those without a default are required, others are unknown.
fn schema(properties: &Map<String, Value>) -> Value {
    let required: Vec<&String> =
        properties.iter().filter(|(_, property)| property.get("default").is_none()).map(|(name, _)| name).collect();
    serde_json::json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

fn word(name: &str, text: &str) -> Result<(), ManifestError> {
    let is_word = !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|character| matches!(character, 'a'..='z' | '0'..='9' | '-'));
    if is_word { Ok(()) } else { Err(field(name, "is not a word of 1 to 64 lower-case letters, digits and hyphens")) }
}

fn field(name: &str, fault: impl Into<String>) -> ManifestError {
    ManifestError::Field { field: name.into(), fault: fault.into() }
}

/// Writes an unsigned number as LEB128, as WebAssembly does.
fn leb128(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests;
