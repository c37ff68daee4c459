//! The recipe as a file: its text, what the command line puts over it, and where in it a fault lies.

use std::fs;
use std::path::{Path, PathBuf};

use tunesmith_core::digest;
use tunesmith_core::plan::{NamedModelPlan, Plan};
use tunesmith_core::recipe::{Recipe, RecipeError, line_of};

use crate::error::{Error, Fault};
use crate::overrides::{self, Refused, Split};

/// A recipe's text and everything that is needed to say where in it a fault lies.
pub(crate) struct Written {
    path: PathBuf,
    text: String,
    set: Vec<(String, String)>,
    /// The name of the phase, of a recipe with several, and its own recipe.
    phase: Option<Split>,
}

impl Written {
    /// Reads the file at `path`, puts `set` over it and makes every choice that needs no other file: for each phase, or once.
    pub(crate) fn read(path: &Path, set: &[(String, String)]) -> Result<Vec<(Self, Plan)>, Error> {
        let fault = |what: &str| Fault::of_file(path, what);
        let bytes = fs::read(path).map_err(|error| {
            Error::recipe(fault("cannot read the recipe").because(error).hint("give the path of a recipe, a TOML file"))
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].split(|&byte| byte == b'\n').count();
            let fault = Fault { line: Some(line), ..fault("the recipe is not UTF-8") };
            Error::recipe(fault.hint("save the file as UTF-8"))
        })?;
        let whole = Self { path: path.into(), text, set: set.to_vec(), phase: None };
        let phases = match overrides::phases(&whole.changed()?) {
            None => return Ok(vec![whole.resolved()?]),
            Some(phases) => phases.map_err(|refused| whole.refused(refused))?,
        };
        let phase = |phase| {
            let Self { path, text, set, .. } = &whole;
            let written = Self { path: path.clone(), text: text.clone(), set: set.clone(), phase: Some(phase) };
            written.resolved()
        };
        phases.into_iter().map(phase).collect()
    }

    fn resolved(self) -> Result<(Self, Plan), Error> {
        let recipe = self.recipe()?;
        let base = self.base()?;
        let mut plan = Plan::resolve(&recipe, &self.text, &base)
            .map_err(|error| Error::recipe(self.place(Fault::of_recipe(&self.path, error))))?;
        tidy_paths(&mut plan);
        if let Some(phase) = &plan.phase {
            plan.output.push(&phase.name);
            // Each phase draws its own numbers; of what TOML can write.
            let parts = [b"tunesmith phase".as_slice(), &plan.seed.to_le_bytes(), phase.name.as_bytes()];
            plan.seed = digest::seed_of(parts) >> 1;
        }
        Ok((self, plan))
    }

    /// The recipe's text with what `set` puts over it.
    fn changed(&self) -> Result<String, Error> {
        if self.set.is_empty() {
            return Ok(self.text.clone());
        }
        overrides::apply(&self.text, &self.set).map_err(|refused| self.refused(refused))
    }

    fn refused(&self, refused: Refused) -> Error {
        match refused {
            Refused::Text(refused) => Error::recipe(Fault::of_recipe(&self.path, refused)),
            Refused::Key { field, what, hint } => {
                Error::recipe(Fault { field: Some(field), ..Fault::of_file(&self.path, what).hint(hint) })
            }
        }
    }

    /// A fault at a key, with the line where it, or else the table it belongs to, is written.
    pub(crate) fn fault(&self, field: &str, what: impl Into<String>) -> Fault {
        let mut key = field;
        let line = loop {
            match (line_of(&self.text, key), key.rsplit_once('.')) {
                (None, Some((parent, _))) => key = parent,
                (line, _) => break line,
            }
        };
        self.place(Fault { line, field: Some(field.into()), ..Fault::of_file(&self.path, what) })
    }

    fn recipe(&self) -> Result<Recipe, Error> {
        let error = |error: RecipeError| Error::recipe(Fault::of_recipe(&self.path, error));
        if let Some(phase) = &self.phase {
            return Recipe::parse(&phase.text).map_err(|fault| {
                // Its lines are those of a text that nobody has seen.
                let what = format!("in the phase `{}`: {}", phase.name, fault.what);
                error(RecipeError { line: None, what, ..fault })
            });
        }
        if self.set.is_empty() {
            return Recipe::parse(&self.text).map_err(error);
        }
        // A mistake in the file itself is told with its line; what `set` adds has none.
        Recipe::parse(&self.changed()?).map_err(|changed| match Recipe::parse(&self.text) {
            Err(written) if written.what == changed.what => error(written),
            _ => {
                let keys: Vec<&str> = self.set.iter().map(|(key, _)| key.as_str()).collect();
                let fault = Fault::of_file(&self.path, changed.what);
                Error::recipe(fault.hint(format!("the recipe is changed by the given values of {keys:?}")))
            }
        })
    }

    /// The folder that paths in the recipe are relative to.
    fn base(&self) -> Result<PathBuf, Error> {
        let absolute = fs::canonicalize(&self.path)
            .map_err(|error| Error::recipe(Fault::of_file(&self.path, "cannot find the recipe").because(error)))?;
        Ok(absolute.parent().map_or_else(PathBuf::new, Path::to_path_buf))
    }

    /// Takes the line away where the value does not come from the file, and says where it comes from.
    fn place(&self, mut fault: Fault) -> Fault {
        let Some(field) = &fault.field else { return fault };
        let covers =
            |key: &str| field == key || field.starts_with(&format!("{key}.")) || key.starts_with(&format!("{field}."));
        if let Some((key, value)) = self.set.iter().find(|(key, _)| covers(key)) {
            fault.line = None;
            let from = format!("the value comes from `{key}={value}`, not from the file");
            fault.hint = Some(fault.hint.map_or(from.clone(), |hint| format!("{hint}; {from}")));
        }
        fault
    }
}

/// Removes `folder/..` from the plan's paths, so that messages are short. Paths that would then lead elsewhere stay as they are.
fn tidy_paths(plan: &mut Plan) {
    let plugins = plan.plugins.iter_mut().map(|plugin| &mut plugin.path);
    let models = plan.models.iter_mut().flat_map(NamedModelPlan::paths_mut);
    let paths = [&mut plan.output, &mut plan.model.path];
    for path in paths.into_iter().chain(plan.data.paths_mut()).chain(plugins).chain(models) {
        let tidy = without_parents(path);
        // With symbolic links `a/link/..` is not `a`.
        let is_same = match (fs::canonicalize(&path), fs::canonicalize(&tidy)) {
            (Ok(before), Ok(after)) => before == after,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if is_same {
            *path = tidy;
        }
    }
}

fn without_parents(path: &Path) -> PathBuf {
    use std::path::Component;

    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(tidy.components().next_back(), Some(Component::Normal(_))) => {
                tidy.pop();
            }
            other => tidy.push(other),
        }
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "output = \"run\"\n[model]\npath = \"m\"\n[data]\ntrain = \"t.jsonl\"\n[train]\nsteps = 3\n";

    fn read(name: &str, text: &[u8], set: &[(&str, &str)]) -> Result<Plan, String> {
        let folder = std::env::temp_dir().join(format!("tunesmith-written-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        let path = folder.join("recipe.toml");
        fs::write(&path, text).expect("a file can be written");
        let set: Vec<(String, String)> = set.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let result = Written::read(&path, &set);
        fs::remove_dir_all(&folder).expect("the folder can be removed");
        result.map(|mut phases| phases.remove(0).1).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(name: &str, text: &[u8], set: &[(&str, &str)], expected: &str) {
        let error = read(name, text, set).expect_err("the recipe is wrong");
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn set_values_are_typed_and_relative_to_the_recipe() {
        let plan = read("typed", SMALL.as_bytes(), &[("train.steps", "7"), ("model.path", "other")]).expect("fine");
        assert_eq!(plan.train.steps, 7);
        assert!(
            plan.model.path.ends_with("tunesmith-written-".to_owned() + &format!("{}-typed/other", std::process::id()))
        );
    }

    #[test]
    fn a_fault_in_the_file_keeps_its_line_beside_set_values() {
        let text = format!("{SMALL}stepz = 3\n");
        check("line", text.as_bytes(), &[("train.steps", "7")], "recipe.toml:8: unknown field `stepz`");
    }

    #[test]
    fn a_fault_in_a_set_value_says_where_it_comes_from() {
        check("range", SMALL.as_bytes(), &[("train.batch", "0")], "the value comes from `train.batch=0`");
        check("key", SMALL.as_bytes(), &[("train.stepz", "0")], "unknown field `stepz`");
        check("type", SMALL.as_bytes(), &[("train.steps", "many")], "the given values of [\"train.steps\"]");
    }

    #[test]
    fn a_recipe_that_is_not_utf8_is_named_with_its_line() {
        check("utf8", b"seed = 1\noutput = \"\xff\"\n", &[], "recipe.toml:2: the recipe is not UTF-8");
    }

    #[test]
    fn parents_are_removed_from_paths() {
        assert_eq!(without_parents(Path::new("/a/b/../c/./d")), Path::new("/a/c/d"));
        assert_eq!(without_parents(Path::new("../a/../../b")), Path::new("../../b"));
    }
}
