//! Where each turn of a conversation stands in the text that the chat template makes of it.
//!
//! A template is a program, and says nothing of where it writes what. What it writes is compared with what it writes for the beginning of the
//! conversation, and for the conversation with a mark in place of a turn's text. Where neither shows a turn's place beyond doubt, that is an error.

use std::ops::Range;

use serde_json::Value;

use crate::error::ModelError;
use crate::template::{ChatTemplate, RenderOptions};

/// Stands in place of a turn's text. Private letters, so that no template looks for them and no data has them.
const MARK: &str = "\u{e0f7}tunesmith\u{e0f8}";

/// A conversation as text.
pub(super) struct Turns<'a> {
    template: &'a ChatTemplate,
    messages: &'a [Value],
    tools: Option<&'a Value>,
    /// The texts of the tokens that end a turn.
    ends: &'a [String],
    text: String,
}

impl<'a> Turns<'a> {
    pub(super) fn render(
        template: &'a ChatTemplate,
        messages: &'a [Value],
        tools: Option<&'a Value>,
        ends: &'a [String],
    ) -> Result<Self, ModelError> {
        let mut turns = Self { template, messages, tools, ends, text: String::new() };
        turns.text = turns.rendered(messages, false)?;
        Ok(turns)
    }

    /// The whole text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The role of a turn.
    pub(super) fn role(&self, index: usize) -> &str {
        self.messages[index].get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// The bytes of the text that the turn says, with the token that ends it, and without what the template writes before it: of an assistant
    /// that is all that a model has to generate.
    pub(super) fn part(&self, index: usize) -> Result<Range<usize>, ModelError> {
        let answered = if self.role(index) == "assistant" { self.answer(index) } else { None };
        answered.or_else(|| self.marked(index)).ok_or_else(|| {
            ModelError::request(format!(
                "the chat template does not show where turn {index} (`{}`) stands in the conversation\nhint: leave the row out, or set `data.loss` to \"completion\" or \"all\"",
                self.role(index)
            ))
        })
    }

    /// From the opening of the assistant's turn to its end, if the conversation up to there is written as it is in the whole.
    fn answer(&self, index: usize) -> Option<Range<usize>> {
        let start = self.length_of(index, true)?;
        let end = self.length_of(index + 1, false)?;
        let said = self.text.get(start..end)?;
        // A line feed after the ending token is the template's, not the model's.
        let last = self.ends.iter().filter_map(|end| said.rfind(end).map(|at| at + end.len())).max();
        Some(start..start + last.unwrap_or(said.len()))
    }

    /// The bytes of the first `count` turns by themselves, if the whole begins so.
    fn length_of(&self, count: usize, opens_answer: bool) -> Option<usize> {
        if count == self.messages.len() && !opens_answer {
            return Some(self.text.len());
        }
        let before = self.rendered(&self.messages[..count], opens_answer).ok()?;
        self.text.starts_with(&before).then_some(before.len())
    }

    /// What stands where a mark would stand, and the ending token if it follows.
    fn marked(&self, index: usize) -> Option<Range<usize>> {
        if self.messages[index].get("tool_calls").is_some() {
            // What it says is more than its text.
            return None;
        }
        let mut messages = self.messages.to_vec();
        *messages[index].get_mut("content")? = Value::from(MARK);
        let text = self.rendered(&messages, false).ok()?;
        let (before, after) = text.split_once(MARK)?;
        let is_same = !after.contains(MARK)
            && before.len() + after.len() <= self.text.len()
            && self.text.starts_with(before)
            && self.text.ends_with(after);
        is_same.then(|| {
            let end = self.text.len() - after.len();
            let blank = after.len() - after.trim_start().len();
            let ending =
                self.ends.iter().filter(|ending| after[blank..].starts_with(ending.as_str())).map(String::len).max();
            before.len()..ending.map_or(end, |ending| end + blank + ending)
        })
    }

    fn rendered(&self, messages: &[Value], opens_answer: bool) -> Result<String, ModelError> {
        let options = RenderOptions {
            add_generation_prompt: opens_answer,
            tools: self.tools.cloned(),
            ..RenderOptions::default()
        };
        self.template.render(messages, &options)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::tokenizer::SpecialTokens;

    const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    /// As Llama 3 writes it: texts trimmed.
    const LLAMA: &str = "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";
    /// As Gemma writes it: the system's text within the user's turn, strict alternation.
    const GEMMA: &str = "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\\n\\n' %}{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}\
        {% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}\
        {% set role = 'model' if m.role == 'assistant' else m.role %}{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') + m.content | trim + '<end_of_turn>\\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";
    const MISTRAL: &str = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}";
    /// As Qwen 3 writes it: thoughts of earlier turns are left out, tools are described, calls are tags.
    const QWEN: &str = "{% if tools %}{{ '<|im_start|>system\\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}\
        {% for m in messages %}{% set c = m.content if m.content is string else '' %}{% if m.role == 'assistant' and not loop.last and '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}\
        {% if m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + c + '\\n</tool_response><|im_end|>\\n' }}{% else %}{{ '<|im_start|>' + m.role + '\\n' + c }}\
        {% for call in m.tool_calls or [] %}{{ '<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    fn chat() -> Vec<Value> {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        vec![
            turn("system", "Be brief."),
            turn("user", "Hi"),
            turn("assistant", "Hello"),
            turn("user", "Hello?"),
            turn("assistant", " Hi, hello. "),
        ]
    }

    fn parts(source: &str, messages: &[Value], tools: Option<&Value>) -> Vec<Result<String, String>> {
        let texts =
            [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(role, text)| (role.to_owned(), text.to_owned()));
        let special = SpecialTokens { texts: texts.into(), ..SpecialTokens::default() };
        let template = ChatTemplate::parse(source, PathBuf::from("t"), special).expect("a template");
        let ends = ["</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>"].map(str::to_owned);
        let turns = Turns::render(&template, messages, tools, &ends).expect("it renders");
        let part =
            |index| turns.part(index).map(|part| turns.text()[part].to_owned()).map_err(|error| error.to_string());
        (0..messages.len()).map(part).collect()
    }

    #[track_caller]
    fn check(source: &str, messages: &[Value], expected: &[&str]) {
        let found: Result<Vec<String>, String> = parts(source, messages, None).into_iter().collect();
        assert_eq!(found.expect("every turn has a place"), expected);
    }

    #[test]
    fn a_turn_is_what_it_says_and_its_ending_token() {
        let chat = chat();
        check(
            CHATML,
            &chat,
            &["Be brief.<|im_end|>", "Hi<|im_end|>", "Hello<|im_end|>", "Hello?<|im_end|>", " Hi, hello. <|im_end|>"],
        );
        check(
            LLAMA,
            &chat,
            &["Be brief.<|eot_id|>", "Hi<|eot_id|>", "Hello<|eot_id|>", "Hello?<|eot_id|>", "Hi, hello.<|eot_id|>"],
        );
        check(
            GEMMA,
            &chat,
            &["Be brief.", "Hi<end_of_turn>", "Hello<end_of_turn>", "Hello?<end_of_turn>", "Hi, hello.<end_of_turn>"],
        );
        check(MISTRAL, &chat[1..], &["Hi", " Hello</s>", "Hello?", "  Hi, hello. </s>"]);
    }

    #[test]
    fn what_the_template_leaves_out_is_no_part() {
        let chat = [
            json!({"role": "user", "content": "1+1?"}),
            json!({"role": "assistant", "content": "<think>\nsum\n</think>\n\n2"}),
            json!({"role": "user", "content": "Sure?"}),
            json!({"role": "assistant", "content": "<think>\nagain\n</think>\n\nYes"}),
        ];
        // The first answer is written without its thoughts: neither way shows that it is the same turn.
        let found = parts(QWEN, &chat, None);
        assert_eq!(found[0].as_deref(), Ok("1+1?<|im_end|>"));
        assert_eq!(found[1].as_deref(), Ok("2<|im_end|>"));
        assert_eq!(found[3].as_deref(), Ok("<think>\nagain\n</think>\n\nYes<|im_end|>"));
    }

    #[test]
    fn tool_calls_are_what_the_assistant_says() {
        let call = json!({"type": "function", "function": {"name": "add", "arguments": {"a": 1}}});
        let chat = [
            json!({"role": "user", "content": "1+1?"}),
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            json!({"role": "tool", "content": "2"}),
            json!({"role": "assistant", "content": "It is 2."}),
        ];
        let tools = json!([{"type": "function", "function": {"name": "add"}}]);
        let found: Vec<String> =
            parts(QWEN, &chat, Some(&tools)).into_iter().map(|part| part.expect("a place")).collect();
        assert_eq!(found[1], "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call><|im_end|>");
        assert_eq!((found[2].as_str(), found[3].as_str()), ("2", "It is 2.<|im_end|>"));
    }

    #[test]
    fn a_template_that_hides_a_turn_is_refused() {
        let counts = "{% for m in messages %}{{ m.content | length }} {{ m.content | upper }};{% endfor %}";
        let found = parts(counts, &chat()[1..3], None);
        assert!(
            found[0].as_ref().is_err_and(|error| error.contains("turn 0 (`user`)") && error.contains("hint:")),
            "{found:?}"
        );
        let twice = "{% for m in messages %}{{ m.content }}/{{ m.content }};{% endfor %}";
        assert!(parts(twice, &chat()[1..2], None)[0].is_err());
    }
}
