//! The rotary part of a `config.json`, in the spellings of transformers 4 (`rope_theta`, `rope_scaling`, `rope_local_base_freq`)
//! and 5 (`rope_parameters`, for some families one per kind of layer).

use serde_json::Value;

use super::Family;
use super::fields::Fields;
use crate::error::ModelError;

/// How the angles of positions are made.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Dimensions of a head that are turned, from the first on; even. The others carry no position.
    pub rotary_dim: usize,
    /// What was done to the frequencies to reach longer texts.
    pub scaling: RopeScaling,
}

/// Changes of the rotary frequencies, named as in transformers.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// `default`. `dynamic` is the same up to the model's positions, and longer sequences are refused.
    None,
    /// `linear`: all frequencies are divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// `llama3`: long wavelengths are divided by a factor, short ones kept, those between blended.
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Wavelengths above `original / low` are long.
        low: f64,
        /// Wavelengths below `original / high` are short.
        high: f64,
        /// Positions that the model was first trained with.
        original: usize,
    },
    /// `yarn` (Peng et al. 2023, arXiv 2309.00071): a ramp over dimensions between divided and kept frequencies.
    Yarn {
        /// The divisor.
        factor: f64,
        /// Cosines and sines are multiplied by it.
        attention_factor: f64,
        /// Full turns over the original positions from which on a dimension is kept.
        beta_fast: f64,
        /// Full turns up to which a dimension is divided.
        beta_slow: f64,
        /// Positions that the model was first trained with.
        original: usize,
        /// Whether the ends of the ramp are whole dimensions.
        is_truncated: bool,
    },
    /// `longrope` (Ding et al. 2024, arXiv 2402.13753): a divisor for each frequency, one set for short sequences, one for long.
    Long {
        /// Divisors for sequences of at most `original` tokens.
        short: Vec<f64>,
        /// Divisors for all tokens of longer sequences.
        long: Vec<f64>,
        /// Positions that the model was first trained with.
        original: usize,
        /// Cosines and sines are multiplied by it.
        attention_factor: f64,
    },
}

/// Sizes that the rotary part depends on.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) head_dim: usize,
    pub(super) max_positions: usize,
}

/// The angles of full layers, and for Gemma 3 those of layers with a window.
pub(super) fn ropes(fields: &Fields<'_>, family: Family, sizes: Sizes) -> Result<Vec<RopeConfig>, ModelError> {
    let scaling = fields.object("rope_scaling")?.filter(|scaling| scaling.names().next().is_some());
    let parameters = fields.object("rope_parameters")?;
    if scaling.is_some() && parameters.is_some() && fields.get("rope_scaling") != fields.get("rope_parameters") {
        return Err(fields.error(
            "rope_scaling",
            "and `rope_parameters` say different things",
            "keep the one that the model was trained with",
        ));
    }
    let part = |own: Option<Fields<'_>>, theta: f64| rope(fields, own.as_ref(), family, theta, sizes);
    if family != Family::Gemma3 {
        return Ok(vec![part(scaling.or(parameters), fields.positive("rope_theta", Some(10_000.0))?)?]);
    }
    let (mut full, mut sliding) = (scaling, None);
    if let Some(parameters) = parameters.filter(|_| full.is_none()) {
        if let Some(name) = parameters.names().find(|name| !matches!(*name, "full_attention" | "sliding_attention")) {
            let hint = "expected an object for each of `full_attention` and `sliding_attention`";
            return Err(parameters.error(name, "is not a kind of layer", hint));
        }
        (full, sliding) = (parameters.object("full_attention")?, parameters.object("sliding_attention")?);
    }
    Ok(vec![
        part(full, fields.positive("rope_theta", Some(1_000_000.0))?)?,
        part(sliding, fields.positive("rope_local_base_freq", Some(10_000.0))?)?,
    ])
}

/// One set of angles; `own` is what the file says about it, `theta` its base if that says nothing.
fn rope(
    fields: &Fields<'_>,
    own: Option<&Fields<'_>>,
    family: Family,
    theta: f64,
    sizes: Sizes,
) -> Result<RopeConfig, ModelError> {
    let rotary_dim = rotary_dim(fields, own, family, sizes.head_dim)?;
    let Some(own) = own else { return Ok(RopeConfig { theta, rotary_dim, scaling: RopeScaling::None }) };
    let theta = own.positive("rope_theta", Some(theta))?;
    let kind = kind(own)?;
    let scaling = match kind {
        "default" => RopeScaling::None,
        "dynamic" => own.positive("factor", None).map(|_| RopeScaling::None)?,
        "linear" => RopeScaling::Linear { factor: own.positive("factor", None)? },
        "llama3" => llama3(own, sizes)?,
        "yarn" if family != Family::Phi3 => yarn(own, theta, sizes)?,
        "longrope" => long(fields, own, family, rotary_dim, sizes)?,
        "su" if family == Family::Phi3 => long(fields, own, family, rotary_dim, sizes)?,
        other => {
            let name = if own.get("rope_type").is_some() { "rope_type" } else { "type" };
            let hint = "supported are \"default\", \"linear\", \"dynamic\", \"llama3\", \"yarn\" and \"longrope\"";
            return Err(own.error(name, &format!("is \"{other}\", which is not supported"), hint));
        }
    };
    reject_others(own, kind)?;
    Ok(RopeConfig { theta, rotary_dim, scaling })
}

/// The kind of scaling; the newer name of the field goes first.
fn kind<'a>(own: &Fields<'a>) -> Result<&'a str, ModelError> {
    for name in ["rope_type", "type"] {
        match own.get(name) {
            None => {}
            Some(Value::String(kind)) => return Ok(kind),
            Some(other) => return Err(own.error(name, &format!("is {other}"), "expected a text")),
        }
    }
    Ok("default")
}

/// Fails on what this kind of scaling does not know.
fn reject_others(own: &Fields<'_>, kind: &str) -> Result<(), ModelError> {
    let known: &[&str] = match kind {
        "linear" | "dynamic" => &["factor"],
        "llama3" => &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
        "yarn" => &[
            "factor",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "original_max_position_embeddings",
            "truncate",
        ],
        "longrope" | "su" => {
            &["factor", "attention_factor", "short_factor", "long_factor", "original_max_position_embeddings"]
        }
        _ => &[],
    };
    let is_known = |name: &str| {
        matches!(name, "rope_theta" | "rope_type" | "type" | "partial_rotary_factor") || known.contains(&name)
    };
    match own.names().find(|name| !is_known(name)) {
        Some(name) => {
            let value = own.get(name).unwrap_or(&Value::Null);
            let hint = format!("it has no meaning for rotary embedding of type \"{kind}\"; remove the field");
            Err(own.error(name, &format!("is {value}, which is not supported"), &hint))
        }
        None => Ok(()),
    }
}

/// How many dimensions of a head are turned.
fn rotary_dim(
    fields: &Fields<'_>,
    own: Option<&Fields<'_>>,
    family: Family,
    head_dim: usize,
) -> Result<usize, ModelError> {
    const NAME: &str = "partial_rotary_factor";
    let place = own.filter(|own| own.get(NAME).is_some()).unwrap_or(fields);
    let factor = place.positive(NAME, Some(1.0))?;
    // transformers cuts to a whole number.
    let dim = (head_dim as f64 * factor) as usize;
    if dim == head_dim {
        return Ok(dim);
    }
    let value = format!("is {factor}, of heads of width {head_dim}");
    if family != Family::Phi3 {
        return Err(place.error(NAME, &value, "supported is 1.0 for this `model_type`"));
    }
    if head_dim < dim || dim == 0 || !dim.is_multiple_of(2) {
        return Err(place.error(NAME, &value, "expected a part of the head that is an even number of dimensions"));
    }
    Ok(dim)
}

fn original(own: &Fields<'_>, sizes: Sizes) -> Result<usize, ModelError> {
    Ok(own.optional_size("original_max_position_embeddings")?.unwrap_or(sizes.max_positions))
}

fn llama3(own: &Fields<'_>, sizes: Sizes) -> Result<RopeScaling, ModelError> {
    let (low, high) = (own.positive("low_freq_factor", None)?, own.positive("high_freq_factor", None)?);
    if high <= low {
        return Err(own.error(
            "high_freq_factor",
            &format!("is {high}, not above `low_freq_factor` {low}"),
            "wavelengths between the two are blended",
        ));
    }
    Ok(RopeScaling::Llama3 { factor: own.positive("factor", None)?, low, high, original: original(own, sizes)? })
}

fn yarn(own: &Fields<'_>, theta: f64, sizes: Sizes) -> Result<RopeScaling, ModelError> {
    if theta <= 1.0 {
        return Err(own.error("rope_theta", &format!("is {theta}"), "type \"yarn\" needs a base above 1"));
    }
    let factor = own.positive("factor", None)?;
    let scale = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
    let [mscale, all] = ["mscale", "mscale_all_dim"].map(|name| match own.get(name).and_then(Value::as_f64) {
        Some(0.0) => Ok(None),
        _ => own.nullable_positive(name, None),
    });
    let attention_factor = match (mscale?, all?) {
        (Some(mscale), Some(all)) => scale(mscale) / scale(all),
        _ => scale(1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        attention_factor: own.positive("attention_factor", Some(attention_factor))?,
        beta_fast: own.positive("beta_fast", Some(32.0))?,
        beta_slow: own.positive("beta_slow", Some(1.0))?,
        original: original(own, sizes)?,
        is_truncated: own.switch("truncate", true)?,
    })
}

fn long(
    fields: &Fields<'_>,
    own: &Fields<'_>,
    family: Family,
    rotary_dim: usize,
    sizes: Sizes,
) -> Result<RopeScaling, ModelError> {
    const ORIGINAL: &str = "original_max_position_embeddings";
    let nested = own.optional_size(ORIGINAL)?;
    let original = if family == Family::Phi3 {
        fields.optional_size(ORIGINAL)?.unwrap_or(4096)
    } else {
        nested.unwrap_or(sizes.max_positions)
    };
    if nested.is_some_and(|nested| nested != original) {
        let reason = format!("is not the {original} of the model's own `{ORIGINAL}`");
        return Err(own.error(ORIGINAL, &reason, "transformers takes the model's own"));
    }
    let divisors = |name: &str| -> Result<Vec<f64>, ModelError> {
        let divisors = own.positives(name)?;
        if divisors.len() == rotary_dim / 2 {
            return Ok(divisors);
        }
        let reason = format!("has {} numbers, not {}", divisors.len(), rotary_dim / 2);
        Err(own.error(name, &reason, "one for each pair of turned dimensions"))
    };
    let factor = own.positive("factor", Some(sizes.max_positions as f64 / original as f64))?;
    let inferred =
        if factor <= 1.0 || original == 1 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
    Ok(RopeScaling::Long {
        short: divisors("short_factor")?,
        long: divisors("long_factor")?,
        original,
        attention_factor: own.positive("attention_factor", Some(inferred))?,
    })
}
