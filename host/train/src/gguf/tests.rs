//! The import from end to end on a model of one layer.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value as Json;

use super::samples::{Folder, Sample, llama};
use super::{BlockFormat, import};

fn json(folder: &Folder, name: &str) -> Json {
    let text = fs::read_to_string(folder.0.join("model").join(name)).expect("the import wrote it");
    serde_json::from_str(&text).expect("the import wrote JSON")
}

fn imported(name: &str, sample: &Sample) -> Folder {
    let folder = Folder::new(name);
    let path = folder.file(&sample.bytes());
    import(&path, &folder.0.join("model"), &mut |_, _| {}).expect("the sample is sound");
    folder
}

#[track_caller]
fn refused(name: &str, sample: &Sample, expected: &str) {
    let folder = Folder::new(name);
    let path = folder.file(&sample.bytes());
    let error = import(&path, &folder.0.join("model"), &mut |_, _| {}).expect_err("the sample is broken");
    assert!(error.to_string().contains(expected), "{error}");
    let left: Vec<_> = fs::read_dir(&folder.0).expect("it exists").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["sample.gguf"], "a failed import leaves nothing behind");
}

#[test]
fn the_config_says_what_the_metadata_said() {
    let folder = imported("config", &llama());
    let config = json(&folder, "config.json");
    assert_eq!(config["model_type"], "llama");
    assert_eq!(config["head_dim"], 4);
    assert_eq!(config["num_key_value_heads"], 1);
    assert_eq!(config["rope_parameters"]["rope_theta"], 500.0);
    assert_eq!(config["tie_word_embeddings"], true);
    assert_eq!(config["vocab_size"], 8);
    assert_eq!(config["eos_token_id"], 1);
    assert_eq!(config["pad_token_id"], Json::Null);
    assert_eq!(json(&folder, "tokenizer_config.json")["chat_template"], "{{ messages[0].content }}");
    assert_eq!(json(&folder, "generation_config.json")["bos_token_id"], 0);
}

#[test]
fn rows_of_queries_and_keys_return_to_half_split_order() {
    let folder = imported("rows", &llama());
    let bytes = fs::read(folder.0.join("model/model.safetensors")).expect("the import wrote it");
    let tensors = SafeTensors::deserialize(&bytes).expect("the file is sound");
    assert_eq!(tensors.len(), 11);
    let firsts = |name: &str, columns: usize| -> Vec<f32> {
        let tensor = tensors.tensor(name).expect("the tensor was written");
        let weights = tensor.data().chunks_exact(2);
        let weights = weights.map(|two| half::bf16::from_le_bytes([two[0], two[1]]).to_f32());
        weights.step_by(columns).map(|first| first / columns as f32).collect()
    };
    assert_eq!(firsts("model.layers.0.self_attn.q_proj.weight", 8), [0., 2., 1., 3., 4., 6., 5., 7.]);
    assert_eq!(firsts("model.layers.0.self_attn.k_proj.weight", 8), [0., 2., 1., 3.]);
    assert_eq!(firsts("model.layers.0.self_attn.v_proj.weight", 8), [0., 1., 2., 3.]);
    let down = tensors.tensor("model.layers.0.mlp.down_proj.weight").expect("the tensor was written");
    assert_eq!(down.shape(), [8, 4]);
}

#[test]
fn biases_of_queries_are_reordered_like_their_matrix() {
    let mut sample = llama();
    for (name, len) in [("attn_q", 8), ("attn_k", 4), ("attn_v", 4), ("attn_output", 8)] {
        sample = sample.counting(&format!("blk.0.{name}.bias"), &[len], 0.0);
    }
    let folder = imported("bias", &sample);
    assert_eq!(json(&folder, "config.json")["attention_bias"], true);
    let bytes = fs::read(folder.0.join("model/model.safetensors")).expect("the import wrote it");
    let tensors = SafeTensors::deserialize(&bytes).expect("the file is sound");
    let bias = tensors.tensor("model.layers.0.self_attn.k_proj.bias").expect("the tensor was written");
    let bias: Vec<f32> =
        bias.data().chunks_exact(2).map(|two| half::bf16::from_le_bytes([two[0], two[1]]).to_f32()).collect();
    assert_eq!(bias, [0., 2., 1., 3.]);
}

#[test]
fn packed_biases_are_unpacked_before_they_are_reordered() {
    // Heads of 32 rows, so that a bias of keys is one `Q8_0` block: d = 1 and the weights 0 to 31.
    let mut sample = llama().u32("llama.attention.key_length", 32);
    for (name, dims) in [("attn_q", [8, 64]), ("attn_k", [8, 32]), ("attn_v", [8, 32]), ("attn_output", [64, 8])] {
        sample = sample.counting(&format!("blk.0.{name}.weight"), &dims, 0.0);
        sample = sample.counting(&format!("blk.0.{name}.bias"), &dims[1..], 0.0);
    }
    let packed: Vec<u8> = [0, 0x3c].into_iter().chain(0..32).collect();
    let folder = imported("packed", &sample.tensor("blk.0.attn_k.bias", &[32], 8, &packed));
    let bytes = fs::read(folder.0.join("model/model.safetensors")).expect("the import wrote it");
    let tensors = SafeTensors::deserialize(&bytes).expect("the file is whole");
    let bias = tensors.tensor("model.layers.0.self_attn.k_proj.bias").expect("the tensor was written");
    let bias: Vec<f32> =
        bias.data().chunks_exact(2).map(|two| half::bf16::from_le_bytes([two[0], two[1]]).to_f32()).collect();
    let expected: Vec<f32> = (0..16).map(|i| 2.0 * i as f32).chain((0..16).map(|i| 2.0 * i as f32 + 1.0)).collect();
    assert_eq!(bias, expected);
}

#[test]
fn an_import_of_damaged_bytes_fails_or_gives_a_whole_folder() {
    let folder = Folder::new("damaged");
    let good = llama().bytes();
    let out = folder.0.join("model");
    for at in (0..good.len()).step_by(23) {
        let mut bad = good.clone();
        bad[at] ^= 0x81;
        let path = folder.file(&bad);
        if import(&path, &out, &mut |_, _| {}).is_err() {
            assert!(!out.exists(), "byte {at}");
            continue;
        }
        let bytes = fs::read(out.join("model.safetensors")).expect("the import wrote it");
        SafeTensors::deserialize(&bytes).expect("the file is whole");
        fs::remove_dir_all(&out).expect("it is there");
    }
}

#[test]
fn the_tokenizer_cuts_digits_off_before_it_joins_spaces() {
    let folder = imported("tokenizer", &llama());
    let tokenizer = tokenizers::Tokenizer::from_file(folder.0.join("model/tokenizer.json")).expect("it loads");
    let ids = |text: &str| tokenizer.encode(text, true).expect("it encodes").get_ids().to_vec();
    assert_eq!(ids("ab</s>ba"), [6, 1, 3, 2]);
    // Without `Digits` the second space would stick to the 5: "Ġ", "Ġ", "5".
    assert_eq!(ids("a  5"), [2, 7, 4]);
}

#[test]
fn a_start_token_is_added_where_the_file_asks_for_it() {
    let folder = imported("prefix", &llama().bool("tokenizer.ggml.add_bos_token", true));
    let tokenizer = tokenizers::Tokenizer::from_file(folder.0.join("model/tokenizer.json")).expect("it loads");
    assert_eq!(tokenizer.encode("ab", true).expect("it encodes").get_ids(), [0, 6]);
    assert_eq!(tokenizer.encode("ab", false).expect("it encodes").get_ids(), [6]);
}

#[test]
fn a_full_folder_is_not_touched() {
    let folder = Folder::new("full");
    let path = folder.file(&llama().bytes());
    let out = folder.0.join("model");
    fs::create_dir(&out).expect("it can be created");
    import(&path, &out, &mut |_, _| {}).expect("an empty folder may be used");
    let error = import(&path, &out, &mut |_, _| {}).expect_err("now it is full");
    assert!(error.to_string().contains("the folder is not empty"), "{error}");
    let error = import(&path, &path, &mut |_, _| {}).expect_err("it is a file");
    assert!(error.to_string().contains("not a folder"), "{error}");
}

#[test]
fn progress_counts_weights_up_to_the_total() {
    let folder = Folder::new("progress");
    let path = folder.file(&llama().bytes());
    let mut seen = Vec::new();
    let report = import(&path, &folder.0.join("model"), &mut |done, total| seen.push((done, total)))
        .expect("the sample is sound");
    assert_eq!(seen.first(), Some(&(0, report.weights)));
    assert_eq!(seen.last(), Some(&(report.weights, report.weights)));
    assert_eq!(report.formats, [(BlockFormat::F32, 11)]);
    let written = fs::metadata(folder.0.join("model/model.safetensors")).expect("the import wrote it");
    assert_eq!(report.bytes, written.len());
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    refused("arch", &llama().text("general.architecture", "qwen2"), "`general.architecture` is `qwen2`");
    refused("key", &llama().u32("llama.expert_count", 8), "`llama.expert_count` is unknown");
    refused("pre", &llama().text("tokenizer.ggml.pre", "tekken"), "`tokenizer.ggml.pre` is `tekken`");
    refused("spm", &llama().text("tokenizer.ggml.model", "llama"), "`tokenizer.ggml.model` is `llama`");
    refused("rope", &llama().text("llama.rope.scaling.type", "yarn"), "`llama.rope.scaling.type` is `yarn`");
    refused("freqs", &llama().counting("rope_freqs.weight", &[2], 1.0), "`rope_freqs.weight`");
    refused("extra", &llama().counting("blk.0.attn_sinks.weight", &[2], 1.0), "would be lost");
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    refused("missing", &llama().u32("llama.block_count", 2), "`blk.1.attn_norm.weight` is missing");
    refused("layers", &llama().u32("llama.block_count", u32::MAX), "`blk.1.attn_norm.weight` is missing");
    refused("shape", &llama().counting("blk.0.ffn_up.weight", &[4, 8], 0.0), "has the shape [8, 4]");
    refused("heads", &llama().u32("llama.attention.head_count_kv", 3), "does not divide 2 heads");
    refused("none", &llama().u32("llama.attention.head_count", 0), "is 0");
    refused("eps", &llama().without("llama.attention.layer_norm_rms_epsilon"), "rms_epsilon` is missing");
    refused("nan", &llama().f32("llama.rope.freq_base", f32::NAN), "not a finite number");
    refused("id", &llama().u32("tokenizer.ggml.eos_token_id", 8), "is 8, but there are 8 tokens");
    refused("types", &llama().i32s("tokenizer.ggml.token_type", &[1]), "1 entries for 8 tokens");
    refused("merge", &llama().texts("tokenizer.ggml.merges", &["a 5"]), "does not join two tokens");
    refused("type", &llama().u32("tokenizer.ggml.model", 1), "is not a text");
    refused("weight", &llama().counting("output_norm.weight", &[8], f32::INFINITY), "not a finite number in bfloat16");
}
