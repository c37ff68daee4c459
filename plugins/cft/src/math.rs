//! What a critique says and whether it can be trained on: the rules of critique fine-tuning as plain functions.

/// What a critique concludes about the solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// The solution is right.
    Right,
    /// It is wrong.
    Wrong,
}

/// What is taken off a critique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strip {
    /// All from the end marker on.
    End,
    /// All from the conclusion on, too.
    Conclusion,
    /// Nothing.
    None,
}

/// How critiques are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What comes right before the conclusion.
    pub conclusion: String,
    /// The word for a right solution.
    pub right: String,
    /// The word for a wrong one.
    pub wrong: String,
    /// What ends a critique.
    pub end_marker: String,
    /// What is taken off.
    pub strip: Strip,
    /// Whether a critique without a conclusion may be trained on.
    pub keeps_unlabelled: bool,
    /// How refusals begin.
    pub refusals: Vec<String>,
    /// The most characters of prompt and critique; 0 is no limit.
    pub longest: usize,
}

/// A critique to be trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Critique {
    /// Its text.
    pub text: String,
    /// What it concludes.
    pub label: Option<Label>,
}

/// Why a critique is left out: it is a refusal.
pub const REFUSED: &str = "the critique is a refusal";

impl Rules {
    /// The critique as it is trained on after a prompt of `prompt` characters, or why it is left out.
    ///
    /// # Errors
    ///
    /// Says why the critique cannot be trained on.
    pub fn read(&self, text: &str, prompt: usize) -> Result<Critique, &'static str> {
        if text.trim().is_empty() {
            return Err("the critique is empty");
        }
        let ended = self.ended(text);
        let label = self.label(ended);
        if label.is_none() && self.is_refusal(ended) {
            return Err(REFUSED);
        }
        if label.is_none() && !self.keeps_unlabelled {
            return Err("the critique has no conclusion");
        }
        let text = match self.strip {
            Strip::None => text,
            Strip::End => ended,
            Strip::Conclusion => self.argued(ended),
        };
        if text.trim().is_empty() {
            return Err("the critique is a bare conclusion");
        }
        if self.longest != 0 && self.longest < prompt + text.chars().count() {
            return Err("prompt and critique are longer than `longest`");
        }
        Ok(Critique { text: text.to_owned(), label })
    }

    /// What a critique concludes; none if that cannot be read.
    pub fn label(&self, text: &str) -> Option<Label> {
        let words = [(self.right.as_str(), Label::Right), (self.wrong.as_str(), Label::Wrong)];
        // Of two words that end at the same place, or begin there, the longer one was meant.
        if self.conclusion.is_empty() {
            let ends =
                words.into_iter().filter_map(|(word, label)| Some((last_word(text, word)? + word.len(), word, label)));
            return ends.max_by_key(|(end, word, _)| (*end, word.len())).map(|(_, _, label)| label);
        }
        let at = last_of(text, &self.conclusion)?;
        // Markup such as `**right**` is passed over.
        let said = text[at + self.conclusion.len()..].trim_start_matches(|letter: char| !letter.is_alphanumeric());
        let found = words.into_iter().filter(|(word, _)| begins(said, word) && ends_word(said, word.len()));
        found.max_by_key(|(word, _)| word.len()).map(|(_, label)| label)
    }

    fn is_refusal(&self, text: &str) -> bool {
        self.refusals.iter().any(|phrase| begins(text.trim_start(), phrase))
    }

    /// The critique up to its end marker, without blanks before that; as it is where there is none.
    fn ended<'a>(&self, text: &'a str) -> &'a str {
        let end = if self.end_marker.is_empty() { None } else { text.find(&self.end_marker) };
        end.map_or(text, |end| text[..end].trim_end())
    }

    /// The critique up to its conclusion, likewise.
    fn argued<'a>(&self, text: &'a str) -> &'a str {
        let end = if self.conclusion.is_empty() { None } else { last_of(text, &self.conclusion) };
        end.map_or(text, |end| text[..end].trim_end())
    }
}

/// Whether a text begins with another, in any case of ASCII letters.
fn begins(text: &str, phrase: &str) -> bool {
    text.get(..phrase.len()).is_some_and(|start| start.eq_ignore_ascii_case(phrase))
}

/// Where a phrase begins for the last time, in any case of ASCII letters.
fn last_of(text: &str, phrase: &str) -> Option<usize> {
    // Lower case of ASCII letters moves no byte.
    text.to_ascii_lowercase().rfind(&phrase.to_ascii_lowercase())
}

/// Where a phrase stands by itself for the last time.
fn last_word(text: &str, phrase: &str) -> Option<usize> {
    let mut end = text.len();
    loop {
        let at = last_of(&text[..end], phrase)?;
        let is_start = text[..at].chars().next_back().is_none_or(|letter| !letter.is_alphanumeric());
        if is_start && ends_word(&text[at..], phrase.len()) {
            return Some(at);
        }
        end = at + phrase.len() - phrase.chars().next_back().map_or(1, char::len_utf8);
    }
}

/// Whether no letter or digit follows the first `len` bytes.
fn ends_word(text: &str, len: usize) -> bool {
    text[len..].chars().next().is_none_or(|letter| !letter.is_alphanumeric())
}

/// `part / all` in 0.0 to 1.0; none if there is nothing.
pub fn share(part: usize, all: usize) -> Option<f64> {
    (all != 0).then(|| part as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            conclusion: "Conclusion:".into(),
            right: "right".into(),
            wrong: "wrong".into(),
            end_marker: "[END]".into(),
            strip: Strip::End,
            keeps_unlabelled: false,
            refusals: vec!["I cannot".into()],
            longest: 0,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Option<Label>) {
        assert_eq!(rules().label(text), expected, "{text}");
    }

    #[test]
    fn the_last_conclusion_counts() {
        check("Conclusion: wrong [END]", Some(Label::Wrong));
        check("It adds up.\n\nConclusion: right [END]", Some(Label::Right));
        check("The conclusion: right? No.\nCONCLUSION: **Wrong**.", Some(Label::Wrong));
        check("Conclusion:\n- Right, all of it", Some(Label::Right));
    }

    #[test]
    fn what_is_neither_right_nor_wrong_is_no_label() {
        check("right", None);
        check("Conclusion: not right", None);
        check("Conclusion: rightly so", None);
        check("Conclusion:", None);
        check("", None);
    }

    #[test]
    fn without_a_marker_the_last_word_counts() {
        let rules = Rules { conclusion: String::new(), right: "correct".into(), wrong: "incorrect".into(), ..rules() };
        assert_eq!(rules.label("That is correct, this is incorrect."), Some(Label::Wrong));
        assert_eq!(rules.label("Incorrect at first, but CORRECT"), Some(Label::Right));
        assert_eq!(rules.label("correctly"), None);
        assert_eq!(rules.label("correct correctly uncorrect"), Some(Label::Right));
        assert_eq!(Rules { right: "aa".into(), ..rules }.label("aa aaa"), Some(Label::Right));
    }

    #[test]
    fn a_word_that_begins_another_is_not_taken_for_it() {
        let rules = Rules { right: "not bad".into(), wrong: "not".into(), ..rules() };
        assert_eq!(rules.label("Conclusion: not bad"), Some(Label::Right));
        assert_eq!(rules.label("Conclusion: not so good"), Some(Label::Wrong));
        let rules = Rules { conclusion: String::new(), wrong: "bad".into(), ..rules };
        assert_eq!(rules.label("That is not bad."), Some(Label::Right));
        assert_eq!(rules.label("That is bad."), Some(Label::Wrong));
    }

    #[track_caller]
    fn check_text(strip: Strip, text: &str, expected: Result<&str, &str>) {
        let read = Rules { strip, ..rules() }.read(text, 0);
        assert_eq!(read.as_ref().map(|critique| critique.text.as_str()).map_err(|why| *why), expected);
    }

    #[test]
    fn markers_are_taken_off_as_the_recipe_says() {
        let text = " 2 + 2 is 4.\n\nConclusion: right [END] \n";
        check_text(Strip::None, text, Ok(text));
        check_text(Strip::End, text, Ok(" 2 + 2 is 4.\n\nConclusion: right"));
        check_text(Strip::Conclusion, text, Ok(" 2 + 2 is 4."));
        check_text(Strip::End, "Fine.\nConclusion: right\n", Ok("Fine.\nConclusion: right\n"));
        check_text(Strip::Conclusion, "Conclusion: right [END]", Err("the critique is a bare conclusion"));
    }

    #[test]
    fn nothing_after_the_end_marker_counts() {
        let read = |text: &str| rules().read(text, 0).map(|critique| critique.label);
        assert_eq!(read("Conclusion: right[END] Conclusion: wrong"), Ok(Some(Label::Right)));
        let rules = Rules { conclusion: ":".into(), right: "y".into(), end_marker: "W".into(), ..rules() };
        assert_eq!(rules.read("460:yW", 0), Ok(Critique { text: "460:y".into(), label: Some(Label::Right) }));
        let kept = Rules { strip: Strip::None, ..rules };
        assert_eq!(kept.read("460:yW", 0), Ok(Critique { text: "460:yW".into(), label: Some(Label::Right) }));
    }

    #[test]
    fn a_refusal_has_no_conclusion() {
        check_text(Strip::End, "I cannot help with that.", Err(REFUSED));
        check_text(Strip::End, "i cannot help", Err(REFUSED));
        let found = "I cannot find a mistake. Conclusion: right";
        check_text(Strip::End, found, Ok(found));
        check_text(Strip::End, " \n", Err("the critique is empty"));
        check_text(Strip::End, "It looks fine.", Err("the critique has no conclusion"));
    }

    #[test]
    fn what_is_too_long_is_left_out_not_cut() {
        let rules = Rules { longest: 20, strip: Strip::None, ..rules() };
        // 17 characters, one of two bytes.
        let text = "ä Conclusion: right";
        assert_eq!(text.chars().count(), 19);
        assert!(rules.read(text, 1).is_ok());
        assert_eq!(rules.read(text, 2), Err("prompt and critique are longer than `longest`"));
        let kept = Rules { keeps_unlabelled: true, ..rules };
        assert_eq!(kept.read("Fine.", 0), Ok(Critique { text: "Fine.".into(), label: None }));
    }

    #[test]
    fn a_share_of_nothing_is_none() {
        assert_eq!(share(1, 4), Some(0.25));
        assert_eq!(share(0, 0), None);
    }
}
