//! Which layers of a model look through a window.

use serde_json::Value;

use super::Family;
use super::fields::Fields;
use crate::error::ModelError;

/// What one layer attends to, and how it counts positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// Number of columns that a query sees, its own included; `None` if it sees all before it.
    pub window: Option<usize>,
    /// Which of the model's rotary embeddings the layer uses.
    pub rope: usize,
}

/// The kind of each layer.
pub(super) fn layer_kinds(fields: &Fields<'_>, family: Family, layers: usize) -> Result<Vec<LayerKind>, ModelError> {
    let window = window(fields, family)?;
    let is_sliding = match written(fields, layers)? {
        Some(is_sliding) => is_sliding,
        None => usual(fields, family, layers, window)?,
    };
    let is_uniform = matches!(family, Family::Llama | Family::Mistral | Family::Phi3);
    if is_uniform && is_sliding.iter().any(|sliding| *sliding != window.is_some()) {
        let hint = "layers of different kinds are not supported for this `model_type`";
        return Err(fields.error("layer_types", "does not fit `sliding_window`", hint));
    }
    if window.is_none() && is_sliding.contains(&true) {
        let hint = "give the number of tokens that those layers see, and `use_sliding_window` where the model has it";
        return Err(fields.error("sliding_window", "is missing, and `layer_types` has layers with one", hint));
    }
    let kind = |sliding: bool| LayerKind {
        window: window.filter(|_| sliding),
        rope: usize::from(sliding && family == Family::Gemma3),
    };
    Ok(is_sliding.into_iter().map(kind).collect())
}

fn window(fields: &Fields<'_>, family: Family) -> Result<Option<usize>, ModelError> {
    match family {
        Family::Llama => Ok(None),
        Family::Phi3 => fields.nullable_size("sliding_window", None),
        Family::Qwen2 | Family::Qwen3 if !fields.switch("use_sliding_window", false)? => Ok(None),
        _ => fields.nullable_size("sliding_window", Some(4096)),
    }
}

/// Which layers have a window, as `layer_types` says.
fn written(fields: &Fields<'_>, layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
    const NAME: &str = "layer_types";
    const HINT: &str = "expected \"full_attention\" or \"sliding_attention\" for each layer";
    let Some(value) = fields.get(NAME) else { return Ok(None) };
    let Some(values) = value.as_array() else {
        return Err(fields.error(NAME, "is not a list", HINT));
    };
    if values.len() != layers {
        return Err(fields.error(NAME, &format!("has {} entries for {layers} layers", values.len()), HINT));
    }
    let sliding = |value: &Value| match value.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(fields.error(NAME, &format!("holds {value}, which is not supported"), HINT)),
    };
    values.iter().map(sliding).collect::<Result<_, _>>().map(Some)
}

/// Which layers have a window if the file does not list them.
fn usual(fields: &Fields<'_>, family: Family, layers: usize, window: Option<usize>) -> Result<Vec<bool>, ModelError> {
    let from = match fields.get("max_window_layers").map(Value::as_u64) {
        None => 28,
        Some(Some(layer)) => usize::try_from(layer).unwrap_or(usize::MAX),
        Some(None) => {
            return Err(fields.error("max_window_layers", "is not a whole number", "the first layer with a window"));
        }
    };
    let pattern = match family {
        Family::Gemma3 => fields.optional_size("sliding_window_pattern")?.unwrap_or(6),
        _ => 2,
    };
    let is_sliding = |layer: usize| match family {
        Family::Llama | Family::Mistral | Family::Phi3 => window.is_some(),
        Family::Qwen2 | Family::Qwen3 => window.is_some() && from <= layer,
        // The last layer of each group sees everything.
        Family::Gemma2 | Family::Gemma3 => !(layer + 1).is_multiple_of(pattern),
    };
    Ok((0..layers).map(is_sliding).collect())
}
