//! Trainable parameters of a plugin, from its manifest to the file that a run exports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tunesmith::{Error, Event, Observer, Options, Session, Summary};

use crate::bad_input::{Lab, check_told};
use crate::objectives::built_component;

/// A score that the prompt's first word tells.
const ROWS: &str = r#"{"prompt": "up", "completion": "aa", "score": 1.0}
{"prompt": "down", "completion": "ab", "score": -1.0}
{"prompt": "up there", "completion": "b", "score": 0.8}
{"prompt": "down here", "completion": "ba", "score": -0.6}
"#;

/// A recipe with the probe as its objective; the model itself as good as does not move.
fn lab(train: &str, settings: &str) -> Lab {
    let lab = Lab::new();
    lab.write("train.jsonl", ROWS);
    lab.write("probe.wasm", built_component("probe.wasm"));
    let train = format!("batch = 4\nlearning-rate = 1e-9\nschedule = \"constant\"\ndigest-every = 1\n{train}\n");
    lab.replace("recipe.toml", "steps = 2\n", &train);
    lab.replace("recipe.toml", "eval = \"test.jsonl\"\n", "");
    let plugin =
        "[plugins]\nprobe = { path = \"probe.wasm\", grants = [\"model.forward\"] }\n[objective]\nplugin = \"probe\"\n";
    lab.append("recipe.toml", &format!("{plugin}settings = {settings}\n"));
    lab
}

fn run(lab: &Lab) -> Result<Summary, Error> {
    Session::open(&lab.path("recipe.toml"))?.run(&mut ())
}

#[track_caller]
fn ran(lab: &Lab) -> Summary {
    run(lab).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The float32 tensors of a safetensors file: its format is an 8-byte length, a JSON header, and the bytes.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, (Vec<u64>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&rest[..length]).expect("a JSON header");
    let data = &rest[length..];
    let tensor = |(name, entry): (&String, &Value)| {
        let numbers = |key: &str| -> Vec<u64> { serde_json::from_value(entry[key].clone()).expect("numbers") };
        let place = numbers("data_offsets");
        let floats = data[place[0] as usize..place[1] as usize].chunks(4);
        let values = floats.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect();
        (name.clone(), (numbers("shape"), values))
    };
    header.iter().filter(|(name, _)| *name != "__metadata__").map(tensor).collect()
}

#[test]
fn a_value_head_learns_what_the_hidden_states_know() {
    let lab = lab("steps = 60\ncheckpoint-every = 60", "{ task = \"value\" }");
    let summary = ran(&lab);
    let (first, last) = (summary.loss_first.expect("steps"), summary.loss_last.expect("steps"));
    // The head starts at 0, so that the first loss is the mean square of the scores: (1 + 1 + 0.64 + 0.36) / 4.
    assert!((first - 0.75).abs() < 1e-6, "{first}");
    assert!(last < 0.05 * first, "from {first} to {last}");

    let exported = tensors(&lab.path("run/parameters/probe.safetensors"));
    let shapes: Vec<(&str, &[u64])> =
        exported.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice())).collect();
    assert_eq!(
        shapes,
        [("bias", &[][..]), ("head", &[32, 1]), ("prompt", &[4, 32]), ("spare", &[2, 96, 1, 1, 2])],
        "sizes are those of the model and of the settings"
    );
    assert!(exported["head"].1.iter().all(|value| *value != 0.0), "the head was trained");
    assert!(exported["spare"].1.iter().all(|value| value.to_bits() == 1.0_f32.to_bits()), "what is not used stays");
    assert_eq!(exported, tensors(&lab.path("run/checkpoints/step-60/parameters/probe.safetensors")));
}

#[test]
fn a_soft_prompt_teaches_a_model_that_does_not_move() {
    let lab = lab("steps = 40", "{ task = \"prompt\", prompt = 6 }");
    let summary = ran(&lab);
    let (first, last) = (summary.loss_first.expect("steps"), summary.loss_last.expect("steps"));
    assert!(last < 0.1 * first, "from {first} to {last}");
    let before = tensors(&lab.path("model/model.safetensors"));
    let after = tensors(&lab.path("run/model/model.safetensors"));
    let moved = |name: &String| before[name].1.iter().zip(&after[name].1).map(|(one, other)| (one - other).abs());
    let most = before.keys().flat_map(moved).fold(0.0_f32, f32::max);
    assert!(most < 1e-5, "a parameter of the model moved by {most}");
}

#[test]
fn each_parameter_has_its_own_learning_rate() {
    let lab = lab("steps = 1\nweight-decay = 0.0", "{ task = \"value\" }");
    ran(&lab);
    let exported = tensors(&lab.path("run/parameters/probe.safetensors"));
    // The first update of Adam is the learning rate in every element, whatever the gradient: 0.05 is the head's own, 1e-9 the recipe's.
    for value in &exported["head"].1 {
        assert!((value.abs() - 0.05).abs() < 1e-4, "{value}");
    }
    assert!(exported["bias"].1.iter().all(|value| (value.abs() - 1e-9).abs() < 1e-11), "{:?}", exported["bias"]);
}

#[test]
fn the_trace_tells_when_an_extra_parameter_differs() {
    let traces: Vec<String> = [1, 1, 2]
        .into_iter()
        .map(|seed| {
            let lab = lab("steps = 2", "{ task = \"prompt\" }");
            lab.replace("recipe.toml", "seed = 1", &format!("seed = {seed}"));
            ran(&lab).parameters
        })
        .collect();
    assert_eq!(traces[0], traces[1], "the start follows from the seed");
    assert_ne!(traces[0], traces[2]);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).expect("the file can be copied");
        }
    }
}

/// Keeps the run folder as it is when the checkpoint of step 2 is there: what a run that is killed then leaves.
struct Killed<'a>(&'a Lab);

impl Observer for Killed<'_> {
    fn event(&mut self, event: Event<'_>) {
        if matches!(event, Event::Note(text) if text.contains("`step-2` written")) {
            copy_folder(&self.0.path("run"), &self.0.path("killed"));
        }
    }
}

#[test]
fn a_run_that_was_killed_goes_on_with_its_parameters() {
    // Nothing but the head and the bias is trained: the optimiser has no moments of anything else.
    let lab = lab("steps = 4\ncheckpoint-every = 2", "{ task = \"value\" }");
    let session = Session::open(&lab.path("recipe.toml")).unwrap_or_else(|error| panic!("{error:?}"));
    let whole = session.run(&mut Killed(&lab)).unwrap_or_else(|error| panic!("{error:?}"));
    let exported = fs::read(lab.path("run/parameters/probe.safetensors")).expect("the run exports them");
    fs::remove_dir_all(lab.path("run")).expect("the folder can be removed");
    fs::rename(lab.path("killed"), lab.path("run")).expect("the folder can be renamed");

    let options = Options { resume: true, ..Options::default() };
    let session = Session::open_with(&lab.path("recipe.toml"), &options).unwrap_or_else(|error| panic!("{error:?}"));
    let resumed = session.run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(resumed.parameters, whole.parameters);
    assert_eq!(resumed.trace, whole.trace);
    assert_eq!(fs::read(lab.path("run/parameters/probe.safetensors")).expect("the run exports them"), exported);
}

#[track_caller]
fn check(lab: &Lab, expected: &[&str]) {
    check_told(&run(lab).expect_err("it fails"), expected);
}

#[test]
fn a_loss_on_the_reference_alone_is_refused() {
    let lab = lab("steps = 1", "{ task = \"reference\" }");
    check(&lab, &["probe", "the loss does not depend on the policy or on an extra parameter"]);
}

#[test]
fn a_parameter_that_the_manifest_does_not_declare_is_refused() {
    let lab = lab("steps = 1", "{ task = \"undeclared\" }");
    check(&lab, &["probe", "declares no parameter `haed`; it declares `bias`, `head`, `prompt`, `spare`"]);
}

#[test]
fn a_forward_pass_outside_an_objective_is_refused() {
    let lab = lab("steps = 1", "{ task = \"nll\" }");
    lab.append("recipe.toml", "[weigh]\nplugin = \"probe\"\n");
    check(&lab, &["probe", "stage `weigh` has no tensors"]);
}

#[test]
fn parameters_larger_than_the_host_makes_are_refused_before_any_work() {
    let lab = lab("steps = 1", "{ task = \"prompt\", prompt = 16777216 }");
    check(&lab, &["recipe.toml", "`objective`", "`prompt` of shape [16777216, 32]", "hint:"]);
    assert!(!lab.path("run").exists());
    lab.replace("recipe.toml", "16777216", "16777217");
    check(
        &lab,
        &[
            "recipe.toml",
            "objective.settings.prompt",
            "a size of the trainable parameter `prompt`",
            "hint: give an integer",
        ],
    );
}
