//! What is sent to a server, and how its answers are read.

use serde_json::{Map, Value, json};
use tunesmith_core::digest;
use tunesmith_core::model::{Finish, Generation, Prompt, Sampling};

/// A request without its address: what decides the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    path: &'static str,
    body: Value,
}

impl Question {
    /// Where it goes, below the server's address.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// The JSON that is sent.
    pub(super) fn text(&self) -> String {
        self.body.to_string()
    }

    /// The digest by which a tape knows it.
    pub(super) fn hash(&self) -> String {
        digest::of_parts([self.path.as_bytes(), self.text().as_bytes()])
    }

    /// Path and body in one value, for people who read a tape.
    pub(super) fn as_json(&self) -> Value {
        json!({ "path": self.path, "body": self.body })
    }

    /// How many completions are asked for in one answer.
    pub(super) fn count(&self) -> u64 {
        self.body.get("n").and_then(Value::as_u64).unwrap_or(1)
    }
}

/// Completions of one prompt that are asked for in one request.
pub(super) struct Asked<'a> {
    pub(super) model: &'a str,
    pub(super) sampling: &'a Sampling,
    pub(super) max_tokens: u32,
    /// None if the answer does not depend on it: a greedy question is the same in every call.
    pub(super) seed: Option<u32>,
    pub(super) count: usize,
    pub(super) logprobs: bool,
}

impl Asked<'_> {
    /// The request. What says nothing is left out: not every server knows every field.
    pub(super) fn question(&self, prompt: &Prompt) -> Question {
        let Self { model, sampling, .. } = self;
        let mut body = Map::new();
        body.insert("model".into(), json!(model));
        match prompt {
            Prompt::Chat(messages) => _ = body.insert("messages".into(), json!(messages)),
            Prompt::Tools { messages, tools } => {
                body.insert("messages".into(), json!(messages));
                body.insert("tools".into(), tools.clone());
            }
            Prompt::Raw(text) => _ = body.insert("prompt".into(), json!(text)),
        }
        let is_raw = matches!(prompt, Prompt::Raw(_));
        let fields = [
            ("max_tokens", Some(json!(self.max_tokens))),
            ("temperature", Some(json!(shortest(sampling.temperature)))),
            ("top_p", (sampling.top_p < 1.0).then(|| json!(shortest(sampling.top_p)))),
            ("top_k", (0 < sampling.top_k).then(|| json!(sampling.top_k))),
            ("stop", (!sampling.stop.is_empty()).then(|| json!(sampling.stop))),
            ("seed", self.seed.map(|seed| json!(seed))),
            ("n", (1 < self.count).then(|| json!(self.count))),
            ("logprobs", self.logprobs.then(|| if is_raw { json!(1) } else { json!(true) })),
        ];
        body.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Question { path: if is_raw { "completions" } else { "chat/completions" }, body: Value::Object(body) }
    }

    /// The completions in an answer, in their order.
    pub(super) fn read(&self, prompt: &Prompt, answer: &Value) -> Result<Vec<Generation>, String> {
        let choices = answer.get("choices").and_then(Value::as_array).ok_or("an answer without `choices`")?;
        let is_raw = matches!(prompt, Prompt::Raw(_));
        choices.iter().map(|choice| self.completion(choice, is_raw)).collect()
    }

    fn completion(&self, choice: &Value, is_raw: bool) -> Result<Generation, String> {
        let text = if is_raw { choice.get("text") } else { choice.pointer("/message/content") };
        let text = match text {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
            // A turn that calls tools, or was cut while it was thinking, says nothing.
            Some(Value::Null) | None if !is_raw && choice.get("message").is_some_and(Value::is_object) => String::new(),
            _ => return Err("a completion without a text".into()),
        };
        let token_logprobs = if self.logprobs { logprobs(choice, is_raw)? } else { Vec::new() };
        Ok(Generation {
            text,
            // Their number is known, not which they are.
            tokens: vec![0; token_logprobs.len()],
            token_logprobs,
            finish: finish(choice),
        })
    }
}

/// The shortest decimal that reads back as this number: 0.7, not 0.699999988079071.
fn shortest(number: f32) -> Value {
    serde_json::from_str(&number.to_string()).unwrap_or_else(|_| json!(number))
}

fn finish(choice: &Value) -> Finish {
    match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length" | "content_filter") => Finish::Length,
        // vLLM says which text stopped it.
        _ if choice.get("stop_reason").is_some_and(Value::is_string) => Finish::Stop,
        _ => Finish::End,
    }
}

fn logprobs(choice: &Value, is_raw: bool) -> Result<Vec<f32>, String> {
    let missing =
        || "an answer without log-probabilities; hint: set `logprobs = false`, or use a server that gives them";
    // llama.cpp gives those of a raw prompt in the form for chats.
    let of_chat = choice.pointer("/logprobs/content").and_then(Value::as_array);
    let of_raw = choice.pointer("/logprobs/token_logprobs").and_then(Value::as_array).filter(|_| is_raw);
    let numbers: Vec<Option<f64>> = match (of_chat, of_raw) {
        (Some(tokens), _) => tokens.iter().map(|token| token.get("logprob")?.as_f64()).collect(),
        (None, Some(numbers)) => numbers.iter().map(Value::as_f64).collect(),
        (None, None) => return Err(missing().into()),
    };
    let finite = |number: Option<f64>| number.map(|number| number as f32).filter(|number| number.is_finite());
    numbers.into_iter().map(|number| finite(number).ok_or_else(|| missing().into())).collect()
}

/// The request for the embeddings of these texts.
pub(super) fn embeddings(model: &str, texts: &[String]) -> Question {
    Question { path: "embeddings", body: json!({ "model": model, "input": texts, "encoding_format": "float" }) }
}

/// One vector per text, in the order of the texts.
pub(super) fn read_embeddings(answer: &Value, count: usize) -> Result<Vec<Vec<f32>>, String> {
    let data = answer.get("data").and_then(Value::as_array).ok_or("an answer without `data`")?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; count];
    for (place, entry) in data.iter().enumerate() {
        let index = entry.get("index").and_then(Value::as_u64).map_or(place, |index| index as usize);
        let numbers = entry.get("embedding").and_then(Value::as_array).ok_or("an entry without `embedding`")?;
        let numbers = numbers.iter().map(|number| number.as_f64().map(|number| number as f32));
        let vector: Option<Vec<f32>> = numbers.map(|number| number.filter(|number| number.is_finite())).collect();
        let slot = vectors.get_mut(index).ok_or("an embedding of a text that was not asked about")?;
        *slot = Some(vector.ok_or("an embedding with something else than numbers")?);
    }
    vectors.into_iter().collect::<Option<_>>().ok_or_else(|| "fewer embeddings than texts".into())
}

/// The tokens that an answer has cost: as the server counts them, or else one for every four bytes of question and answer.
pub(super) fn tokens(question: &str, answer: &Value, bytes: usize) -> u64 {
    let counted = answer.pointer("/usage/total_tokens").and_then(Value::as_u64);
    counted.unwrap_or_else(|| ((question.len() + bytes) / 4) as u64)
}

#[cfg(test)]
mod tests {
    use tunesmith_core::model::Message;

    use super::*;

    fn asked(sampling: &Sampling, count: usize, logprobs: bool) -> Asked<'_> {
        let seed = (sampling.temperature > 0.0).then_some(7);
        Asked { model: "m", sampling, max_tokens: sampling.max_tokens, seed, count, logprobs }
    }

    fn chat() -> Prompt {
        Prompt::Chat(vec![Message::user("q")])
    }

    #[test]
    fn a_request_says_what_was_chosen_and_no_more() {
        let greedy = Sampling::greedy(5);
        let question = asked(&greedy, 1, false).question(&chat());
        let body = r#"{"model":"m","messages":[{"role":"user","content":"q"}],"max_tokens":5,"temperature":0}"#;
        assert_eq!((question.path(), question.text().as_str()), ("chat/completions", body));
        let warm = Sampling { temperature: 0.7, top_p: 0.9, top_k: 3, stop: vec![";".into()], ..Sampling::greedy(5) };
        let question = asked(&warm, 2, true).question(&Prompt::Raw("q".into()));
        let body = r#"{"model":"m","prompt":"q","max_tokens":5,"temperature":0.7,"top_p":0.9,"top_k":3,"stop":[";"],"seed":7,"n":2,"logprobs":1}"#;
        assert_eq!((question.path(), question.text().as_str()), ("completions", body));
        assert_eq!(question.count(), 2);
        assert_ne!(question.hash(), asked(&warm, 1, true).question(&Prompt::Raw("q".into())).hash());
        let tools = Prompt::Tools { messages: vec![Message::user("q")], tools: json!([1]) };
        assert!(asked(&greedy, 1, false).question(&tools).text().contains(r#""tools":[1]"#));
    }

    #[track_caller]
    fn read(logprobs: bool, prompt: &Prompt, answer: &Value) -> Result<Vec<Generation>, String> {
        asked(&Sampling::greedy(5), 1, logprobs).read(prompt, answer)
    }

    #[test]
    fn completions_are_read_in_the_forms_that_servers_give() {
        let text =
            |content: Value, why: Value| json!({"choices": [{"message": {"content": content}, "finish_reason": why}]});
        let one = |answer: &Value| read(false, &chat(), answer).expect("it reads").remove(0);
        let plain = one(&text(json!("a"), json!("stop")));
        assert_eq!((plain.text.as_str(), plain.finish, plain.tokens.len()), ("a", Finish::End, 0));
        assert_eq!(one(&text(json!([{"type": "text", "text": "a"}, {"text": "b"}]), json!("length"))).text, "ab");
        assert_eq!(one(&text(json!(null), json!("length"))).finish, Finish::Length);
        assert_eq!(one(&json!({"choices": [{"message": {}, "stop_reason": ";"}]})).finish, Finish::Stop);
        let raw = Prompt::Raw("q".into());
        let scored = json!({"choices": [{"text": "ab", "logprobs": {"token_logprobs": [-0.5, -1]}}]});
        let scored = read(true, &raw, &scored).expect("it reads").remove(0);
        assert_eq!((scored.tokens.len(), scored.token_logprobs), (2, vec![-0.5, -1.0]));
        let tokens = json!({"content": [{"token": "a", "logprob": -0.25}]});
        let chatted = json!({"choices": [{"message": {"content": "a"}, "logprobs": tokens}]});
        assert_eq!(read(true, &chat(), &chatted).expect("it reads")[0].token_logprobs, [-0.25]);
    }

    #[test]
    fn other_answers_are_refused() {
        let wrong = [
            json!(null),
            json!([]),
            json!({"choices": {}}),
            json!({"choices": [3]}),
            json!({"choices": [{"message": {"content": 3}}]}),
            json!({"choices": [{"message": "a"}]}),
        ];
        for answer in wrong {
            assert!(read(false, &chat(), &answer).is_err(), "{answer}");
            assert!(read(false, &Prompt::Raw("q".into()), &answer).is_err(), "{answer}");
        }
        let without = json!({"choices": [{"message": {"content": "a"}}]});
        assert!(read(true, &chat(), &without).expect_err("there are none").contains("hint: set `logprobs = false`"));
        for bad in [json!("x"), json!(null), json!(-1e300)] {
            let answer = json!({"choices": [{"text": "a", "logprobs": {"token_logprobs": [bad]}}]});
            assert!(read(true, &Prompt::Raw("q".into()), &answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn embeddings_are_put_in_the_order_of_the_texts() {
        let entry = |index: u64, number: f32| json!({"index": index, "embedding": [number]});
        let answer = json!({"data": [entry(1, 2.0), entry(0, 1.0)]});
        assert_eq!(read_embeddings(&answer, 2), Ok(vec![vec![1.0], vec![2.0]]));
        assert!(read_embeddings(&answer, 1).is_err() && read_embeddings(&answer, 3).is_err());
        assert!(read_embeddings(&json!({"data": [{"embedding": ["x"]}]}), 1).is_err());
        assert!(read_embeddings(&json!({"data": "x"}), 1).is_err());
    }

    #[test]
    fn tokens_are_the_servers_or_an_estimate() {
        assert_eq!(tokens("12345678", &json!({"usage": {"total_tokens": 3}}), 80), 3);
        assert_eq!(tokens("12345678", &json!({"usage": null}), 80), 22);
    }
}
