//! What a plugin may use beyond its own data: nothing, unless the recipe or the command line grants it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::outline::{Item, Outline};
use crate::text;

/// One right that only the recipe or the command line can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grant {
    /// Sample from the run's models.
    #[serde(rename = "model.generate")]
    ModelGenerate,
    /// Score completions under the run's models.
    #[serde(rename = "model.score")]
    ModelScore,
    /// Embed texts with the run's models.
    #[serde(rename = "model.embed")]
    ModelEmbed,
    /// Run forward passes inside an objective.
    #[serde(rename = "model.forward")]
    ModelForward,
    /// Ask the recipe's judge.
    #[serde(rename = "judge")]
    Judge,
    /// Read and replace the model's parameters.
    #[serde(rename = "parameters")]
    Parameters,
}

impl Grant {
    /// All grants there are.
    pub const ALL: [Self; 6] =
        [Self::ModelGenerate, Self::ModelScore, Self::ModelEmbed, Self::ModelForward, Self::Judge, Self::Parameters];

    /// The word in recipes and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::ModelGenerate => "model.generate",
            Self::ModelScore => "model.score",
            Self::ModelEmbed => "model.embed",
            Self::ModelForward => "model.forward",
            Self::Judge => "judge",
            Self::Parameters => "parameters",
        }
    }

    fn is_of_model(self) -> bool {
        matches!(self, Self::ModelGenerate | Self::ModelScore | Self::ModelEmbed | Self::ModelForward)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Grant {
    type Err = UnknownGrant;

    fn from_str(word: &str) -> Result<Self, UnknownGrant> {
        Self::ALL.into_iter().find(|grant| grant.name() == word).ok_or_else(|| UnknownGrant::new(word))
    }
}

/// A word that is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown grant `{word}`\nhint: {hint}")]
pub struct UnknownGrant {
    /// The word, escaped.
    pub word: String,
    /// What would have been right.
    pub hint: String,
}

impl UnknownGrant {
    fn new(word: &str) -> Self {
        Self { word: word.escape_debug().to_string(), hint: text::hint(word, Grant::ALL.map(Grant::name)) }
    }
}

/// The rights of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// No rights at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The rights that these words name.
    ///
    /// # Errors
    ///
    /// Fails at the first word that is no grant.
    pub fn parse<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, UnknownGrant> {
        words.into_iter().map(|word| word.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this right is given.
    pub fn has(&self, grant: Grant) -> bool {
        self.0.contains(&grant)
    }

    /// The rights, in the order of [`Grant::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Grant> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn meets(&self, need: Need) -> bool {
        match need {
            Need::Nothing => true,
            Need::One(grant) => self.has(grant),
            Need::AnyModel => self.iter().any(Grant::is_of_model),
        }
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.iter().map(|grant| format!("\"{grant}\"")).collect();
        write!(formatter, "[{}]", words.join(", "))
    }
}

/// What an imported function needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It is always there.
    Nothing,
    /// This grant.
    One(Grant),
    /// One of the model grants, whichever.
    AnyModel,
}

/// A function that a component imports without the right to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) function: String,
    pub(crate) need: Need,
}

/// What the function `function` of the interface `interface` needs.
pub(crate) fn need(interface: &str, function: &str) -> Need {
    match (interface, function) {
        ("model", "[method]language-model.generate") => Need::One(Grant::ModelGenerate),
        ("model", "[method]language-model.score" | "[method]language-model.score-next") => Need::One(Grant::ModelScore),
        ("model", "[method]language-model.embed") => Need::One(Grant::ModelEmbed),
        ("model", "[method]language-model.forward") => Need::One(Grant::ModelForward),
        ("model", name) if name.contains("]forward-") => Need::One(Grant::ModelForward),
        // Builders and results do nothing by themselves; whatever else a later host adds is refused until it is listed here.
        ("model", name)
            if ["]prompts", "]sampling", "]generations.", "]scores."].iter().any(|kind| name.contains(kind)) =>
        {
            Need::Nothing
        }
        ("model", _) => Need::AnyModel,
        ("judging", _) => Need::One(Grant::Judge),
        ("parameters", _) => Need::One(Grant::Parameters),
        _ => Need::Nothing,
    }
}

/// The grants that a component needs for what it imports.
pub fn needed(outline: &Outline) -> Grants {
    missing(&lacks(outline, &Grants::none()))
}

/// Every function that the component imports and `grants` does not allow.
pub(crate) fn lacks(outline: &Outline, grants: &Grants) -> Vec<Lack> {
    let functions = outline.imports.iter().filter_map(|import| match &import.item {
        Item::Contract { interface, .. } => Some((interface, &import.functions)),
        Item::Foreign => None,
    });
    functions
        .flat_map(|(interface, functions)| functions.iter().map(move |function| (interface, function)))
        .map(|(interface, function)| Lack {
            function: format!("{interface}.{function}"),
            need: need(interface, function),
        })
        .filter(|lack| !grants.meets(lack.need))
        .collect()
}

/// The grants that would make up for these lacks.
pub(crate) fn missing(lacks: &[Lack]) -> Grants {
    let named: Grants = lacks
        .iter()
        .filter_map(|lack| match lack.need {
            Need::One(grant) => Some(grant),
            Need::AnyModel | Need::Nothing => None,
        })
        .collect();
    let is_any_enough = named.iter().any(Grant::is_of_model) || !lacks.iter().any(|lack| lack.need == Need::AnyModel);
    if is_any_enough { named } else { named.iter().chain([Grant::ModelScore]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_needs_its_own_grant() {
        assert_eq!(need("model", "[method]language-model.generate"), Need::One(Grant::ModelGenerate));
        assert_eq!(need("model", "[static]forward-request.from-tokens"), Need::One(Grant::ModelForward));
        assert_eq!(need("model", "[method]language-model.layers"), Need::AnyModel);
        assert_eq!(need("model", "[constructor]prompts"), Need::Nothing);
        assert_eq!(need("judging", "compare"), Need::One(Grant::Judge));
        assert_eq!(need("tensors", "[method]tensor.add"), Need::Nothing);
    }

    #[test]
    fn a_misspelt_grant_is_an_error_with_a_hint() {
        let error = Grants::parse(["model.genrate"]).expect_err("no such grant");
        assert!(error.to_string().contains("did you mean `model.generate`?"), "{error}");
    }
}
