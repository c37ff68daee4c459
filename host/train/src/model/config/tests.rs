//! Tests of `config.rs`.

use serde_json::json;

use super::*;

#[track_caller]
fn equal(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12 * expected, "{found}, expected {expected}");
}

fn plain() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 100, "tie_word_embeddings": true
    })
}

fn with(field: &str, value: Value) -> Result<ModelConfig, ModelError> {
    let mut config = plain();
    config[field] = value;
    ModelConfig::parse(&config.to_string(), Path::new("somewhere/config.json"))
}

#[track_caller]
fn check(field: &str, value: Value, expected: &str) {
    let error = with(field, value).expect_err("must be refused").to_string();
    assert!(error.contains("somewhere/config.json") && error.contains(expected), "{error}");
    assert!(error.contains("hint: "), "{error}");
}

#[test]
fn defaults_are_those_of_transformers() {
    let config = with("architectures", json!(["LlamaForCausalLM"])).expect("a valid file");
    assert_eq!((config.kv_heads, config.head_dim, config.max_positions), (4, 16, 2048));
    equal(config.norm_epsilon, 1e-6);
    equal(config.rope_theta, 1e4);
    assert_eq!(config.biases, Biases::default());
    assert!(config.tied_head && config.eos_token_ids.is_empty());
}

#[test]
fn both_spellings_of_the_rotary_base_are_read() {
    equal(with("rope_theta", json!(5e5)).expect("valid").rope_theta, 5e5);
    let nested = json!({"rope_theta": 1e5, "rope_type": "default"});
    equal(with("rope_parameters", nested).expect("valid").rope_theta, 1e5);
    equal(with("rope_scaling", Value::Null).expect("valid").rope_theta, 1e4);
}

#[test]
fn several_ending_tokens_and_none_are_read() {
    assert_eq!(with("eos_token_id", json!([2, 7])).expect("valid").eos_token_ids, [2, 7]);
    assert_eq!(with("eos_token_id", json!(3)).expect("valid").eos_token_ids, [3]);
    assert_eq!(with("pad_token_id", json!(-1)).expect("valid").pad_token_id, None);
}

#[test]
fn parameters_are_counted_once_for_a_tied_head() {
    let tied = with("tie_word_embeddings", json!(true)).expect("valid").parameters();
    let untied = with("tie_word_embeddings", json!(false)).expect("valid").parameters();
    assert_eq!(untied - tied, 6400);
    let tensors = crate::model::Decoder::tensor_shapes(&with("attention_bias", json!(true)).expect("valid"));
    let counted: usize = tensors.values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!(with("attention_bias", json!(true)).expect("valid").parameters(), counted);
}

#[test]
fn what_changes_the_numbers_and_is_not_supported_is_refused_by_name() {
    check("hidden_act", json!("gelu"), "`hidden_act`");
    check("rope_scaling", json!({"type": "linear", "factor": 2.0}), "`rope_scaling.type`");
    check("rope_scaling", json!({"factor": 2.0}), "`rope_scaling.factor`");
    check("rope_parameters", json!({"rope_type": "llama3", "rope_theta": 1.0}), "`rope_parameters.rope_type`");
    check("rope_parameters", json!({"rope_theta": 1.0, "factor": 4.0}), "`rope_parameters.factor`");
    check("partial_rotary_factor", json!(0.5), "`partial_rotary_factor`");
    check("attention_dropout", json!(0.1), "`attention_dropout`");
    check("sliding_window", json!(4096), "`sliding_window`");
    check("quantization_config", json!({"bits": 4}), "`quantization_config`");
    check("rope_interleaved", json!(true), "`rope_interleaved`");
    check("final_logit_softcapping", json!(30.0), "`final_logit_softcapping`");
    check("some_new_switch", json!(true), "`some_new_switch`");
    check("model_type", json!("mamba"), "unknown `model_type` `mamba`");
}

#[test]
fn fields_of_the_wrong_kind_are_refused_by_name() {
    for field in
        ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "head_dim"]
    {
        for value in [json!(0), json!(-3), json!(1.5), json!("64"), json!([64]), json!(u64::MAX), json!({"a": 1})] {
            check(field, value, &format!("`{field}`"));
        }
    }
    check("hidden_size", Value::Null, "`hidden_size` is missing");
    check("model_type", json!(7), "`model_type`");
    check("model_type", Value::Null, "`model_type`");
    check("rms_norm_eps", json!(0), "`rms_norm_eps`");
    check("rope_theta", json!(-1.0), "`rope_theta`");
    check("rope_parameters", json!(3), "`rope_parameters`");
    check("tie_word_embeddings", json!("yes"), "`tie_word_embeddings`");
    check("eos_token_id", json!("</s>"), "`eos_token_id`");
}

#[test]
fn sizes_that_do_not_fit_together_are_refused() {
    check("num_key_value_heads", json!(3), "does not divide `num_attention_heads`");
    check("num_attention_heads", json!(5), "does not divide `hidden_size`");
    check("head_dim", json!(7), "odd");
    check("num_hidden_layers", json!(1_u64 << 31), "2^40");
    check("vocab_size", json!((1_u64 << 31) + 1), "2^31");
}

#[test]
fn what_is_not_an_object_is_refused_without_a_panic() {
    for text in ["", "[]", "null", "7", "{", "\u{feff}{}", "{\"model_type\": \"llama\", \"model_type\": 3}", "{}"] {
        assert!(ModelConfig::parse(text, Path::new("config.json")).is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(ModelConfig::parse(&format!("{{\"a\": {deep}}}"), Path::new("config.json")).is_err());
}
