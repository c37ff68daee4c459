//! The weights of key tokens and the rewards of kinds of errors.

use std::ops::Range;

use crate::call::Call;
use crate::tools::Tool;

/// The positions of key tokens in `spans`, which are the characters of the trained tokens: where the name of the gold tool starts, and where it parts from
/// each other tool's name that starts with the same tokens.
pub fn key_tokens(spans: &[Range<usize>], gold: &Call, others: &[&str]) -> Vec<usize> {
    let behind = |character: usize| spans.iter().position(|span| span.start < span.end && character < span.end);
    let Some(first) = behind(gold.at.start) else { return Vec::new() };
    let mut keys = vec![first];
    for other in others {
        let common = gold.name.chars().zip(other.chars()).take_while(|(own, other)| own == other).count();
        let parting = gold.at.start + common;
        if spans[first].end <= parting {
            keys.extend(behind(parting));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The tokens that end an argument's value: they do not count among the others.
pub fn value_ends(spans: &[Range<usize>], gold: &Call) -> Vec<usize> {
    let last = |at: &Range<usize>| spans.iter().position(|span| span.start < at.end && at.end <= span.end);
    gold.arguments.iter().filter_map(|argument| last(&argument.at)).collect()
}

/// What a key token counts: as much as all others have together, but at least 1.0 and at most `largest`; 1.0 if there is none.
pub fn weight(keys: usize, others: usize, largest: f64) -> f64 {
    if keys == 0 { 1.0 } else { (others as f64 / keys as f64).min(largest).max(1.0) }
}

/// What a predicted call is, from the worst on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The text is no call.
    Unparsable,
    /// There is no such tool.
    UnknownTool,
    /// The tool is there, but another was to be called.
    WrongTool,
    /// Names of arguments are wrong.
    Names {
        /// One is no parameter of the tool.
        invents: bool,
        /// One is a parameter that the gold call does not use.
        adds: bool,
        /// One of the gold call is not there.
        misses: bool,
    },
    /// Values differ.
    Values,
    /// All is right.
    Right,
}

/// The first kind that applies.
pub fn kind(predicted: Option<&Call>, gold: &Call, tools: &[Tool]) -> Kind {
    let Some(predicted) = predicted else { return Kind::Unparsable };
    let Some(tool) = tools.iter().find(|tool| tool.name == predicted.name) else { return Kind::UnknownTool };
    if predicted.name != gold.name {
        return Kind::WrongTool;
    }
    let is_real = |name: &String| tool.parameters.as_ref().is_none_or(|names| names.contains(name));
    let foreign = || predicted.arguments.iter().map(|it| &it.name).filter(|name| gold.value(name).is_none());
    let invents = foreign().any(|name| !is_real(name));
    let adds = foreign().any(is_real);
    let misses = gold.arguments.iter().any(|it| predicted.value(&it.name).is_none());
    if invents || adds || misses {
        return Kind::Names { invents, adds, misses };
    }
    let is_same = gold.arguments.iter().all(|it| predicted.value(&it.name) == Some(it.value.as_str()));
    if is_same { Kind::Right } else { Kind::Values }
}

impl Kind {
    /// The paper's reward.
    pub fn reward(self) -> f32 {
        match self {
            Self::Unparsable | Self::UnknownTool => -2.0,
            Self::WrongTool => -1.5,
            Self::Names { invents: true, adds: true, misses: true } => -1.8,
            Self::Names { invents: true, adds, misses } if adds || misses => -1.3,
            Self::Names { adds: true, misses: true, .. } => -1.0,
            Self::Names { invents: true, .. } => -0.8,
            Self::Names { .. } => -0.5,
            Self::Values => -0.25,
            Self::Right => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, parameters: &[&str]) -> Tool {
        Tool { name: name.to_owned(), parameters: Some(parameters.iter().map(|it| (*it).to_owned()).collect()) }
    }

    /// The gold call is `find(a=1, b="x")`; `find` has a parameter `c` too.
    #[track_caller]
    fn check(predicted: &str, expected: Kind, reward: f32) {
        let tools = [tool("find", &["a", "b", "c"]), tool("send", &["a", "b"])];
        let gold = Call::parse("find(a=1, b=\"x\")").expect("it is a call");
        let found = kind(Call::parse(predicted).as_ref(), &gold, &tools);
        assert_eq!(found, expected, "{predicted}");
        assert!((found.reward() - reward).abs() < 1e-6, "{predicted}: {}", found.reward());
    }

    #[test]
    fn the_whole_table_of_rewards() {
        let names = |invents, adds, misses| Kind::Names { invents, adds, misses };
        check("I do not know.", Kind::Unparsable, -2.0);
        check("find(a=1, b='x'", Kind::Unparsable, -2.0);
        check("look(a=1, b='x')", Kind::UnknownTool, -2.0);
        check("send(a=1, b='x')", Kind::WrongTool, -1.5);
        check("send(z=1)", Kind::WrongTool, -1.5);
        check("find(a=1, c=2, z=3)", names(true, true, true), -1.8);
        check("find(a=1, b='x', c=2, z=3)", names(true, true, false), -1.3);
        check("find(a=1, z=3)", names(true, false, true), -1.3);
        check("find(a=1, c=3)", names(false, true, true), -1.0);
        check("find(a=1, b='x', z=3)", names(true, false, false), -0.8);
        check("find(a=1, b='x', c=3)", names(false, true, false), -0.5);
        check("find(a=1)", names(false, false, true), -0.5);
        check("find()", names(false, false, true), -0.5);
        check("find(a=2, b='x')", Kind::Values, -0.25);
        check("find(b='x', a=1)", Kind::Right, 1.0);
        check(" find( a='1', b = \"x\" )", Kind::Right, 1.0);
    }

    #[test]
    fn wrong_names_come_before_wrong_values() {
        check("find(a=2)", Kind::Names { invents: false, adds: false, misses: true }, -0.5);
    }

    #[test]
    fn names_of_the_gold_call_are_never_invented() {
        let gold = Call::parse("find(q=1)").expect("it is a call");
        assert_eq!(kind(Some(&gold), &gold, &[tool("find", &["a"])]), Kind::Right);
        let unknown = [Tool { name: "find".to_owned(), parameters: None }];
        let added = Call::parse("find(q=1, z=2)").expect("it is a call");
        let expected = Kind::Names { invents: false, adds: true, misses: false };
        assert_eq!(kind(Some(&added), &gold, &unknown), expected, "nobody says what parameters there are");
    }

    /// Tokens of these texts, one after another.
    fn spans(texts: &[&str]) -> Vec<Range<usize>> {
        let mut end = 0;
        texts
            .iter()
            .map(|text| {
                let start = end;
                end += text.chars().count();
                start..end
            })
            .collect()
    }

    #[test]
    fn key_tokens_are_the_first_and_those_where_names_part() {
        let texts = ["get", "_we", "ather", "(", "city", "=", "'", "Rome", "'", ")", ""];
        let (spans, gold) = (spans(&texts), Call::parse(&texts.concat()).expect("it is a call"));
        let check = |others: &[&str], expected: &[usize]| assert_eq!(key_tokens(&spans, &gold, others), expected);
        check(&[], &[0]);
        check(&["send"], &[0]);
        check(&["get_time"], &[0, 1]);
        check(&["get_web"], &[0, 2]);
        check(&["get_web", "get_time", "get_wet"], &[0, 1, 2]);
        // `ge` shares no whole token; `get` is all shared; the gold name may itself be the start of another.
        check(&["gem"], &[0]);
        check(&["get"], &[0, 1]);
        check(&["get_weather_now"], &[0, 3]);
        assert_eq!(value_ends(&spans, &gold), [8]);
    }

    #[test]
    fn a_name_may_start_within_a_token() {
        let gold = Call::parse(" find(a=1)").expect("it is a call");
        assert_eq!(key_tokens(&spans(&[" fi", "nd", "(a", "=1)"]), &gold, &["file"]), [0, 1]);
        assert_eq!(key_tokens(&spans(&[""]), &gold, &["file"]), [0_usize; 0]);
    }

    #[test]
    fn weights_are_kept_within_bounds() {
        let check = |keys, others, expected: f64| assert!((weight(keys, others, 9.0) - expected).abs() < 1e-12);
        check(2, 7, 3.5);
        check(1, 30, 9.0);
        check(3, 2, 1.0);
        check(0, 30, 1.0);
    }
}
