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
    equal(config.ropes[0].theta, 1e4);
    assert_eq!(config.ropes[0].scaling, RopeScaling::None);
    assert_eq!(config.layer_kinds, [LayerKind { window: None, rope: 0 }; 2]);
    assert_eq!(config.biases, Biases::default());
    assert!(config.tied_head && config.eos_token_ids.is_empty());
}

#[test]
fn both_spellings_of_the_rotary_base_are_read() {
    equal(with("rope_theta", json!(5e5)).expect("valid").ropes[0].theta, 5e5);
    let nested = json!({"rope_theta": 1e5, "rope_type": "default"});
    equal(with("rope_parameters", nested).expect("valid").ropes[0].theta, 1e5);
    equal(with("rope_scaling", Value::Null).expect("valid").ropes[0].theta, 1e4);
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
    check("hidden_act", json!("relu"), "`hidden_act`");
    check("rope_scaling", json!({"type": "mrope"}), "`rope_scaling.type`");
    check("rope_scaling", json!({"rope_type": "proportional"}), "`rope_scaling.rope_type`");
    check("rope_scaling", json!({"factor": 2.0}), "`rope_scaling.factor`");
    check("rope_scaling", json!({"type": "linear", "factor": 2.0, "alpha": 1.0}), "`rope_scaling.alpha`");
    check("rope_scaling", json!({"type": "linear"}), "`rope_scaling.factor` is missing");
    check("rope_parameters", json!({"rope_type": "llama3", "rope_theta": 1.0}), "`rope_parameters.low_freq_factor`");
    check("lm_head_bias", json!(true), "`lm_head_bias`");
    check("layer_types", json!(["full_attention", "sliding_attention"]), "`layer_types`");
    check("layer_types", json!(["full_attention"]), "`layer_types` has 1 entries for 2 layers");
    check("use_bidirectional_attention", json!(true), "`use_bidirectional_attention`");
    check("query_pre_attn_scalar", json!(256), "`query_pre_attn_scalar`");
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
    check("num_hidden_layers", json!(1_u64 << 31), "more than 16384");
    check("hidden_size", json!(1_u64 << 30), "2^40");
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

/// The fields that decide numbers in published `config.json` files, without those that every family shares.
#[expect(clippy::needless_pass_by_value, reason = "callers write the fields in place")]
fn published(model_type: &str, fields: Value) -> Result<ModelConfig, ModelError> {
    let mut config = json!({
        "model_type": model_type, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 8, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-6, "attention_dropout": 0.0, "initializer_range": 0.02,
        "torch_dtype": "bfloat16", "transformers_version": "4.45.0", "use_cache": true, "bos_token_id": 2, "eos_token_id": [1, 3]
    });
    for (name, value) in fields.as_object().expect("an object") {
        config[name] = value.clone();
    }
    ModelConfig::parse(&config.to_string(), Path::new("config.json"))
}

#[track_caller]
fn windows(config: &ModelConfig) -> Vec<Option<usize>> {
    config.layer_kinds.iter().map(|kind| kind.window).collect()
}

#[test]
fn published_mistral_files_are_read() {
    let first = json!({"hidden_act": "silu", "max_position_embeddings": 32768, "rope_theta": 10000.0, "sliding_window": 4096,
        "tie_word_embeddings": false});
    let config = published("mistral", first).expect("valid");
    assert_eq!(windows(&config), [Some(4096); 8]);
    let third = json!({"head_dim": null, "sliding_window": null, "rope_theta": 1_000_000.0});
    assert_eq!(windows(&published("mistral", third).expect("valid")), [None; 8]);
    // What transformers takes where the file says nothing.
    assert_eq!(windows(&published("mistral", json!({})).expect("valid")), [Some(4096); 8]);
}

#[test]
fn published_qwen_files_are_read() {
    let second = json!({"hidden_act": "silu", "max_window_layers": 3, "sliding_window": 32768, "use_sliding_window": false,
        "use_mrope": false, "rope_theta": 1e6, "tie_word_embeddings": true});
    let config = published("qwen2", second.clone()).expect("valid");
    assert_eq!((windows(&config), config.norms.is_by_head), (vec![None; 8], false));
    assert_eq!(config.biases, Biases { qkv: true, attention_output: false, mlp: false });
    let mut sliding = second;
    sliding["use_sliding_window"] = json!(true);
    let config = published("qwen2", sliding).expect("valid");
    assert_eq!(windows(&config), [[None; 3].as_slice(), &[Some(32768); 5]].concat());
    let third = json!({"attention_bias": false, "head_dim": 128, "max_window_layers": 28, "rope_scaling": null,
        "sliding_window": null, "use_sliding_window": false});
    let config = published("qwen3", third).expect("valid");
    assert_eq!((config.head_dim, config.norms.is_by_head, config.biases), (128, true, Biases::default()));
    let yarn = json!({"rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}});
    assert!(matches!(published("qwen2", yarn).expect("valid").ropes[0].scaling, RopeScaling::Yarn { .. }));
    let unclear = json!({"layer_types": ["full_attention", "full_attention", "full_attention", "full_attention",
        "full_attention", "full_attention", "full_attention", "sliding_attention"]});
    let error = published("qwen3", unclear).expect_err("no window is given").to_string();
    assert!(error.contains("`sliding_window`"), "{error}");
}

#[test]
fn published_gemma_files_are_read() {
    let second = json!({"attention_bias": false, "attn_logit_softcapping": 50.0, "cache_implementation": "hybrid",
        "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 224, "sliding_window": 4096});
    let config = published("gemma2", second).expect("valid");
    assert!(config.tied_head && config.norms.is_around && config.norms.is_offset && !config.norms.is_by_head);
    assert_eq!(config.soft_caps, SoftCaps { attention: Some(50.0), logits: Some(30.0) });
    assert_eq!(windows(&config)[..2], [Some(4096), None]);
    equal(config.embedding_scale.expect("scaled"), 8.0);
    equal(config.score_divisor, 224.0);
    let free = published("gemma2", json!({"attn_logit_softcapping": null, "final_logit_softcapping": null}));
    assert_eq!(free.expect("valid").soft_caps, SoftCaps::default());
    let error = published("gemma2", json!({"sliding_window": null})).expect_err("layers need it").to_string();
    assert!(error.contains("`sliding_window`"), "{error}");
    let error = published("gemma3_text", json!({"attn_logit_softcapping": 50.0})).expect_err("nobody applies it");
    assert!(error.to_string().contains("`attn_logit_softcapping`"), "{error}");
    let error = published("gemma3_text", json!({"use_bidirectional_attention": true})).expect_err("not causal");
    assert!(error.to_string().contains("`use_bidirectional_attention`"), "{error}");
}

#[test]
fn both_spellings_of_gemma_3_mean_the_same() {
    let old = json!({"attn_logit_softcapping": null, "cache_implementation": "hybrid", "final_logit_softcapping": null,
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256,
        "rope_local_base_freq": 10000, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "rope_theta": 1_000_000,
        "sliding_window": 512, "sliding_window_pattern": 6});
    let new = json!({"_sliding_window_pattern": 6, "head_dim": 256, "sliding_window": 512, "use_bidirectional_attention": false,
        "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
            "sliding_attention", "full_attention", "sliding_attention", "sliding_attention"],
        "rope_parameters": {"full_attention": {"factor": 8.0, "rope_theta": 1_000_000, "rope_type": "linear"},
            "sliding_attention": {"rope_theta": 10000, "rope_type": "default"}}});
    let config = published("gemma3_text", old).expect("valid");
    assert_eq!(config, published("gemma3_text", new).expect("valid"));
    let sliding = LayerKind { window: Some(512), rope: 1 };
    let full = LayerKind { window: None, rope: 0 };
    assert_eq!(config.layer_kinds, [sliding, sliding, sliding, sliding, sliding, full, sliding, sliding]);
    let thetas: Vec<f64> = config.ropes.iter().map(|rope| rope.theta).collect();
    assert_eq!(thetas, [1e6, 1e4]);
    let flat = json!({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}});
    let error = published("gemma3_text", flat).expect_err("transformers would not read it").to_string();
    assert!(error.contains("`rope_parameters.rope_theta`"), "{error}");
}

#[test]
fn published_phi_files_are_read() {
    let third = json!({"attention_bias": false, "auto_map": {}, "embd_pdrop": 0.0, "hidden_act": "silu",
        "original_max_position_embeddings": 4096, "resid_pdrop": 0.0, "rope_scaling": null, "rope_theta": 10000.0,
        "sliding_window": 2047, "tie_word_embeddings": false});
    let config = published("phi3", third).expect("valid");
    assert!(config.is_fused && !config.tied_head);
    assert_eq!(windows(&config), [Some(2047); 8]);
    let divisors = |len: usize| json!(vec![1.5; len]);
    let fourth = |len: usize| {
        json!({"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": false, "mlp_bias": false,
            "attention_bias": false, "max_position_embeddings": 131_072, "original_max_position_embeddings": 4096,
            "partial_rotary_factor": 0.75, "sliding_window": 262_144, "tie_word_embeddings": true,
            "rope_scaling": {"long_factor": divisors(len), "short_factor": divisors(len), "type": "longrope"}})
    };
    let config = published("phi3", fourth(6)).expect("valid");
    assert_eq!((config.head_dim, config.ropes[0].rotary_dim, config.tied_head), (16, 12, true));
    let RopeScaling::Long { original, attention_factor, .. } = config.ropes[0].scaling else {
        panic!("it is longrope");
    };
    assert_eq!(original, 4096);
    // sqrt(1 + ln 32 / ln 4096) = sqrt(1 + 5 / 12)
    equal(attention_factor, (17.0_f64 / 12.0).sqrt());
    let error = published("phi3", fourth(8)).expect_err("a divisor for each pair").to_string();
    assert!(error.contains("`rope_scaling.short_factor` has 8 numbers, not 6"), "{error}");
    let error = published("phi3", json!({"partial_rotary_factor": 0.3})).map(|config| config.ropes[0].rotary_dim);
    assert_eq!(error.expect("4 of 16"), 4);
    let error = published("phi3", json!({"partial_rotary_factor": 0.2})).expect_err("3 of 16").to_string();
    assert!(error.contains("`partial_rotary_factor`"), "{error}");
}

#[test]
fn what_transformers_5_makes_of_a_file_means_the_same() {
    let mut files = 0;
    for name in crate::test_folder::FAMILIES {
        let folder = crate::test_folder::fixture(name);
        let path = folder.join("config.transformers5.json");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        files += 1;
        let old = ModelConfig::load(&folder).expect("the fixture is valid");
        assert_eq!(ModelConfig::parse(&text, &path).expect("the fixture is valid"), old, "{name}");
    }
    assert_eq!(files, 7);
}

#[test]
fn published_llama_scaling_is_read_in_both_spellings() {
    let inner = json!({"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let old = json!({"head_dim": 64, "max_position_embeddings": 131_072, "mlp_bias": false, "pretraining_tp": 1,
        "rope_scaling": inner, "rope_theta": 500_000.0});
    let mut new = old.clone();
    new["rope_scaling"] = Value::Null;
    new["rope_theta"] = Value::Null;
    new["rope_parameters"] = inner.clone();
    new["rope_parameters"]["rope_theta"] = json!(500_000.0);
    let config = published("llama", old.clone()).expect("valid");
    assert_eq!(config, published("llama", new.clone()).expect("valid"));
    let scaling = RopeScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192 };
    assert_eq!(config.ropes[0], RopeConfig { theta: 5e5, rotary_dim: 64, scaling });
    new["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    let error = published("llama", new).expect_err("they disagree").to_string();
    assert!(error.contains("`rope_scaling` and `rope_parameters`"), "{error}");
    let dynamic = json!({"rope_scaling": {"factor": 2.0, "type": "dynamic"}});
    assert_eq!(published("llama", dynamic).expect("valid").ropes[0].scaling, RopeScaling::None);
}
