//! A model folder against what another implementation computed with it: logits, hidden states, loss, gradients, greedy tokens.
//!
//! The expectations are one JSON object, as a short transformers script writes it. Every field but those it needs is optional:
//! `input_ids` and `attention_mask` (two rows, the second padded on the left), `logits_row0`, `logits_row1_unpadded_part`,
//! `hidden_norms_row0` (L2 norms of the embedding and of each layer's output, the last after the final norm), `greedy_from_first_8`
//! (eight ids of row 0, then generated ones; compared with and without a cache), `nll_row0_labels_from_6` (mean over labels from position 6 on), `gradient_norms` of that
//! loss by parameter, and `runs`: by a user's message, `prompt_ids` after the chat template, greedy `output_ids`, and `top5` pairs of id
//! and logit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use serde_json::json;

use crate::error::ModelError;
use crate::generate::{Generator, Prompt, Sampling};
use crate::model::weights::WeightFiles;
use crate::model::{Decoder, Forward, KvCache, LanguageModel, ModelConfig, TokenBatch};
use crate::template::RenderOptions;
use crate::tensor_values;

/// Added to an expected value's size before an error is divided by it, so that values near 0 do not count too much.
const FLOOR: f64 = 0.1;

/// How far one kind of value is from what was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was compared, by its field.
    pub name: String,
    /// How many values.
    pub values: usize,
    /// The largest `|found - expected| / (|expected| + 0.1)`; infinite where the number of values differs or one is not finite.
    pub error: f64,
}

#[derive(Deserialize)]
struct Expected {
    #[serde(default)]
    input_ids: Vec<Vec<u32>>,
    #[serde(default)]
    attention_mask: Vec<Vec<u32>>,
    logits_row0: Option<Vec<Vec<f32>>>,
    logits_row1_unpadded_part: Option<Vec<Vec<f32>>>,
    hidden_norms_row0: Option<Vec<f32>>,
    greedy_from_first_8: Option<Vec<u32>>,
    nll_row0_labels_from_6: Option<f32>,
    gradient_norms: Option<BTreeMap<String, f32>>,
    #[serde(default)]
    runs: BTreeMap<String, Run>,
}

#[derive(Deserialize)]
struct Run {
    prompt_ids: Option<Vec<u32>>,
    output_ids: Option<Vec<u32>>,
    top5: Option<Vec<(u32, f32)>>,
}

/// Compares the model in `folder` with the expectations in `file`.
///
/// # Errors
///
/// Fails when the folder cannot be used, the file is not the JSON described above or holds nothing to compare, and when its ids or
/// lengths are impossible for this model.
pub fn compare(folder: &Path, file: &Path, device: &Device) -> Result<Vec<Comparison>, ModelError> {
    compare_adapted(folder, None, file, device)
}

/// As [`compare`], with the adapter in a folder on top of the model, if one is given.
///
/// # Errors
///
/// As [`compare`], and when the adapter cannot be used.
pub fn compare_adapted(
    folder: &Path,
    adapter: Option<&Path>,
    file: &Path,
    device: &Device,
) -> Result<Vec<Comparison>, ModelError> {
    let with_adapter = |decoder: Decoder| match adapter {
        Some(adapter) => decoder.load_adapter(adapter),
        None => Ok(decoder),
    };
    let text = fs::read(file).map_err(|source| ModelError::Read { path: file.to_owned(), source })?;
    let expected: Expected =
        serde_json::from_slice(&text).map_err(|source| ModelError::Json { path: file.to_owned(), source })?;
    let mut found = Vec::new();
    if !expected.input_ids.is_empty() {
        let config = ModelConfig::load(folder)?;
        let mut weights = WeightFiles::load(folder, &Decoder::tensor_shapes(&config))?;
        let decoder = with_adapter(Decoder::load(&config, &mut weights, device)?)?;
        rows(&decoder, &expected, &mut found)?;
    }
    if !expected.runs.is_empty() {
        let model = LanguageModel::load(folder, device)?;
        let model = LanguageModel { decoder: with_adapter(model.decoder)?, ..model };
        runs(&model, &expected.runs, &mut found)?;
    }
    if found.is_empty() {
        return Err(ModelError::request(format!("`{}` holds nothing to compare", file.display())));
    }
    Ok(found)
}

impl Expected {
    /// The real tokens of a row.
    fn sequence(&self, row: usize) -> Vec<u32> {
        let ids = self.input_ids.get(row).map(Vec::as_slice).unwrap_or_default();
        let mask = self.attention_mask.get(row).map(Vec::as_slice);
        let is_real = |index: usize| mask.is_none_or(|mask| mask.get(index).copied() == Some(1));
        ids.iter().enumerate().filter(|(index, _)| is_real(*index)).map(|(_, id)| *id).collect()
    }
}

/// Compares numbers.
fn numbers(name: &str, found: &[f32], expected: &[f32]) -> Comparison {
    let error = |(found, expected): (&f32, &f32)| {
        let (found, expected) = (f64::from(*found), f64::from(*expected));
        let error = (found - expected).abs() / (expected.abs() + FLOOR);
        if error.is_finite() { error } else { f64::INFINITY }
    };
    let is_whole = found.len() == expected.len();
    let worst = found.iter().zip(expected).map(error).fold(0.0, f64::max);
    Comparison { name: name.into(), values: expected.len(), error: if is_whole { worst } else { f64::INFINITY } }
}

/// Compares tokens: all equal, or infinitely far.
fn tokens(name: &str, found: &[u32], expected: &[u32]) -> Comparison {
    Comparison { name: name.into(), values: expected.len(), error: if found == expected { 0.0 } else { f64::INFINITY } }
}

fn rows(decoder: &Decoder, expected: &Expected, found: &mut Vec<Comparison>) -> Result<(), ModelError> {
    let sequences: Vec<Vec<u32>> = (0..expected.input_ids.len()).map(|row| expected.sequence(row)).collect();
    let batch = TokenBatch::left_padded(&sequences)?;
    let want = Forward { logits: true, ..Forward::default() };
    if let Some(logits) = decoder.forward(&batch, &want)?.logits {
        let width = batch.width();
        let row = |row: usize, len: usize| tensor_values(logits.clone().narrow(0, row, 1).narrow(1, width - len, len));
        if let Some(expected) = &expected.logits_row0 {
            found.push(numbers("logits_row0", &row(0, sequences[0].len()), &expected.concat()));
        }
        if let (Some(expected), Some(second)) = (&expected.logits_row1_unpadded_part, sequences.get(1)) {
            found.push(numbers("logits_row1_unpadded_part", &row(1, second.len()), &expected.concat()));
        }
    }
    if let Some(norms) = &expected.hidden_norms_row0 {
        let batch = TokenBatch::left_padded(&sequences[..1])?;
        let want = Forward { hidden_layers: (0..=decoder.config().layers).collect(), ..Forward::default() };
        let hidden = decoder.forward(&batch, &want)?.hidden;
        let squares = hidden.into_iter().map(|hidden| tensor_values(hidden.square().sum().sqrt()));
        found.push(numbers("hidden_norms_row0", &squares.flatten().collect::<Vec<f32>>(), norms));
    }
    if let Some(greedy) = &expected.greedy_from_first_8 {
        found.push(tokens("greedy_from_first_8", &continued(decoder, &sequences[0], greedy.len())?, greedy));
        let cached = continued_with_cache(decoder, &sequences[0], greedy.len())?;
        found.push(tokens("greedy_from_first_8 (cached)", &cached, greedy));
    }
    loss(decoder, &sequences[0], expected, found)
}

/// The first 8 tokens and what the model makes of them, `len` in all, each token from a pass over all before it.
fn continued(decoder: &Decoder, sequence: &[u32], len: usize) -> Result<Vec<u32>, ModelError> {
    let mut ids: Vec<u32> = sequence.iter().copied().take(8).collect();
    while ids.len() < len {
        let batch = TokenBatch::left_padded(&[&ids])?;
        let hidden = decoder.hidden(&batch)?.narrow(1, ids.len() - 1, 1);
        ids.push(best(decoder, hidden));
    }
    Ok(ids)
}

/// As [`continued`], with keys and values of earlier tokens from the cache.
fn continued_with_cache(decoder: &Decoder, sequence: &[u32], len: usize) -> Result<Vec<u32>, ModelError> {
    let mut ids: Vec<u32> = sequence.iter().copied().take(8).collect();
    let mut cache = KvCache::new(decoder.config(), vec![0], len.max(ids.len()), &decoder.device().inner());
    let mut hidden = decoder.extend(&ids, &mut cache)?;
    while ids.len() < len {
        let last = hidden.dims()[1] - 1;
        ids.push(best(decoder, hidden.narrow(1, last, 1)));
        hidden = decoder.extend(&ids[ids.len() - 1..], &mut cache)?;
    }
    Ok(ids)
}

/// The likeliest token after one hidden state.
fn best(decoder: &Decoder, hidden: Tensor<3>) -> u32 {
    let logits = tensor_values(decoder.head(hidden));
    logits.iter().enumerate().fold(0, |best, (id, logit)| if logits[best] < *logit { id } else { best }) as u32
}

fn loss(
    decoder: &Decoder,
    sequence: &[u32],
    expected: &Expected,
    found: &mut Vec<Comparison>,
) -> Result<(), ModelError> {
    if expected.nll_row0_labels_from_6.is_none() && expected.gradient_norms.is_none() {
        return Ok(());
    }
    if sequence.len() <= 6 {
        return Err(ModelError::request("the loss is taken from position 6 on, and row 0 has no more than 6 tokens"));
    }
    let decoder = decoder.clone().train();
    let batch = TokenBatch::left_padded(&[sequence])?;
    let loss = decoder.token_logprobs(&batch)?.narrow(1, 6, sequence.len() - 6).mean().neg();
    if let Some(nll) = expected.nll_row0_labels_from_6 {
        found.push(numbers("nll_row0_labels_from_6", &tensor_values(loss.clone()), &[nll]));
    }
    if let Some(norms) = &expected.gradient_norms {
        let gradients: BTreeMap<String, Vec<f32>> = decoder
            .named_gradients(&loss.backward())
            .into_iter()
            .map(|gradient| (gradient.name, gradient.values))
            .collect();
        let norm = |values: &Vec<f32>| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32;
        let here = norms.keys().map(|name| gradients.get(name).map_or(f32::NAN, norm));
        let there: Vec<f32> = norms.values().copied().collect();
        found.push(numbers("gradient_norms", &here.collect::<Vec<f32>>(), &there));
    }
    Ok(())
}

fn runs(model: &LanguageModel, runs: &BTreeMap<String, Run>, found: &mut Vec<Comparison>) -> Result<(), ModelError> {
    for (message, run) in runs {
        let short: String = message.chars().take(32).collect();
        let name = |what: &str| format!("{what} of {short:?}");
        let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
        let text = model.chat_template()?.render(&[json!({"role": "user", "content": message})], &options)?;
        let prompt = model.tokenizer.encode(&text, false)?;
        if let Some(expected) = &run.prompt_ids {
            found.push(tokens(&name("prompt_ids"), &prompt, expected));
        }
        if let Some(top) = &run.top5 {
            let batch = TokenBatch::left_padded(&[&prompt])?;
            let hidden = model.decoder.hidden(&batch)?.narrow(1, prompt.len() - 1, 1);
            let logits = tensor_values(model.decoder.head(hidden));
            let here: Vec<f32> =
                top.iter().map(|(id, _)| logits.get(*id as usize).copied().unwrap_or(f32::NAN)).collect();
            let there: Vec<f32> = top.iter().map(|(_, logit)| *logit).collect();
            found.push(numbers(&name("top5"), &here, &there));
        }
        if let Some(expected) = run.output_ids.as_ref().filter(|ids| !ids.is_empty()) {
            let sampling = Sampling::greedy(expected.len(), &model.tokenizer.special().eos);
            let made = Generator::new(&model.decoder, &model.tokenizer).generate(
                &[Prompt { ids: prompt, stream: 0 }],
                &sampling,
                &mut |_| {},
            )?;
            let ids = made.first().map(|made| made.ids.as_slice()).unwrap_or_default();
            found.push(tokens(&name("output_ids"), ids, expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::{FAMILIES, fixture, tiny_llama};

    #[test]
    fn every_family_is_as_transformers_computed_it() {
        for name in FAMILIES {
            let folder = fixture(name);
            let found = compare(&folder, &folder.join("expected.json"), &Device::flex()).expect("comparable");
            assert_eq!(found.len(), 7);
            for comparison in found {
                assert!(comparison.error <= 1e-4, "{name}: {comparison:?}");
            }
        }
    }

    #[test]
    fn another_number_of_values_or_a_nan_is_infinitely_far() {
        assert!(numbers("a", &[1.0], &[1.0, 2.0]).error.is_infinite());
        assert!(numbers("a", &[f32::NAN], &[1.0]).error.is_infinite());
        assert!((numbers("a", &[1.1], &[0.9]).error - 0.2).abs() < 1e-6);
        assert!(tokens("a", &[1], &[2]).error.is_infinite());
    }

    #[test]
    fn a_file_without_expectations_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.json");
        std::fs::write(&file, "{}").expect("the file can be written");
        assert!(compare(&tiny_llama(), &file, &Device::flex()).is_err());
        std::fs::write(&file, r#"{"input_ids": [[1, 2]], "nll_row0_labels_from_6": 1.0}"#)
            .expect("the file can be written");
        assert!(compare(&tiny_llama(), &file, &Device::flex()).is_err());
    }
}
