//! One plugin of all stages, run by the pretend host.

use std::cell::Cell;

use serde::Deserialize;
use tunesmith_sdk::log::Level;
use tunesmith_sdk::native::Tensor as NativeTensor;
use tunesmith_sdk::{
    Advantages, Answer, Batch, CacheBlock, Cases, Credit, Curate, Edit, Error, Examples, Judge, Measure, Model,
    Objective, ParameterSet, Plugin, Prompts, Remember, Retain, Reward, Rollouts, Sampling, Tensor, TokenBatch,
    TrainingSet, Verdict, Weigh, judging, log, random,
};

use super::*;

/// The settings of [`All`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    scale: f32,
}

/// A plugin of all stages, each as small as can be.
struct All {
    scale: f32,
    calls: Cell<u8>,
}

impl Plugin for All {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        if settings.scale < 0.0 {
            return Err(Error::bad_settings("`scale` is below 0.0"));
        }
        Ok(Self { scale: settings.scale, calls: Cell::new(0) })
    }
}

impl Curate for All {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let rows: Vec<usize> = (0..pool.len()).collect();
        let generations = Model::open("policy")?.generate(&Prompts::new().rows(pool, &rows), &Sampling::at(0.7, 1))?;
        let verdicts = judging::judge(pool, &rows, &generations.texts())?;
        for ((row, text), verdict) in generations.texts().iter().enumerate().zip(&verdicts) {
            chosen.note(row, "tokens", f64::from(generations.lengths()[row]));
            match verdict {
                Verdict::Right => chosen.replace(row, text, "self"),
                Verdict::Wrong => chosen.keep(row, "gold"),
                _ => log::skip(row, "undecided"),
            }
        }
        log::metric("right", verdicts.iter().filter(|verdict| verdict.is_right()).count() as f64);
        log::info(&format!("round {}", pool.round()));
        Ok(())
    }
}

impl Judge for All {
    fn judge(&self, cases: &Cases) -> Result<Vec<Verdict>, Error> {
        Ok(cases
            .column("score")
            .into_iter()
            .map(|score| score.map_or(Verdict::Wrong, |_| Verdict::Partly(self.scale)))
            .collect())
    }
}

impl Reward for All {
    fn reward(&self, rollouts: &Rollouts) -> Result<Vec<Option<f32>>, Error> {
        Ok(rollouts.finished().into_iter().map(|is_finished| is_finished.then_some(self.scale)).collect())
    }
}

impl Credit for All {
    fn credit(&self, rollouts: &Rollouts, rewards: &[Option<f32>]) -> Result<Advantages, Error> {
        let per_token = rollouts
            .lengths()
            .into_iter()
            .zip(rewards)
            .flat_map(|(length, reward)| vec![reward.unwrap_or(0.0); length as usize]);
        Ok(Advantages::PerToken(per_token.collect()))
    }
}

impl Weigh for All {
    fn weigh(&self, batch: &TokenBatch) -> Result<Vec<f32>, Error> {
        Ok(batch.token_logprobs("policy")?.into_iter().map(|logprob| logprob.exp() * self.scale).collect())
    }
}

impl Objective for All {
    fn objective(&self, batch: &Batch) -> Result<Tensor, Error> {
        let logprobs = batch.token_logprobs("policy")?;
        // The gradient of -p log p with p held fixed: as in dynamic fine-tuning.
        Ok(-(logprobs.exp().detach() * &logprobs * batch.mask()).sum() * self.scale)
    }
}

impl Edit for All {
    fn edit(&self, parameters: &ParameterSet) -> Result<(), Error> {
        for name in parameters.names() {
            let base = parameters.get_from("base", &name)?;
            parameters.set(&name, &((parameters.get(&name)? - &base) * self.scale + base))?;
        }
        Ok(())
    }
}

impl Measure for All {
    fn measure(&self, evaluation: &tunesmith_sdk::Evaluation) -> Result<Vec<(String, f64)>, Error> {
        Ok(vec![(evaluation.name(), evaluation.len() as f64)])
    }
}

impl Answer for All {
    fn answer(&self, examples: &Examples) -> Result<Vec<String>, Error> {
        assert!(examples.completions().iter().all(Option::is_none), "there is no gold at test time");
        let scores = Model::open("judge")?
            .score_next(&Prompts::new().users(&examples.prompts()), &["yes".into(), "no".into()])?;
        Ok(scores.chunks(2).map(|pair| if pair[0] > pair[1] { "yes" } else { "no" }.to_owned()).collect())
    }
}

impl Retain for All {
    fn retain(&self, block: &CacheBlock) -> Result<Tensor, Error> {
        let keys = block.keys();
        let shape = keys.shape();
        Ok((&keys * &keys).sum_dim(2).reshape(&shape[..2]))
    }
}

impl Remember for All {
    fn save(&self) -> Vec<u8> {
        vec![self.calls.get() + 1]
    }

    fn restore(&mut self, blob: &[u8]) -> Result<(), Error> {
        let [calls] = blob else { return Err(Error::other("no state of mine")) };
        self.calls.set(*calls);
        Ok(())
    }
}

tunesmith_sdk::export!(All: curate, judge, reward, credit, weigh, objective, edit, measure, answer, retain, state);

fn host() -> PretendHost {
    PretendHost::new().setting("scale", 0.5)
}

fn rows() -> Vec<Row> {
    ["a", "b", "c"].map(|prompt| Row::new(prompt).completion("gold")).to_vec()
}

#[test]
fn curating_generates_and_judges() {
    let model = PretendModel::saying(|prompt, sample| format!("{prompt} {sample}"));
    let host = host().model("policy", model).round(2).judging(|judged| match judged.answer.as_str() {
        "a 0" => Verdict::Right,
        "b 0" => Verdict::Wrong,
        _ => Verdict::undecided("hm"),
    });
    let curated = host.curate::<All>(&rows()).expect("the plugin curates");
    assert_eq!(
        curated.choices,
        [
            Choice::Replace { row: 0, completion: "a 0".into(), provenance: "self".into() },
            Choice::Keep { row: 1, provenance: "gold".into() },
            Choice::Omit { row: 2, why: "not chosen".into() },
        ]
    );
    assert_eq!(curated.kept(), [1]);
    assert_eq!(curated.noted("tokens"), [(0, 3.0), (1, 3.0), (2, 3.0)]);
    let report = host.report();
    assert_eq!(report.metric("right"), Some(1.0));
    assert_eq!((report.lines, report.skipped), (vec![(Level::Info, "round 2".into())], vec![(2, "undecided".into())]));
    let asked = host.asked();
    assert_eq!((asked[0].0[1].text(), asked[0].1.temperature), ("b", Some(0.7)));
}

#[test]
fn every_other_stage_runs() {
    let host = host();
    let row = Row::new("a").column("score", 1);
    assert_eq!(
        host.judge::<All>(&[row.clone().answered("x"), Row::new("b").answered("y")]),
        Ok(vec![Verdict::Partly(0.5), Verdict::Wrong])
    );
    let rollouts = [row.clone().answered("x y"), row.answered("z").unfinished()];
    let rewards = host.reward::<All>(&rollouts).expect("rewards");
    assert_eq!(rewards, [Some(0.5), None]);
    assert_eq!(host.credit::<All>(&rollouts, &rewards), Ok(Advantages::PerToken(vec![0.5, 0.5, 0.0])));
    assert_eq!(host.weigh::<All>(&[TokenRow::new(&[0.0])]), Ok(vec![0.5, 0.5]));
    assert_eq!(host.measure::<All>(&Evaluation::new(&rollouts)), Ok(vec![("test".into(), 2.0)]));
    let judge = PretendModel::default()
        .scoring_next(|prompt, candidate| if (prompt == "a") == (candidate == "yes") { 0.0 } else { -1.0 });
    let answers = PretendHost::new().setting("scale", 1).model("judge", judge).answer::<All>(&rows());
    assert_eq!(answers, Ok(vec!["yes".into(), "no".into(), "no".into()]));
}

#[test]
fn parameters_are_edited() {
    let parameters = Parameters::default().with("w", &[3.0, 5.0], &[2]).with_snapshot("base", "w", &[1.0, 1.0], &[2]);
    host().edit::<All>(&parameters).expect("the plugin edits");
    assert_eq!(parameters.read("w"), [2.0, 3.0]);
}

#[test]
fn cache_entries_are_scored() {
    let keys = NativeTensor::from_floats(&[1.0, 2.0, 3.0, 0.0], &[1, 2, 2]);
    let block = Block { layer: 1, values: keys.clone(), keys, budget: 1 };
    assert_eq!(host().retain::<All>(&block), Ok(vec![5.0, 9.0]));
}

#[test]
fn a_gradient_respects_what_is_detached() {
    let rows = [TokenRow::new(&[-1.0, -0.5])];
    let expected = [0.0, -0.5 * (-1.0_f64).exp(), -0.5 * (-0.5_f64).exp()];
    let gradient = host().gradient::<All>(&rows).expect("a gradient");
    for (found, expected) in gradient[0].iter().zip(expected) {
        assert!((found - expected).abs() < 1e-7, "{found}, not {expected}");
    }
}

#[test]
fn memory_goes_through_save_and_restore() {
    let host = host();
    let blob = host.run(|plugin: &mut All| Ok(plugin.save())).expect("state");
    let restored = host.run(|plugin: &mut All| plugin.restore(&blob).map(|()| plugin.save()));
    assert_eq!(restored, Ok(vec![2]));
    assert!(host.run(|plugin: &mut All| plugin.restore(&[])).is_err());
}

#[test]
fn random_numbers_follow_from_the_seed() {
    let draw = |seed| {
        PretendHost::new()
            .setting("scale", 0)
            .seed(seed)
            .run(|_: &mut All| Ok((random::uniforms(3), random::indices(2, 10))))
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    let shuffled = host().run(|_: &mut All| {
        let mut items: Vec<usize> = (0..9).collect();
        random::shuffle(&mut items);
        Ok(items)
    });
    let mut sorted = shuffled.clone().expect("items");
    assert_ne!(sorted, (0..9).collect::<Vec<_>>());
    sorted.sort_unstable();
    assert_eq!(sorted, (0..9).collect::<Vec<_>>());
}

#[test]
fn what_the_test_does_not_offer_is_unsupported() {
    let missing = |host: PretendHost| host.curate::<All>(&rows()).expect_err("a service is missing").to_string();
    assert_eq!(missing(host()), "unsupported: the test has no model `policy`; it has []");
    let mute = PretendModel::default();
    assert_eq!(missing(host().model("policy", mute)), "unsupported: the pretend model was not told how to generate");
    let model = PretendModel::canned(["x", "y", "z"]);
    assert_eq!(missing(host().model("policy", model)), "unsupported: the test has no judge");
}

#[test]
fn settings_are_refused_by_the_type_or_by_the_plugin() {
    let refused = |host: PretendHost| host.judge::<All>(&[]).expect_err("refused").to_string();
    assert_eq!(refused(host().setting("scale", -1)), "bad settings: `scale` is below 0.0");
    assert!(refused(PretendHost::new()).contains("missing field `scale`"));
    assert!(refused(host().setting("other", 1)).contains("unknown field `other`"));
}

#[test]
#[should_panic(expected = "is outside 0.0 to 1.0")]
fn a_breach_of_contract_panics() {
    let _ = PretendHost::new().setting("scale", 2).judge::<All>(&[Row::new("a").column("score", 1).answered("x")]);
}

/// A manifest that fits, but for one line.
#[track_caller]
fn check_fault(line: &str, instead: &str, expected: &str) {
    let manifest = r#"
        name = "all"
        version = "0.1.0"
        license = "MIT"
        description = "All."
        paper = "none"
        stages = ["curate", "judge", "reward", "credit", "weigh", "objective", "edit", "measure", "answer", "retain"]
        capabilities = ["judge"]
        [settings.scale]
        type = "number"
        minimum = 0.0
        default = 0.5
        description = "A factor."
    "#;
    assert!(manifest.contains(line));
    let document = toml::from_str(&manifest.replace(line, instead)).expect("a manifest");
    let faults = crate::manifest::faults::<All>(&document).join("\n");
    let is_as_expected = if expected.is_empty() { faults.is_empty() } else { faults.contains(expected) };
    assert!(is_as_expected, "`{faults}` does not say `{expected}`");
}

#[test]
fn a_manifest_that_disagrees_with_the_code_is_told_so() {
    check_fault("", "", "");
    check_fault("paper = \"none\"", "", "`paper` is missing");
    check_fault("\"judge\", \"reward\"", "\"reward\"", "the code exports");
    check_fault("[\"judge\"]", "[\"network\"]", "unknown capability `network`");
    check_fault("type = \"number\"", "type = \"string\"", "the default of setting `scale` is 0.5, not of type");
    check_fault("default = 0.5", "default = -0.5", "outside its range");
    check_fault("[settings.scale]", "[settings.scala]", "the field `scale` is not in the schema");
    check_fault("description = \"A factor.\"", "", "setting `scale` has no `description`");
    let more = "[settings.more]\ntype = \"integer\"\ndefault = 1\ndescription = \"x\"\n[settings.scale]";
    check_fault("[settings.scale]", more, "the setting `more` is no field");
}

#[test]
#[should_panic(
    expected = "the manifest declares no parameter `haed`; it declares [\"prompt\", \"head\", \"bias\", \"spare\"]"
)]
fn a_parameter_that_the_manifest_does_not_declare_panics() {
    let host = PretendHost::of("../../tests/components/probe/plugin.toml").parameter("head", &[0.0; 2], &[2, 1]);
    let _ = host.parameter("haed", &[0.0], &[1]);
}
