//! Manifests as written, as carried, and as attacked.

use super::*;

const PLUGIN: &str = r#"
name = "tiny"
version = "1.0.0"
license = "MIT"
description = "Judges nothing."
stages = ["judge", "objective"]
capabilities = ["model.score"]

[settings.zeta]
type = "integer"
default = 1

[settings.alpha]
type = "string"

[[parameters]]
name = "head"
shape = ["hidden", 2]
init = "normal:0.1"
learning-rate = 0.01

[[parameters]]
name = "prompt"
shape = ["settings.zeta", "hidden"]
"#;

/// A component that exports two stages in name only, which is all that manifests look at.
fn component() -> Vec<u8> {
    wat::parse_str(
        r#"(component (instance $nothing) (export "tunesmith:method/judge@0.1.0" (instance $nothing))
        (export "tunesmith:method/objective@0.1.0" (instance $nothing)))"#,
    )
    .expect("good text")
}

fn read(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    Manifest::read(bytes, &Limits::default())
}

#[track_caller]
fn check<T: std::fmt::Debug>(result: Result<T, ManifestError>, expected: &str) {
    let error = result.expect_err("a fault").to_string();
    assert!(error.contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn a_manifest_comes_back_as_it_went_in() {
    let bytes = embed(&component(), PLUGIN).expect("a good plugin");
    let manifest = read(&bytes).expect("a good manifest");
    assert_eq!(manifest, Manifest::parse(PLUGIN).expect("a good text"));
    assert_eq!(manifest.setting_names().collect::<Vec<_>>(), ["zeta", "alpha"], "settings keep their order");
    assert_eq!(manifest.settings["required"], serde_json::json!(["alpha"]));
    assert_eq!(manifest.parameters[0].shape, [Size::Named("hidden".into()), Size::Number(2)]);
}

#[test]
fn embedding_twice_replaces_the_manifest() {
    let once = embed(&component(), PLUGIN).expect("a good plugin");
    let twice = embed(&once, &PLUGIN.replace("1.0.0", "1.0.1")).expect("a good plugin");
    assert_eq!(read(&twice).expect("a good manifest").version, "1.0.1");
    assert_eq!(once.len(), twice.len());
}

#[test]
fn a_component_without_a_manifest_says_how_to_make_one() {
    check(read(&component()), "no section `tunesmith:manifest`");
}

#[test]
fn a_second_manifest_is_refused() {
    let mut bytes = embed(&component(), PLUGIN).expect("a good plugin");
    let section = bytes[component().len()..].to_vec();
    bytes.extend(section);
    check(read(&bytes), "2 sections");
}

#[test]
fn stages_that_are_not_exported_are_refused() {
    check(
        embed(&component(), &PLUGIN.replace(r#""objective"]"#, r#""objective", "reward"]"#)),
        "exports [judge, objective]",
    );
}

#[test]
fn a_truncated_component_is_refused_wherever_it_is_cut() {
    let bytes = embed(&component(), PLUGIN).expect("a good plugin");
    for end in 0..bytes.len() {
        // Cutting between two sections leaves a whole component, which then has no manifest.
        assert!(read(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn attack_14_flipped_bytes_never_panic() {
    let bytes = embed(&component(), PLUGIN).expect("a good plugin");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[at] ^= 1 << bit;
            let _ = read(&broken);
            let _ = outline::read(&broken, &Limits::default());
        }
    }
}

#[test]
fn attack_16_an_oversized_custom_section_is_refused_before_it_is_parsed() {
    let mut bytes = component();
    let name = b"junk";
    bytes.push(0);
    leb128(&mut bytes, 1 + name.len() + 1_000_000);
    leb128(&mut bytes, name.len());
    bytes.extend(name);
    bytes.extend(vec![0; 1_000_000]);
    let limits = Limits { section_bytes: 100_000, ..Limits::default() };
    check(Manifest::read(&bytes, &limits), "over the limit of 100000");
    let error = outline::read(&bytes, &limits).expect_err("too large").to_string();
    assert!(error.contains("section-bytes"), "{error}");
}

#[test]
fn attack_16_a_section_that_claims_more_bytes_than_there_are_is_refused() {
    let mut bytes = component();
    bytes.extend([0, 0xff, 0xff, 0xff, 0xff, 0x0f, 4]);
    check(read(&bytes), "not a valid component");
}

#[test]
fn a_manifest_that_is_no_json_is_refused() {
    let bytes = embed(&component(), PLUGIN).expect("a good plugin");
    let at = bytes.len() - 1;
    let mut broken = bytes;
    broken[at] = b'!';
    check(read(&broken), "cannot be read");
}

#[test]
fn mistakes_in_plugin_toml_are_named() {
    check(Manifest::parse(&PLUGIN.replace("license", "licence")), "unknown field `licence`");
    check(Manifest::parse(&PLUGIN.replace(r#"["judge","#, r#"["juge","#)), "unknown stage `juge`");
    check(Manifest::parse(&PLUGIN.replace("model.score", "model.scor")), "did you mean `model.score`?");
    check(Manifest::parse(&PLUGIN.replace("normal:0.1", "normal:-1")), "`init`");
    check(Manifest::parse(&PLUGIN.replace("Judges nothing.", "\\u001b[31m")), "`description`");
}

#[test]
fn mistakes_in_parameters_are_named() {
    let wrong = |from: &str, to: &str, expected: &str| check(Manifest::parse(&PLUGIN.replace(from, to)), expected);
    wrong(r#""hidden", 2"#, r#""hiden", 2"#, "`head` with the size `hiden`, which is no number, `hidden`");
    wrong(r#""hidden", 2"#, r#""hidden", 0"#, "`head` with the size 0, not 1 to 16777216");
    wrong(r#""hidden", 2"#, "1, 1, 1, 1, 1, 1", "`head` with 6 dimensions");
    wrong("\"settings.zeta\"", "\"settings.alpha\"", "the setting `alpha`, which is no integer");
    wrong("\"settings.zeta\"", "\"settings.beta\"", "the setting `beta`, which is no integer");
    wrong("learning-rate = 0.01", "learning-rate = -1.0", "the `learning-rate` -1, not a number of at least 0");
    wrong("learning-rate = 0.01", "rate = 0.01", "unknown field `rate`");
    wrong(r#""prompt""#, r#""head""#, "has `head` twice");
    wrong(r#"["judge", "objective"]"#, r#"["judge"]"#, "only the stage `objective` can use parameters");
}

#[test]
fn sizes_of_parameters_follow_the_settings() {
    use tunesmith_core::extra::{Init, Size};
    let manifest = Manifest::parse(PLUGIN).expect("a good text");
    let settings = |zeta: Value| [("zeta".to_owned(), zeta)].into_iter().collect::<Map<_, _>>();
    let parameters = manifest.trainable(&settings(3.into())).expect("a size");
    assert_eq!(parameters[0].shape, [Size::Hidden, Size::Number(2)]);
    assert_eq!((parameters[0].init, parameters[0].learning_rate), (Init::Normal(0.1), Some(0.01)));
    assert_eq!(parameters[1].shape, [Size::Number(3), Size::Hidden]);
    assert_eq!((parameters[1].init, parameters[1].learning_rate), (Init::Zeros, None));
    for zeta in [0.into(), (-1).into(), (1_u64 << 25).into(), Value::Null] {
        let error = manifest.trainable(&settings(zeta)).expect_err("no size").to_string();
        assert!(error.contains("the setting `zeta`") && error.contains("parameter `prompt`"), "{error}");
    }
}
