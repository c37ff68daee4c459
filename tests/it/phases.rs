//! Recipes with phases: each starts from what an earlier one trained, and a stopped one goes on.

use std::fs;

use serde_json::Value;
use tunesmith::{Options, Session};

use crate::bad_input::Lab;

/// A recipe of three phases: the second goes on from the first and is compared with it, the third goes on from the first too.
fn lab(adapter: &str) -> Lab {
    let lab = Lab::new();
    lab.replace("recipe.toml", "steps = 2\n", "batch = 2\nlearning-rate = 1e-2\n");
    lab.replace("recipe.toml", "path = \"model\"\n", &format!("path = \"model\"\n{adapter}"));
    let phases = "[[phase]]\nname = \"one\"\ntrain = { steps = 2 }\n[[phase]]\nname = \"two\"\nreference = \"policy\"\ntrain = { steps = 3 }\n[[phase]]\nname = \"three\"\nfrom = \"one\"\ntrain = { steps = 1, learning-rate = 1e-9 }\n";
    lab.append("recipe.toml", phases);
    lab
}

fn records(lab: &Lab, phase: &str) -> Vec<Value> {
    let trace = fs::read_to_string(lab.path(&format!("run/{phase}/trace.jsonl"))).expect("a trace");
    trace.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["record"].clone()).collect()
}

fn metric(lab: &Lab, phase: &str, index: usize, name: &str) -> f64 {
    let records = records(lab, phase);
    let measured: Vec<&Value> = records.iter().filter(|record| record["event"] == "measure").collect();
    measured[index]["metrics"][name].as_f64().unwrap_or_else(|| panic!("{:?}", measured[index]))
}

#[track_caller]
fn check(adapter: &str) {
    let lab = lab(adapter);
    let session = Session::open(&lab.path("recipe.toml")).unwrap_or_else(|error| panic!("{error:?}"));
    let steps: Vec<u32> = session.plans().map(|plan| plan.train.steps).collect();
    assert_eq!(steps, [2, 3, 1]);
    session.run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"));
    let nll = |phase, index| metric(&lab, phase, index, "reference-nll");
    // What one phase ends with is what the next begins with, bit for bit.
    assert_eq!(nll("one", 1).to_bits(), nll("two", 0).to_bits());
    assert_eq!(nll("one", 1).to_bits(), nll("three", 0).to_bits());
    assert!(nll("two", 1) < nll("one", 1) && nll("one", 1) < nll("one", 0), "each learns");
    let head = |phase: &str| records(&lab, phase)[0]["plan"].clone();
    assert_ne!(head("two"), head("three"));
    // The plan names the trace that it goes on from.
    let plan: Value = serde_json::from_slice(&fs::read(lab.path("run/two/plan.json")).expect("a plan")).expect("JSON");
    let trace = fs::read_to_string(lab.path("run/one/trace.jsonl")).expect("a trace");
    let last: Value = serde_json::from_str(trace.lines().last().expect("lines")).expect("JSON");
    assert_eq!(plan["phase"]["trace"], last["hash"]);
}

#[test]
fn phases_of_an_adapter_go_on_from_each_other() {
    check("adapter = { lora = { rank = 2, alpha = 4 } }\n");
}

#[test]
fn phases_of_all_parameters_go_on_from_each_other() {
    check("");
}

#[test]
fn a_stopped_recipe_goes_on_in_the_phase_where_it_stopped() {
    let (whole, stopped) = (lab(""), lab(""));
    let open = |lab: &Lab, resume| {
        let options = Options { resume, ..Options::default() };
        Session::open_with(&lab.path("recipe.toml"), &options).unwrap_or_else(|error| panic!("{error:?}"))
    };
    open(&whole, false).run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"));
    open(&stopped, false).run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"));
    // As if it had been killed in the second phase: that has not come to its end, and the third has not begun.
    fs::remove_dir_all(stopped.path("run/three")).expect("it is there");
    fs::remove_file(stopped.path("run/two/summary.json")).expect("it is there");
    fs::remove_dir_all(stopped.path("run/two/checkpoints")).expect("they are there");
    fs::create_dir(stopped.path("run/two/checkpoints")).expect("writable");
    open(&stopped, true).run(&mut ()).unwrap_or_else(|error| panic!("{error:?}"));
    for phase in ["one", "two", "three"] {
        assert_eq!(records(&whole, phase), records(&stopped, phase), "{phase}");
    }
}

#[test]
fn a_fault_in_a_phase_is_told_with_its_name() {
    let lab = lab("");
    lab.replace("recipe.toml", "train = { steps = 3 }", "train = { stepz = 3 }");
    let error = Session::open(&lab.path("recipe.toml")).err().expect("the recipe is wrong").to_string();
    assert!(error.contains("in the phase `two`: unknown field `stepz`"), "{error}");
    assert!(!lab.path("run").exists());
}

#[test]
fn preferences_of_an_evaluation_set_are_measured() {
    let lab = lab("");
    let row = |prompt: &str, chosen: &str, rejected: &str| {
        format!("{{\"prompt\": \"{prompt}\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
    };
    // What is trained on are the better completions.
    lab.write("test.jsonl", row("one", "1", "~") + &row("two", "2", "~"));
    Session::open(&lab.path("recipe.toml"))
        .and_then(|session| session.run(&mut ()))
        .unwrap_or_else(|error| panic!("{error:?}"));
    let of = |index, name| metric(&lab, "one", index, name);
    // Exactly: both models are one until something moves.
    let moved = [of(0, "preference-margin"), of(0, "preference-accuracy")];
    assert_eq!(moved.map(f64::to_bits), [0.0_f64.to_bits(); 2]);
    assert!(of(0, "likelihood-accuracy") <= of(1, "likelihood-accuracy"));
    assert!(0.0 < of(1, "preference-margin"));
    assert!(0.99 < of(1, "preference-accuracy"));
}
