//! A server's key: it goes into one header, and nowhere else.

use std::fmt;

/// A piece of a key of so many characters is taken for the key.
const TELLING: usize = 8;

/// A server's key. It has no text for people, and cannot be written down.
#[derive(Clone)]
pub struct Key(String);

/// A key that no header may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is empty or holds something else than visible ASCII characters")]
pub struct KeyError;

impl Key {
    /// The key in this text; blanks and line ends around it do not count.
    ///
    /// # Errors
    ///
    /// Fails when nothing is left, and for characters that no header may hold.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let is_fine = !text.is_empty() && text.chars().all(|sign| sign.is_ascii_graphic());
        if is_fine { Ok(Self(text.to_owned())) } else { Err(KeyError) }
    }

    /// What stands in the header `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a text holds the key. Of a very short key a text may hold the letters by chance; such a key says nothing in a text either.
    pub(super) fn is_in(&self, text: &str) -> bool {
        TELLING <= self.0.len() && text.contains(&self.0)
    }

    /// Whether a text holds the key or a telling piece of it.
    pub(super) fn is_partly_in(&self, text: &str) -> bool {
        // A key is ASCII, so bytes are characters.
        let length = TELLING.min(self.0.len());
        (0..=self.0.len() - length).any(|from| text.contains(&self.0[from..from + length]))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown_and_is_found_in_texts() {
        let key = Key::new(" sk-0123456789abcdef\n").expect("a key");
        assert_eq!(format!("{key:?}"), "Key(..)");
        assert_eq!(key.header(), "Bearer sk-0123456789abcdef");
        assert!(key.is_in("{\"Bearer sk-0123456789abcdef\"}"));
        assert!(!key.is_in("sk-0123456789abcde") && key.is_partly_in("wrong key: sk-0123456*****"));
        assert!(key.is_partly_in("...89abcdef") && !key.is_partly_in("...9abcdef"));
        let short = Key::new("test").expect("a key");
        assert!(!short.is_in("a test") && short.is_partly_in("a test"));
    }

    #[test]
    fn a_key_that_no_header_may_hold_is_refused() {
        for text in ["", " \n", "a\nb", "a b", "ä"] {
            assert!(Key::new(text).is_err(), "{text:?}");
        }
    }
}
