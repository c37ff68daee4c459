//! `[data]` with every choice made that needs no file.

use std::path::{Path, PathBuf};

use super::{DataPlan, FilePlan, SourcePlan, fault};
use crate::recipe::{Data, Eval, EvalFiles, FileUse, Files, Loss, RecipeError};

/// The usual name of the tools' column.
pub(super) const TOOLS: &str = "tools";
/// The usual name of the plain text's column.
pub(super) const TEXT: &str = "text";

/// The usual name of the better completion's column.
pub(super) const CHOSEN: &str = "chosen";
/// The usual name of the worse completion's column.
pub(super) const REJECTED: &str = "rejected";

/// The weights that are taken: within these an epoch is neither endless nor empty.
const WEIGHTS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

pub(super) fn plan(data: &Data, base: &Path) -> DataPlan {
    let named = |name: &Option<String>, usual: &str| name.clone().unwrap_or_else(|| usual.into());
    let eval = |name: &str, files: &EvalFiles| match files {
        EvalFiles::One(path) => single(name, base.join(path), data.eval_limit),
        EvalFiles::Several(paths) => {
            several(name, paths.iter().map(|path| source(base, path, None)).collect(), data.eval_limit)
        }
    };
    DataPlan {
        train: match &data.train {
            Files::One(path) => single("train", base.join(path), data.limit),
            Files::Several(files) => {
                several("train", files.iter().map(|file| file_use(base, file)).collect(), data.limit)
            }
        },
        eval: match &data.eval {
            None => Vec::new(),
            Some(Eval::One(files)) => vec![eval("eval", files)],
            Some(Eval::Named(sets)) => sets.iter().map(|(name, files)| eval(name, files)).collect(),
        },
        prompt: named(&data.prompt, "prompt"),
        completion: named(&data.completion, "completion"),
        messages: named(&data.messages, "messages"),
        system: data.system.clone(),
        tools: named(&data.tools, TOOLS),
        text: named(&data.text, TEXT),
        loss: data.loss.clone().unwrap_or_default(),
        chosen: named(&data.chosen, CHOSEN),
        rejected: named(&data.rejected, REJECTED),
        label: data.label.clone(),
    }
}

fn single(name: &str, path: PathBuf, limit: Option<usize>) -> FilePlan {
    FilePlan { name: name.into(), path, digest: String::new(), limit, files: Vec::new() }
}

fn several(name: &str, files: Vec<SourcePlan>, limit: Option<usize>) -> FilePlan {
    let path = files.first().map_or_else(PathBuf::new, |file| file.path.clone());
    FilePlan { files, ..single(name, path, limit) }
}

fn file_use(base: &Path, file: &FileUse) -> SourcePlan {
    match file {
        FileUse::Path(path) => source(base, path, None),
        FileUse::Weighted(file) => source(base, &file.path, file.weight),
    }
}

fn source(base: &Path, path: &Path, weight: Option<f64>) -> SourcePlan {
    SourcePlan { path: base.join(path), digest: String::new(), weight: weight.unwrap_or(1.0) }
}

impl DataPlan {
    /// The places of all files.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.train).chain(&mut self.eval).flat_map(FilePlan::paths_mut)
    }

    pub(super) fn check(&self, text: &str) -> Result<(), RecipeError> {
        let sets = std::iter::once((&self.train, "data.train")).chain(self.eval.iter().map(|set| (set, "data.eval")));
        for (set, field) in sets {
            if set.path.as_os_str().is_empty() {
                let hint = "give a path such as `\"data/train.jsonl\"`".to_owned();
                return Err(fault(text, field, "names no file", Some(hint)));
            }
            if let Some(file) = set.files.iter().find(|file| !WEIGHTS.contains(&file.weight)) {
                let what = format!("has a weight of {}, which is not from 0.001 to 1000", file.weight);
                let hint = "leave a file out to draw none of its rows; 1 draws each row once in each pass".to_owned();
                return Err(fault(text, field, &what, Some(hint)));
            }
        }
        if let Loss::Roles(roles) = &self.loss {
            let hint = || Some("name roles as the data does, such as `[\"assistant\"]`".to_owned());
            if roles.is_empty() {
                return Err(fault(text, "data.loss", "names no role", hint()));
            }
            if roles.iter().any(String::is_empty) {
                return Err(fault(text, "data.loss", "names an empty role", hint()));
            }
        }
        Ok(())
    }
}

impl FilePlan {
    fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.path).chain(self.files.iter_mut().map(|file| &mut file.path))
    }
}
