//! What must hold for every family: layouts agree, the cache agrees, adapters attach, folders load again.

use burn::module::Module;

use super::*;
use crate::lora::LoraSettings;
use crate::model::WeightType;
use crate::tensor_values;
use crate::test_folder::{FAMILIES, decoder, fixture};

/// Float32 sums in another order.
const TOLERANCE: f32 = 1e-4;

#[track_caller]
fn check(what: &str, found: &Tensor<3>, expected: &Tensor<3>) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    for (index, (found, expected)) in
        tensor_values(found.clone()).iter().zip(tensor_values(expected.clone())).enumerate()
    {
        assert!(
            (found - expected).abs() <= TOLERANCE * (1.0 + expected.abs()),
            "{what}: {found}, not {expected}, at {index}"
        );
    }
}

fn sequence(seed: usize, len: usize) -> Vec<u32> {
    (0..len).map(|index| (3 + (index * 17 + seed * 29 + index * index * seed) % 60) as u32).collect()
}

/// Logits of one sequence alone.
fn alone(decoder: &Decoder, ids: &[u32]) -> Tensor<3> {
    decoder.head(decoder.hidden(&TokenBatch::left_padded(&[ids]).expect("one row")).expect("valid ids"))
}

#[test]
fn padding_and_packing_do_not_change_a_sequence() {
    // Shorter and longer than the windows and the original positions of the fixtures.
    let [short, middle, long] = [(1, 3), (2, 14), (3, 30)].map(|(seed, len)| sequence(seed, len));
    let sequences = [&short, &middle, &long];
    for name in FAMILIES {
        let decoder = decoder(name);
        let logits = |batch: &TokenBatch| decoder.head(decoder.hidden(batch).expect("valid ids"));
        let left = logits(&TokenBatch::left_padded(&sequences).expect("three rows"));
        let right = logits(&TokenBatch::right_padded(&sequences).expect("three rows"));
        let packed = logits(&TokenBatch::packed(&[sequences.to_vec()]).expect("one row"));
        let mut start = 0;
        for (row, ids) in sequences.into_iter().enumerate() {
            let (expected, len) = (alone(&decoder, ids), ids.len());
            let own =
                |logits: &Tensor<3>, row: usize, start: usize| logits.clone().narrow(0, row, 1).narrow(1, start, len);
            check(&format!("{name} left"), &own(&left, row, long.len() - len), &expected);
            check(&format!("{name} right"), &own(&right, row, 0), &expected);
            check(&format!("{name} packed"), &own(&packed, 0, start), &expected);
            start += len;
        }
    }
}

#[test]
fn the_cache_agrees_when_sequences_outgrow_the_window() {
    let sequences = [sequence(4, 30), sequence(5, 21)];
    for name in FAMILIES {
        let decoder = decoder(name);
        let batch = TokenBatch::left_padded(&sequences).expect("two rows");
        let mut cache = KvCache::new(decoder.config(), vec![0, 9], 30, &Device::flex());
        let columns = |range: std::ops::Range<usize>| -> Vec<u32> {
            batch.tokens().chunks(30).flat_map(|row| row[range.clone()].to_vec()).collect()
        };
        // A prompt, then one column at a time, then several.
        let mut parts = vec![decoder.extend(&columns(0..12), &mut cache).expect("room")];
        parts.extend((12..25).map(|column| decoder.extend(&columns(column..column + 1), &mut cache).expect("room")));
        parts.push(decoder.extend(&columns(25..30), &mut cache).expect("room"));
        for (row, ids) in sequences.iter().enumerate() {
            let newest = |parts: &[Tensor<3>]| Tensor::cat(parts.to_vec(), 1).narrow(0, row, 1);
            let start = 30 - ids.len();
            // A sequence that becomes long changes what came before, so each step is compared with the sequence up to it.
            for column in [11, 12, 13, 14, 15, 16, 17, 20, 24, 29] {
                let end = column + 1 - start;
                let expected =
                    decoder.hidden(&TokenBatch::left_padded(&[&ids[..end]]).expect("one row")).expect("valid");
                let found = newest(&parts).narrow(1, column, 1);
                check(&format!("{name} row {row} column {column}"), &found, &expected.narrow(1, end - 1, 1));
            }
        }
    }
}

#[test]
fn rows_in_the_cache_do_not_see_their_neighbours() {
    let sequences = [sequence(6, 20), sequence(7, 16), sequence(8, 15)];
    for name in ["tiny-gemma3", "tiny-phi3-longrope", "tiny-gemma2-caps"] {
        let decoder = decoder(name);
        let run = |rows: &[usize]| -> Vec<Vec<f32>> {
            let prompts: Vec<&[u32]> = rows.iter().map(|row| &sequences[*row][..sequences[*row].len() - 6]).collect();
            let batch = TokenBatch::left_padded(&prompts).expect("rows");
            let starts = prompts.iter().map(|prompt| batch.width() - prompt.len()).collect();
            let mut cache = KvCache::new(decoder.config(), starts, batch.width() + 6, &Device::flex());
            let mut hidden = decoder.extend(batch.tokens(), &mut cache).expect("room");
            for step in 0..6 {
                let next: Vec<u32> = rows.iter().map(|row| sequences[*row][sequences[*row].len() - 6 + step]).collect();
                hidden = decoder.extend(&next, &mut cache).expect("room");
            }
            (0..rows.len()).map(|row| tensor_values(hidden.clone().narrow(0, row, 1))).collect()
        };
        let together = run(&[0, 1, 2]);
        for (row, expected) in together.iter().enumerate() {
            assert_eq!(&run(&[row, row])[0], expected, "{name} row {row}");
        }
    }
}

#[test]
fn adapters_attach_to_what_the_family_has_and_take_part() {
    for name in FAMILIES {
        let plain = decoder(name);
        let is_fused = plain.config().is_fused;
        let adapted = plain.clone().with_adapter(&LoraSettings::new(2, 4.0), 1).expect("valid");
        let targets = adapted.adapter_settings().expect("attached").targets;
        let expected: &[&str] = if is_fused { &crate::lora::FUSED_TARGETS } else { &crate::lora::TARGETS };
        assert_eq!(targets, expected, "{name}");
        let ids = sequence(9, 12);
        let batch = TokenBatch::left_padded(&[&ids]).expect("one row");
        let trained = adapted.train();
        let loss = trained.token_logprobs(&batch).expect("valid ids").sum();
        let gradients = trained.named_gradients(&loss.backward());
        assert_eq!(gradients.len(), 2 * targets.len() * plain.config().layers, "{name}");
        // `A` gets none while `B` is zero.
        let is_felt = |name: &str, values: &[f32]| {
            values.iter().any(|value| *value != 0.0) == (name.rsplit('.').next() == Some("b"))
        };
        assert!(gradients.iter().all(|gradient| is_felt(&gradient.name, &gradient.values)), "{name}");
        check(name, &alone(&trained.merged(), &ids), &alone(&plain, &ids));
    }
    let few = LoraSettings { targets: vec!["q_proj".to_owned()], ..LoraSettings::new(2, 4.0) };
    let error = decoder("tiny-phi3").with_adapter(&few, 1).expect_err("must be refused").to_string();
    assert!(error.contains("`q_proj`") && error.contains("qkv_proj, o_proj, gate_up_proj, down_proj"), "{error}");
}

#[test]
fn fused_adapters_are_written_and_read_in_the_form_of_peft() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings =
        LoraSettings { targets: vec!["qkv_proj".into(), "gate_up_proj".into()], ..LoraSettings::new(2, 4.0) };
    let adapted = decoder("tiny-phi3").with_adapter(&settings, 1).expect("valid");
    adapted.save_adapter(&folder.path().join("a"), "tiny").expect("written");
    let loaded = decoder("tiny-phi3").load_adapter(&folder.path().join("a")).expect("just written");
    assert_eq!(loaded.adapter_tensors(), adapted.adapter_tensors());
    let shapes: BTreeMap<String, Vec<usize>> =
        loaded.adapter_tensors().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    let layer = "base_model.model.model.layers.1";
    assert_eq!(shapes[&format!("{layer}.self_attn.qkv_proj.lora_B.weight")], [64, 2]);
    assert_eq!(shapes[&format!("{layer}.mlp.gate_up_proj.lora_B.weight")], [96, 2]);
    assert_eq!(shapes[&format!("{layer}.mlp.gate_up_proj.lora_A.weight")], [2, 32]);
}

#[test]
fn saved_folders_load_again_under_the_same_names() {
    for name in FAMILIES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model");
        let decoder = decoder(name);
        decoder.save(&path, &fixture(name), WeightType::F32).expect("saved");
        let config = ModelConfig::load(&path).expect("saved config");
        assert_eq!(&config, decoder.config(), "{name}");
        let shapes = Decoder::tensor_shapes(&config);
        let mut weights = crate::model::WeightFiles::load(&path, &shapes).expect("saved weights");
        let loaded = Decoder::load(&config, &mut weights, &Device::flex()).expect("saved model");
        assert_eq!(loaded.named_tensors(), decoder.named_tensors(), "{name}");
        let counted: usize = shapes.values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!(config.parameters(), counted, "{name}");
    }
}

#[test]
fn fresh_norms_of_every_family_do_nothing() {
    for name in ["tiny-llama", "tiny-gemma2"] {
        let decoder = Decoder::random(decoder(name).config(), 1, &Device::flex()).expect("valid");
        let x = Tensor::<3>::from_floats([[[1.0; 32]]], &Device::flex());
        check(name, &decoder.model.norm.forward(x.clone()), &x);
    }
}
