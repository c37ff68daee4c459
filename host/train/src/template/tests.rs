//! Tests of `template.rs`.

use serde_json::json;

use super::*;

fn template(source: &str) -> Result<ChatTemplate, ModelError> {
    let texts = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(role, text)| (role.to_owned(), text.to_owned()));
    let special = SpecialTokens { texts: texts.into(), ..SpecialTokens::default() };
    ChatTemplate::parse(source, PathBuf::from("chat_template.jinja"), special)
}

fn render(source: &str) -> Result<String, ModelError> {
    let messages = [json!({"role": "user", "content": " Hi \n"}), json!({"role": "assistant", "content": "Ho"})];
    template(source)?.render(&messages, &RenderOptions { add_generation_prompt: true, ..RenderOptions::default() })
}

#[track_caller]
fn check(source: &str, expected: &str) {
    assert_eq!(render(source).expect("valid"), expected);
}

#[track_caller]
fn refused(source: &str, expected: &str) {
    let error = render(source).expect_err("must be refused").to_string();
    assert!(error.contains("chat_template.jinja") && error.contains(expected), "{error}");
}

#[test]
fn the_template_of_smollm2_gives_its_known_text() {
    let source = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}\
        {% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let text = template(source)
        .expect("valid")
        .render(
            &[json!({"role": "user", "content": "What?"})],
            &RenderOptions { add_generation_prompt: true, ..RenderOptions::default() },
        )
        .expect("valid");
    let expected = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
        <|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, expected);
}

#[test]
fn blocks_are_trimmed_as_transformers_does() {
    check("{% for m in messages %}\n    {% if m.role == 'user' %}\nA\n    {% endif %}\n{% endfor %}\nB\n", "A\nB");
}

#[test]
fn python_methods_and_loop_controls_work() {
    check("{{ messages[0].content.strip() }}|{{ messages[0]['role'].startswith('us') }}", "Hi|True");
    check("{% for k, v in messages[1].items() %}{{ k }}={{ v }};{% endfor %}", "role=assistant;content=Ho;");
    check("{% for m in messages %}{% if not loop.first %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "user");
    check("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2");
}

#[test]
fn special_tokens_tools_and_json_are_there() {
    check("{{ bos_token }}{{ eos_token }}{{ tools is none }}{{ nothing is defined }}", "<s></s>TrueFalse");
    check("{{ messages[1] | tojson }}", r#"{"role": "assistant", "content": "Ho"}"#);
    check("{{ {'a': '<é>'} | tojson(indent=1) }}", "{\n \"a\": \"<é>\"\n}");
    check("{% generation %}x{% endgeneration %}{%- generation -%} y {%- endgeneration -%}", "xy");
}

#[test]
fn a_refusal_of_the_template_is_passed_on() {
    refused("{{ raise_exception('roles must alternate') }}", "roles must alternate");
    refused("{{ strftime_now('%d %b %Y') }}", "hint: the template asks for today's date");
    check("{% if strftime_now is defined %}now{% else %}then{% endif %}", "then");
    refused("{% for %}", "line 1");
    refused("{{ messages | nonsense }}", "nonsense");
    refused("{% include 'other' %}", "line 1");
}

#[test]
fn a_hostile_template_comes_to_an_end() {
    refused("{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}", "hint: ");
    refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion");
    refused("{% set ns = namespace(s='x') %}{% for a in range(9999) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "");
    refused("{{ 'x' * 100000000000 }}", "");
    refused("{{ range(100000000000) | list }}", "");
}

#[test]
fn the_file_of_its_own_wins_and_named_lists_have_a_default() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let load = || ChatTemplate::load(folder.path(), &SpecialTokens::default());
    assert!(load().expect("nothing is fine").is_none());
    let listed = json!({"chat_template": [{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}]});
    fs::write(folder.path().join("tokenizer_config.json"), listed.to_string()).expect("written");
    let text = |template: ChatTemplate| template.render(&[], &RenderOptions::default()).expect("valid");
    assert_eq!(text(load().expect("valid").expect("there")), "D");
    fs::write(folder.path().join("chat_template.jinja"), "F").expect("written");
    assert_eq!(text(load().expect("valid").expect("there")), "F");
    fs::remove_file(folder.path().join("chat_template.jinja")).expect("there");
    fs::write(folder.path().join("tokenizer_config.json"), "{\"chat_template\": []}").expect("written");
    assert!(load().expect_err("must be refused").to_string().contains("`default`"));
}
