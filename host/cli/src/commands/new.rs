//! `plugin new`: a crate of its own that builds, passes its tests and `plugin check`, and runs in a recipe.

mod parts;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use tunesmith::Stage;

use super::{BadInput, print_json};
use crate::arguments::New;
use crate::terminal::{one_line, print};
use parts::Part;

/// Names that a crate cannot have beside its dependencies and the compiler's own crates.
const TAKEN: [&str; 10] =
    ["alloc", "core", "deps", "examples", "proc-macro", "serde", "std", "test", "tunesmith-sdk", "tunesmith-sdk-test"];

/// What is to be made.
pub(crate) struct Draft {
    /// The name of the crate and of the plugin.
    pub(crate) name: String,
    /// The stages, in the order of the data flow.
    pub(crate) stages: Vec<Stage>,
    /// What each stage adds.
    pub(crate) parts: Vec<Part>,
    /// The folder with the SDK's crates `rust` and `test`, absolute.
    pub(crate) sdk: PathBuf,
}

pub(crate) fn run(new: &New) -> Result<()> {
    expect_name(&new.name)?;
    let mut stages = new.stage.clone();
    stages.sort_unstable();
    stages.dedup();
    let sdk = sdk(new.sdk.as_deref())?;
    let folder = new.path.clone().unwrap_or_else(|| PathBuf::from(&new.name));
    let parts = stages.iter().map(|stage| Part::of(*stage)).collect();
    let draft = Draft { name: new.name.clone(), stages, parts, sdk };
    let files = text::files(&draft);
    write(&folder, &files)?;
    if new.json {
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        return print_json(&json!({ "folder": folder, "files": names, "stages": draft.stages, "sdk": draft.sdk }));
    }
    let shown = one_line(&folder.display().to_string());
    let word = |stage: &Stage| stage.name().to_owned();
    print(&format!("{shown}: a plugin for {}", draft.stages.iter().map(word).collect::<Vec<_>>().join(", ")))?;
    print(&format!("the SDK comes from {}", one_line(&draft.sdk.display().to_string())))?;
    print(&format!(
        "next:\n  cd {shown}\n  cargo test --target host-tuple\n  tunesmith plugin build . -o {0}.wasm\n  tunesmith plugin check {0}.wasm",
        new.name
    ))?;
    Ok(())
}

/// Fails unless this can be the name of a crate and of a plugin.
fn expect_name(name: &str) -> Result<(), BadInput> {
    let is_word = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 64
        && name.chars().all(|character| matches!(character, 'a'..='z' | '0'..='9' | '-'));
    let hint = "hint: choose 1 to 64 lower-case letters, digits and hyphens, a letter first, such as `my-judge`";
    if !is_word {
        return Err(BadInput(format!("`{name}` cannot be a plugin's name\n{hint}")));
    }
    if TAKEN.contains(&name) || is_keyword(name) {
        return Err(BadInput(format!("`{name}` cannot be a crate's name: it means something else in Rust\n{hint}")));
    }
    Ok(())
}

fn is_keyword(name: &str) -> bool {
    let words = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if impl in let \
                 loop macro match mod move mut override priv pub ref return self static struct super trait true try type typeof unsafe \
                 unsized use virtual where while yield";
    words.split_whitespace().any(|word| word == name)
}

/// The folder with the SDK: the given one, or that of the checkout which this program was built from.
fn sdk(given: Option<&Path>) -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("..").join("sdk");
    let folder = given.unwrap_or(&own);
    let is_sdk = ["rust", "test"].iter().all(|part| folder.join(part).join("Cargo.toml").is_file());
    if !is_sdk {
        let what = match given {
            Some(_) => "has no `rust/Cargo.toml` and `test/Cargo.toml`",
            None => "is not there: it lay in the checkout that this program was built from",
        };
        let hint = "hint: give the folder `sdk` of a checkout of Tunesmith: `--sdk path/to/tunesmith/sdk`";
        return Err(BadInput(format!("the SDK `{}` {what}\n{hint}", folder.display())).into());
    }
    fs::canonicalize(folder).with_context(|| BadInput(format!("the SDK `{}` cannot be used", folder.display())))
}

/// Makes the folder with all files, or nothing.
fn write(folder: &Path, files: &[(&'static str, String)]) -> Result<()> {
    let taken = |what: &str| {
        BadInput(format!(
            "`{}` {what}\nhint: nothing is ever overwritten: give another folder with `--path`",
            folder.display()
        ))
    };
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(taken("is a file").into()),
        Err(error) => return Err(error).with_context(|| taken("cannot be used")),
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(taken("is not empty").into());
            }
        }
    }
    let absolute = std::path::absolute(folder)?;
    let parent = absolute.parent().with_context(|| taken("has no name"))?;
    let name = absolute.file_name().with_context(|| taken("has no name"))?.to_string_lossy().into_owned();
    let partial = parent.join(format!(".{name}.partial-{}", std::process::id()));
    let made = fill(&partial, files).and_then(|()| {
        // An empty folder gives way; where somebody was quicker this fails, and theirs stays.
        if absolute.exists() {
            fs::remove_dir(&absolute)?;
        }
        fs::rename(&partial, &absolute)
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    made.with_context(|| BadInput(format!("cannot make `{}`", folder.display())))
}

fn fill(folder: &Path, files: &[(&'static str, String)]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rust_cannot_have_are_refused() {
        for name in
            ["", "My-judge", "1st", "-a", "a_b", "../a", "a b", "fn", "serde", "test", "tunesmith-sdk", &"a".repeat(65)]
        {
            assert!(expect_name(name).is_err(), "{name}");
        }
        for name in ["a", "my-judge", "s3ft", "judge"] {
            assert!(expect_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_sdk_of_this_checkout_is_found() {
        assert!(sdk(None).expect("it is here").join("rust/Cargo.toml").is_file());
        let error = sdk(Some(Path::new("/nowhere"))).expect_err("it is not there").to_string();
        assert!(error.contains("`/nowhere`") && error.contains("hint: "), "{error}");
    }
}
