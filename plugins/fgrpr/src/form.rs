//! What a completion says: the number between its tags, and whether all of it has the asked form.

/// The tags of a completion; empty ones are not there.
#[derive(Debug, Clone)]
pub struct Form {
    /// What stands around the thoughts.
    pub think: (String, String),
    /// What stands around the number.
    pub answer: (String, String),
}

impl Form {
    /// The number between the first pair of answer tags that has nothing but digits in it; of the whole text if there are no such tags.
    pub fn number(&self, text: &str) -> Option<f64> {
        let (open, close) = &self.answer;
        if open.is_empty() {
            return digits(text);
        }
        text.match_indices(open).find_map(|(at, _)| {
            let inside = &text[at + open.len()..];
            digits(&inside[..inside.find(close)?])
        })
    }

    /// Whether the whole text is thoughts in their tags, blanks or none, and a number in its tags.
    pub fn holds(&self, text: &str) -> bool {
        let (open, close) = &self.think;
        let answer = if open.is_empty() {
            Some(text)
        } else {
            // Thoughts may have anything in them: the last closing is the one before the answer.
            text.strip_prefix(open.as_str()).and_then(|rest| Some(rest.rsplit_once(close.as_str())?.1.trim_start()))
        };
        let (open, close) = &self.answer;
        let inside = answer.and_then(|answer| answer.strip_prefix(open.as_str())?.strip_suffix(close.as_str()));
        inside.is_some_and(|inside| digits(inside).is_some())
    }
}

/// A number of digits only: no sign, blank, comma or point.
fn digits(text: &str) -> Option<f64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        let pair = |name: &str| (format!("<{name}>"), format!("</{name}>"));
        Form { think: pair("think"), answer: pair("answer") }
    }

    #[track_caller]
    fn check(form: &Form, text: &str, number: Option<f64>, holds: bool) {
        assert_eq!((form.number(text), form.holds(text)), (number, holds), "{text:?}");
    }

    #[test]
    fn the_asked_form() {
        check(&form(), "<think>two rows of six</think><answer>12</answer>", Some(12.0), true);
        check(&form(), "<think>a\nb</think>\n \t<answer>012</answer>", Some(12.0), true);
        check(&form(), "<think></think><answer>0</answer>", Some(0.0), true);
        check(&form(), "<think>a</think> or <think>b</think><answer>3</answer>", Some(3.0), true);
    }

    #[test]
    fn a_number_counts_in_any_form() {
        check(&form(), "<answer>12</answer>", Some(12.0), false);
        check(&form(), "<think>a</think><answer>12</answer> people", Some(12.0), false);
        check(&form(), " <think>a</think><answer>12</answer>", Some(12.0), false);
        check(&form(), "<think>a</think> so <answer>12</answer>", Some(12.0), false);
        check(&form(), "<answer>12", None, false);
    }

    #[test]
    fn what_is_not_digits_only_is_no_number() {
        for inside in ["12,000", "12 ", " 12", "-12", "+12", "1.5", "1e3", "", "twelve", "\u{661}"] {
            check(&form(), &format!("<think>a</think><answer>{inside}</answer>"), None, false);
        }
    }

    #[test]
    fn the_first_answer_that_is_a_number_counts() {
        check(&form(), "<answer>5</answer><answer>7</answer>", Some(5.0), false);
        check(&form(), "<answer>five</answer><answer>7</answer>", Some(7.0), false);
        check(&form(), "<answer><answer>7</answer>", Some(7.0), false);
    }

    #[test]
    fn a_cut_completion_has_no_answer() {
        check(&form(), "<think>there are five rows, and", None, false);
        check(&form(), "<think>a</think><answer>1", None, false);
        check(&form(), "<think>a</think><answer>12</answer", None, false);
    }

    #[test]
    fn tags_may_be_absent() {
        let none = || (String::new(), String::new());
        let bare = Form { think: none(), answer: none() };
        check(&bare, "47", Some(47.0), true);
        check(&bare, "47 ", None, false);
        check(&bare, "", None, false);
        let answer = Form { think: none(), ..form() };
        check(&answer, "<answer>47</answer>", Some(47.0), true);
        check(&answer, "<think>a</think><answer>47</answer>", Some(47.0), false);
    }
}
