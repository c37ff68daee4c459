//! Folds an adapter into a model folder, `W + alpha / rank * B A`: from file to file, one tensor in memory at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::{IndexedParallelIterator as _, ParallelIterator as _, ParallelSlice as _, ParallelSliceMut as _};

use super::peft::{CONFIG, factor_name, read_base, read_config, read_factors};
use super::{LoraSettings, projections};
use crate::error::ModelError;
use crate::model::export::copy_small_files;
use crate::model::shards::{Outline, write_model};
use crate::model::weights::{TensorSource as _, WeightFiles, WeightHeader, check_headers};
use crate::model::{Decoder, ModelConfig, WeightType};
use crate::new_folder::NewFolder;

/// How many numbers of a projection tell models apart.
const FIRST_NUMBERS: u64 = 256;

/// A model folder that was checked and into which adapters can be merged. Its weights were not read yet.
#[derive(Debug)]
pub struct MergeBase {
    folder: PathBuf,
    shapes: BTreeMap<String, Vec<usize>>,
    headers: BTreeMap<String, WeightHeader>,
}

/// A model folder and an adapter that fits it.
#[derive(Debug)]
pub struct Merge {
    base: MergeBase,
    settings: LoraSettings,
    factors: WeightFiles,
}

/// What a merge has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeReport {
    /// Tensors written.
    pub tensors: u64,
    /// How many of them the adapter has changed.
    pub changed: u64,
    /// Weights written.
    pub weights: u64,
    /// The names of the weights files.
    pub files: Vec<String>,
    /// The element types written.
    pub types: BTreeSet<WeightType>,
}

impl MergeBase {
    /// Checks a model folder: its configuration, and the heads of its weights.
    ///
    /// # Errors
    ///
    /// Fails when a file is missing or damaged, or the model is of a kind that is not supported.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let shapes = Decoder::tensor_shapes(&ModelConfig::load(folder)?);
        let headers = check_headers(folder, &shapes)?;
        // What is no parameter of its own, such as the second name of a tied head, is left behind: it would not follow the merge.
        let own = headers.into_iter().filter(|header| shapes.contains_key(&header.name));
        let headers = own.map(|header| (header.name.clone(), header)).collect();
        Ok(Self { folder: folder.to_owned(), shapes, headers })
    }

    /// Reads an adapter, in PEFT's form, that must have been made for a model of these shapes. Unless `any_base`, it must also have been
    /// made for these weights, as far as that can be told: where the folder that it names as its model is still there, the first numbers
    /// of each projection are compared.
    ///
    /// # Errors
    ///
    /// Fails when a file of the adapter is missing or damaged, the adapter was made for another model, or it is of a variant that is not
    /// supported.
    pub fn with_adapter(self, folder: &Path, any_base: bool) -> Result<Merge, ModelError> {
        let settings = read_config(&folder.join(CONFIG))?.on(&projections(&self.shapes));
        let wrong =
            |reason: String, hint: &str| ModelError::Adapter { path: folder.to_owned(), reason, hint: hint.to_owned() };
        if !(settings.alpha.is_finite() && 0.0 < settings.alpha && 0 < settings.rank) {
            let reason = format!("its rank {} and alpha {} are not both above 0", settings.rank, settings.alpha);
            return Err(wrong(reason, "fetch the adapter again"));
        }
        let factors = read_factors(folder, &settings, &self.shapes)?;
        if factors.is_empty() {
            let reason = format!("the model has none of its projections {}", settings.targets.join(", "));
            return Err(wrong(reason, "use it with the model that it was trained on"));
        }
        if !any_base && let Some(named) = read_base(&folder.join(CONFIG)) {
            self.refuse_other_than(Path::new(&named)).map_err(|difference| {
                let named = named.escape_debug();
                let reason =
                    format!("it was made for another model: {difference} in `{named}`, which it names as its model");
                wrong(reason, &format!("merge it into `{named}`, or say that any base will do (`--any-base`)"))
            })?;
        }
        Ok(Merge { base: self, settings, factors })
    }
}

impl MergeBase {
    /// Fails with the first difference if there is a model in the folder `named` and it has other projections than this one. Weights
    /// may differ as much as rounding to bfloat16 makes them: a copy in another type is the same model.
    fn refuse_other_than(&self, named: &Path) -> Result<(), String> {
        let is_same = matches!((named.canonicalize(), self.folder.canonicalize()), (Ok(a), Ok(b)) if a == b);
        let Some(other) = (!is_same).then(|| Self::open(named).ok()).flatten() else { return Ok(()) };
        for (name, header) in self.headers.iter().filter(|(name, _)| name.ends_with("_proj.weight")) {
            let first = |header: &WeightHeader| {
                let kind = WeightType::from_name(&header.dtype)?;
                Some(kind.decode(&header.read(FIRST_NUMBERS * kind.size() as u64).ok()?))
            };
            let Some(there) = other.headers.get(name) else { return Err(format!("there is no `{name}`")) };
            let (Some(a), Some(b)) = (first(header), first(there)) else { continue };
            let largest = a.iter().chain(&b).fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let is_near = |(a, b): (&f32, &f32)| (a - b).abs() <= largest / 128.0;
            if header.shape != there.shape || !a.iter().zip(&b).all(is_near) {
                return Err(format!("`{name}` is another"));
            }
        }
        Ok(())
    }
}

impl Merge {
    /// Writes the merged model into the new folder `out`, which appears complete or not at all: weights in `weight_type`, or each in the
    /// type that it has in the base; `config.json`, tokenizer, generation settings and chat template as in the base. A weights file
    /// longer than `shard_bytes` is split, with an index. `progress` gets weights done and weights in all, after every tensor.
    ///
    /// # Errors
    ///
    /// Fails when `out` exists and is not an empty folder, a file cannot be read or written, or a weight does not fit the type.
    pub fn write(
        mut self,
        out: &Path,
        weight_type: Option<WeightType>,
        shard_bytes: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<MergeReport, ModelError> {
        let folder = NewFolder::create(out)?;
        copy_small_files(&self.base.folder, folder.path(), weight_type)?;
        let outlines = self.outlines(weight_type);
        let total: u64 = outlines.iter().map(Outline::weights).sum();
        let (mut done, mut changed) = (0, 0);
        progress(done, total);
        let files = write_model(folder.path(), &outlines, shard_bytes, &mut |outline| {
            let (bytes, is_changed) = self.tensor(outline)?;
            done += outline.weights();
            changed += u64::from(is_changed);
            progress(done, total);
            Ok::<_, ModelError>(bytes)
        })?;
        folder.finish()?;
        let types = outlines.iter().map(|outline| outline.weight_type).collect();
        Ok(MergeReport { tensors: outlines.len() as u64, changed, weights: total, files, types })
    }

    fn outlines(&self, weight_type: Option<WeightType>) -> Vec<Outline> {
        let own = |header: &WeightHeader| WeightType::from_name(&header.dtype).unwrap_or(WeightType::F32);
        let outline = |header: &WeightHeader| Outline {
            name: header.name.clone(),
            weight_type: weight_type.unwrap_or_else(|| own(header)),
            shape: header.shape.clone(),
        };
        self.base.headers.values().map(outline).collect()
    }

    /// One tensor of the merged model, and whether the adapter has changed it. What is not changed keeps its bytes.
    fn tensor(&mut self, outline: &Outline) -> Result<(Vec<u8>, bool), ModelError> {
        let header = self.base.headers.get(&outline.name).ok_or_else(|| ModelError::MissingTensors {
            folder: self.base.folder.clone(),
            names: vec![outline.name.clone()],
        })?;
        let bytes = header.read(u64::MAX)?;
        let factors = Factors::take(&mut self.factors, outline, self.settings.rank);
        if factors.is_none() && header.dtype == outline.weight_type.name() {
            return Ok((bytes, false));
        }
        let stored = WeightType::from_name(&header.dtype).unwrap_or(WeightType::F32);
        let mut weight = stored.decode(&bytes);
        if let Some(factors) = &factors {
            factors.add_to(&mut weight, self.settings.rank, self.settings.alpha / self.settings.rank as f64);
        }
        Ok((outline.weight_type.encode(&outline.name, &weight)?, factors.is_some()))
    }
}

/// The two factors of one projection, row-major.
struct Factors {
    /// `[rank, input]`.
    a: Vec<f32>,
    /// `[output, rank]`.
    b: Vec<f32>,
}

impl Factors {
    /// Takes the factors of a weight `[output, input]`, if the adapter has some for it.
    fn take(files: &mut WeightFiles, outline: &Outline, rank: usize) -> Option<Self> {
        let name = outline.name.strip_suffix(".weight")?;
        let &[output, input] = outline.shape.as_slice() else { return None };
        let a = files.take(&factor_name(name, "A"), &[rank, input]).ok()?;
        let b = files.take(&factor_name(name, "B"), &[output, rank]).ok()?;
        Some(Self { a, b })
    }

    /// Adds `scale * B A` to a weight `[output, input]`: the product in float32, then scaled, then added, as PEFT does. Rows are worked
    /// on in parallel, each in a fixed order.
    fn add_to(&self, weight: &mut [f32], rank: usize, scale: f64) {
        let input = self.a.len() / rank;
        weight.par_chunks_exact_mut(input).zip(self.b.par_chunks_exact(rank)).for_each(|(row, coefficients)| {
            let mut product = vec![0.0_f32; input];
            for (coefficient, factor) in coefficients.iter().zip(self.a.chunks_exact(input)) {
                product.iter_mut().zip(factor).for_each(|(sum, value)| *sum += coefficient * value);
            }
            row.iter_mut().zip(&product).for_each(|(weight, value)| *weight += value * scale as f32);
        });
    }
}

#[cfg(test)]
mod tests;
