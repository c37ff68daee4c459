//! Which tokens are trained on.

use std::sync::Arc;

use burn::tensor::Device;
use serde_json::{Value, json};
use tunesmith_core::data::{Example, Target, TrainingRow};
use tunesmith_core::model::Message;
use tunesmith_core::recipe::{Loss, LossWord};

use super::super::encoder::Bounded;
use super::super::{EncodeError, EncodedRow, Encoder, LengthRule};
use super::LONG;
use crate::model::LanguageModel;
use crate::test_folder::{chat_folder, set, tokenizer, write};

/// As `ChatML`, with the tokenizer's ending token.
const OPENED: &str = "{% if tools %}{{ 'T' + (tools | length | string) + eos_token }}{% endif %}{% for m in messages %}{{ '<s>' + m.role + ':' + (m.content or '') }}\
    {% for c in m.tool_calls or [] %}{{ '<' + c.function.name + '>' }}{% endfor %}{{ eos_token + '|' }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant:' }}{% endif %}";

fn encoder(template: Option<&str>, loss: &Loss) -> Encoder {
    let folder = chat_folder();
    set(folder.path(), "tokenizer_config.json", "chat_template", template.map_or(Value::Null, Value::from));
    let model = LanguageModel::load(folder.path(), &Device::flex()).expect("the fixture is whole");
    Encoder::new(&model).with_loss(loss)
}

fn roles(roles: &[&str]) -> Loss {
    Loss::Roles(roles.iter().map(|role| (*role).to_owned()).collect())
}

fn chat() -> Example {
    let messages = [("system", "be"), ("user", "a"), ("assistant", "bc"), ("user", "d")];
    let messages = messages.map(|(role, text)| Message::new(role, text)).to_vec();
    Example { messages, completion: Some("ef".into()), ..Example::default() }
}

fn encode(encoder: &Encoder, example: Example, lengths: LengthRule) -> Result<Arc<EncodedRow>, EncodeError> {
    let target = Target::Completion(example.completion.clone().expect("there is one"));
    let row = TrainingRow { example: Arc::new(example), target, provenance: "gold".into(), notes: Vec::new() };
    Ok(Arc::clone(&encoder.target(&row, lengths)?.rows[0]))
}

/// The text of a row, with what is trained on in brackets.
fn marked(encoder: &Encoder, row: &EncodedRow) -> String {
    let mut text = String::new();
    let mut was_trained = false;
    for (token, is_trained) in row.tokens.iter().zip(&row.mask) {
        match (was_trained, *is_trained) {
            (false, true) => text.push('['),
            (true, false) => text.push(']'),
            _ => {}
        }
        was_trained = *is_trained;
        text += &encoder.token_text(*token);
    }
    if was_trained { text + "]" } else { text }
}

#[track_caller]
fn check(template: Option<&str>, loss: &Loss, example: Example, expected: &str) {
    let encoder = encoder(template, loss);
    let row = encode(&encoder, example, LONG).expect("it fits");
    assert_eq!(marked(&encoder, &row), expected);
}

#[test]
fn chosen_roles_are_trained_on_with_their_ending_tokens() {
    let head = "<s>system:be</s>|<s>user:a</s>|<s>assistant:";
    check(Some(OPENED), &Loss::COMPLETION, chat(), &format!("{head}bc</s>|<s>user:d</s>|<s>assistant:[ef</s>]"));
    check(Some(OPENED), &roles(&["assistant"]), chat(), &format!("{head}[bc</s>]|<s>user:d</s>|<s>assistant:[ef</s>]"));
    let user = "<s>system:be</s>|<s>user:[a</s>]|<s>assistant:bc</s>|<s>user:[d</s>]";
    check(Some(OPENED), &roles(&["user"]), chat(), user);
    let all = "<s>[system:be</s>|<s>user:a</s>|<s>assistant:bc</s>|<s>user:d</s>|<s>assistant:ef</s>|]";
    check(Some(OPENED), &Loss::Word(LossWord::All), chat(), all);
}

#[test]
fn of_one_answer_the_role_and_the_completion_are_the_same_row() {
    let single = Example { messages: vec![Message::user("a")], completion: Some("bc".into()), ..Example::default() };
    let of = |loss: &Loss| {
        let row = encode(&encoder(Some(OPENED), loss), single.clone(), LONG).expect("it fits");
        (row.tokens.clone(), row.mask.clone())
    };
    assert_eq!(of(&Loss::COMPLETION), of(&roles(&["assistant"])));
}

#[test]
fn tokens_stand_where_they_are_in_the_text_of_any_loss() {
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "add"}}]});
    let reply = Message { whole: call.as_object().cloned(), ..Message::new("assistant", "") };
    let with_tools = Example { tools: Some(json!([{}])), reply: Some(reply), ..chat() };
    let text = Example { is_text: true, messages: vec![], completion: Some("plain".into()), ..Example::default() };
    for loss in [Loss::COMPLETION, Loss::Word(LossWord::All), roles(&["assistant"]), roles(&["system", "user"])] {
        let encoder = encoder(Some(OPENED), &loss);
        for example in [chat(), with_tools.clone(), text.clone()] {
            let row = encode(&encoder, example, LONG).expect("it fits");
            let found =
                encoder.row_text(row.source.as_ref().expect("it is known"), &row.tokens).expect("they belong together");
            assert_eq!(found.spans.len(), row.tokens.len());
            let at = |start: u32, end: u32| -> String {
                found.text.chars().skip(start as usize).take((end - start) as usize).collect()
            };
            for (token, span) in row.tokens.iter().zip(&found.spans).filter(|(_, span)| span.start < span.end) {
                assert_eq!(at(span.start, span.end), encoder.token_text(*token), "{loss:?} {span:?} of {}", found.text);
            }
            let of_nothing = found.spans.iter().filter(|span| span.start == span.end).count();
            assert!(of_nothing <= 2, "only what is added before and after the text stands for nothing: {of_nothing}");
        }
    }
}

#[test]
fn tool_calls_are_trained_on_and_tools_are_described() {
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "add"}}]});
    let reply = Message { whole: call.as_object().cloned(), ..Message::new("assistant", "") };
    let mut example = chat();
    example.tools = Some(json!([{}, {}]));
    example.reply = Some(reply.clone());
    let text = "T2</s><s>system:be</s>|<s>user:a</s>|<s>assistant:bc</s>|<s>user:d</s>|<s>assistant:[<add></s>]";
    check(Some(OPENED), &Loss::COMPLETION, example.clone(), text);
    check(Some(OPENED), &roles(&["assistant"]), example.clone(), &text.replace("bc</s>", "[bc</s>]"));
    example.messages[2] = reply;
    let text = text.replace("bc", "<add>");
    check(Some(OPENED), &Loss::COMPLETION, example.clone(), &text);
    // Another completion, of a curating plugin, is a text.
    let encoder = encoder(Some(OPENED), &Loss::COMPLETION);
    let target = Target::Completion("3".into());
    let row = TrainingRow { example: Arc::new(example), target, provenance: "self".into(), notes: Vec::new() };
    let row = &encoder.target(&row, LONG).expect("it fits").rows[0];
    assert_eq!(marked(&encoder, row), text.replace("[<add></s>]", "[3</s>]"));
}

#[test]
fn plain_text_is_trained_on_as_a_whole() {
    let text = Example {
        is_text: true,
        messages: vec![Message::user("")],
        completion: Some("once".into()),
        ..Example::default()
    };
    for loss in [Loss::COMPLETION, Loss::Word(LossWord::All), roles(&["user"])] {
        check(Some(OPENED), &loss, text.clone(), "o[nce</s>]");
    }
}

#[test]
fn without_a_template_prompt_and_completion_have_the_usual_roles() {
    let pair = Example { messages: vec![Message::user("ab")], completion: Some("c".into()), ..Example::default() };
    check(None, &Loss::COMPLETION, pair.clone(), "ab[c</s>]");
    check(None, &roles(&["assistant"]), pair.clone(), "ab[c</s>]");
    check(None, &roles(&["user"]), pair.clone(), "a[b]c</s>");
    check(None, &Loss::Word(LossWord::All), pair, "a[bc</s>]");
}

#[test]
fn a_row_without_such_a_role_is_refused_and_long_ones_are_cut_at_their_end() {
    let tool = encoder(Some(OPENED), &roles(&["tool"]));
    assert!(matches!(encode(&tool, chat(), LONG), Err(EncodeError::NoTarget)));
    let assistant = encoder(Some(OPENED), &roles(&["assistant"]));
    let cut = |longest| encode(&assistant, chat(), LengthRule { longest, truncate: true });
    // The first answer begins at token 32.
    assert_eq!(
        marked(&assistant, &cut(35).expect("a part of it fits")),
        "<s>system:be</s>|<s>user:a</s>|<s>assistant:[bc</s>]"
    );
    assert!(matches!(cut(32), Err(EncodeError::TooLong { prompt: 32, .. })));
    assert!(matches!(
        encode(&assistant, chat(), LengthRule { longest: 35, truncate: false }),
        Err(EncodeError::TooLong { .. })
    ));
}

#[test]
fn a_template_that_hides_a_turn_is_an_error() {
    let hides = "{% for m in messages %}{{ m.content | upper }}{% endfor %}";
    let error = encode(&encoder(Some(hides), &roles(&["user"])), chat(), LONG).expect_err("nothing shows the place");
    assert!(error.to_string().contains("does not show where turn 1 (`user`) stands"), "{error}");
    assert!(encode(&encoder(Some(hides), &Loss::Word(LossWord::All)), chat(), LONG).is_ok());
}

#[test]
fn where_a_token_would_reach_over_the_start_of_an_answer_the_text_is_cut_there() {
    let folder = chat_folder();
    let mut merging = tokenizer(95);
    merging["model"]["vocab"]["ab"] = 95.into();
    merging["model"]["merges"] = json!([["a", "b"]]);
    write(folder.path(), "tokenizer.json", &merging);
    let encoder = Encoder::new(&LanguageModel::load(folder.path(), &Device::flex()).expect("the fixture is whole"));
    let texts = |bounds: &[usize]| {
        let Bounded { tokens, places, .. } = encoder.encode_with("cababd", bounds).expect("letters");
        (tokens.iter().map(|token| encoder.token_text(*token)).collect::<Vec<_>>().join(" "), places)
    };
    assert_eq!(texts(&[1, 5]), ("c ab ab d".into(), vec![1, 3]));
    assert_eq!(texts(&[2, 5]), ("c a b ab d".into(), vec![2, 4]));
    assert_eq!(texts(&[2, 4, 6]), ("c a b a b d".into(), vec![2, 4, 6]));
}
