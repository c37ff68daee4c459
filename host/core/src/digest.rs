//! SHA-256 digests as lower-case hexadecimal text.

use std::fmt::Write as _;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// The digest of these bytes.
pub fn of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest of everything that `reader` gives, in little memory.
///
/// # Errors
///
/// Fails when reading does.
pub fn of_reader(reader: &mut dyn Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of parts, each preceded by its length, so that no two lists of parts collide.
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    hex(&hash_parts(parts).finalize())
}

/// 64 bits that follow from these parts: the seed of a stream of random numbers.
pub fn seed_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    hash_parts(parts).finalize().iter().take(8).fold(0, |seed, &byte| seed << 8 | u64::from(byte))
}

/// The digest of parts that come one after the other: [`of_parts`] of all of them.
#[derive(Debug, Clone, Default)]
pub struct PartsDigest(Sha256);

impl PartsDigest {
    /// Takes in the next part.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The digest of what was taken in.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// A hasher that took in these parts, each preceded by its length.
fn hash_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Sha256 {
    let mut digest = PartsDigest::default();
    parts.into_iter().for_each(|part| digest.add(part));
    digest.0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_sha256_of_nothing() {
        // FIPS 180-4 test value.
        assert_eq!(of(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_stream_has_the_digest_of_its_bytes() {
        let bytes = vec![7; 200_000];
        assert_eq!(of_reader(&mut bytes.as_slice()).expect("memory can be read"), of(&bytes));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(of_parts([b"ab".as_slice(), b"c"]), of_parts([b"a".as_slice(), b"bc"]));
        let mut digest = PartsDigest::default();
        digest.add(b"ab");
        digest.add(b"c");
        assert_eq!(digest.finish(), of_parts([b"ab".as_slice(), b"c"]));
    }
}
