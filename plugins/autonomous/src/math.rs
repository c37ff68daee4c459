//! Questions and answers in a text, and when two answers say the same.

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What is asked.
    pub question: String,
    /// What is answered.
    pub answer: String,
}

/// The questions and answers of a text, none for each part that lacks one of the two. Without a question mark the whole text is one part.
pub fn parse(text: &str, question_mark: &str, answer_mark: &str) -> Vec<Option<Pair>> {
    let pair = |part: &str| {
        let (question, answer) = part.split_once(answer_mark)?;
        let [question, answer] = [question, answer].map(|text| text.trim().to_owned());
        (!question.is_empty() && !answer.is_empty()).then_some(Pair { question, answer })
    };
    if question_mark.is_empty() {
        return vec![pair(text)];
    }
    text.split(question_mark).skip(1).map(pair).collect()
}

/// The words of a text, in lower case and without punctuation.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Whether two answers are the same words.
pub fn is_same(one: &str, other: &str) -> bool {
    one.trim() == other.trim() || (!words(one).is_empty() && words(one) == words(other))
}

/// The share of an answer's words that are in the document, in 0.0 to 1.0; 1.0 of an answer without words.
pub fn support(answer: &str, document: &str) -> f64 {
    let (words, document) = (words(answer), document.to_lowercase());
    if words.is_empty() {
        return 1.0;
    }
    words.iter().filter(|word| document.contains(word.as_str())).count() as f64 / words.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(question: &str, answer: &str) -> Pair {
        Pair { question: question.into(), answer: answer.into() }
    }

    #[test]
    fn every_question_of_a_text_is_read() {
        let text = "Sure!\nQuestion: who?\nAnswer: she\nQuestion: when? Answer: \nQuestion: where\nQuestion: why?\nAnswer: so: it is\n";
        let found = parse(text, "Question:", "Answer:");
        assert_eq!(found, [Some(pair("who?", "she")), None, None, Some(pair("why?", "so: it is"))]);
        assert!(parse("no marks", "Question:", "Answer:").is_empty());
    }

    #[test]
    fn without_a_question_mark_a_text_is_one_question() {
        assert_eq!(parse("abc:12:3", "", ":"), [Some(pair("abc", "12:3"))]);
        assert_eq!(parse("abc", "", ":"), [None]);
    }

    #[test]
    fn answers_are_the_same_if_their_words_are() {
        assert!(is_same("In Paris.", "in  paris") && is_same(" ?", "?"));
        assert!(!is_same("Paris", "in Paris") && !is_same("?", "!"));
    }

    #[test]
    fn support_is_the_share_of_words_that_are_there() {
        assert!((support("Paris, 1900", "It was in Paris.") - 0.5).abs() < 1e-12);
        assert!((support("...", "x") - 1.0).abs() < 1e-12);
    }
}
