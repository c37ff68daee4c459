//! What models say: numbers behind names, and a strategy in front of a text.

/// The number behind the last place of a name that has one, as in `"Name": 3`, `Name = 3` and `- **Name:** 3/4`; case does not count. None
/// where it is out of range.
pub fn number_behind(text: &str, name: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
    let mut places = (0..text.len()).rev().filter(|&at| is_name_at(text, at, name));
    let number = places.find_map(|at| leading_number(&text[at + name.len()..]))?;
    range.contains(&number).then_some(number)
}

/// Whether a name stands here, and is no part of a longer one: only marks stand before it on its line, or between it and the word before.
fn is_name_at(text: &str, at: usize, name: &str) -> bool {
    let is_same = text.get(at..at + name.len()).is_some_and(|part| part.eq_ignore_ascii_case(name));
    let before = |text: &str| text.trim_end_matches([' ', '\t']).chars().next_back();
    is_same && before(&text[..at]).is_none_or(|sign| !sign.is_alphanumeric() || is_number_end(&text[..at]))
}

/// Whether a text ends with a number and a blank: the next name of a list may follow on it.
fn is_number_end(text: &str) -> bool {
    text.ends_with(' ') && text.trim_end().ends_with(|sign: char| sign.is_ascii_digit())
}

/// A decimal number that follows a name, with nothing but marks between them.
fn leading_number(text: &str) -> Option<f64> {
    let is_mark = |sign: char| matches!(sign, ' ' | '\t' | '"' | '\'' | '*' | '_' | '`' | ')' | ':' | '=');
    let rest = text.trim_start_matches(is_mark);
    let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.' && sign != '-').unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}

/// A `(strategy) text` as the strategy's number and the text; case does not count.
pub fn strategy_of<'a>(text: &'a str, names: &[String]) -> Option<(usize, &'a str)> {
    let (name, said) = text.trim_start().strip_prefix('(')?.split_once(')')?;
    let strategy = names.iter().position(|its| its.eq_ignore_ascii_case(name.trim()))?;
    Some((strategy, said.trim()))
}

/// An utterance without what models put around it: quotes, who speaks, the strategy again. None where nothing is left.
pub fn utterance(text: &str, names: &[String]) -> Option<String> {
    let is_wrap = |sign: char| sign.is_whitespace() || matches!(sign, '"' | '“' | '”');
    let mut said = text.trim_matches(is_wrap);
    for speaker in ["supporter:", "user:"] {
        if said.get(..speaker.len()).is_some_and(|start| start.eq_ignore_ascii_case(speaker)) {
            said = said[speaker.len()..].trim_matches(is_wrap);
        }
    }
    let said = strategy_of(said, names).map_or(said, |(_, said)| said).trim_matches(is_wrap);
    (!said.is_empty()).then(|| said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["Information", "Share Information"].map(String::from).to_vec()
    }

    #[track_caller]
    fn check(text: &str, name: &str, expected: Option<f64>) {
        assert_eq!(number_behind(text, name, 0.0..=10.0), expected, "{text}");
    }

    #[test]
    fn numbers_are_read_from_objects_and_lists() {
        for text in [
            r#"```json {"Information": 3, "Share Information": 7.5}```"#,
            "Share Information: 7.5\n- **information:** 3/4",
            "information = 3, share information = 7.5.",
            "Information: 9 at first.\nInformation: 3 Share Information: 7.5",
        ] {
            check(text, "Information", Some(3.0));
            check(text, "Share Information", Some(7.5));
        }
    }

    #[test]
    fn what_is_no_number_on_the_scale_is_none() {
        for text in ["", "Information", "Information: eleven", "Information: 11", "Information: -1", "Information: 3-4"]
        {
            check(text, "Information", None);
        }
        check("Share Information: 7", "Information", None);
        check("ж Information: 2ж", "Information", None);
        check("ж: Information: 2ж", "Information", Some(2.0));
    }

    #[test]
    fn a_strategy_stands_in_brackets() {
        assert_eq!(strategy_of(" (share information) Sleep helps.", &names()), Some((1, "Sleep helps.")));
        assert_eq!(strategy_of("(Advice) Sleep.", &names()), None);
        assert_eq!(strategy_of("Share Information: Sleep.", &names()), None);
    }

    #[test]
    fn wrappings_of_an_utterance_are_taken_off() {
        assert_eq!(utterance("Supporter: \"(Information) So.\"", &names()).as_deref(), Some("So."));
        assert_eq!(utterance(" \"\" ", &names()), None);
    }
}
