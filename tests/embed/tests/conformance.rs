//! Every stage, called with real data through a component that was written against `wit/` alone.

use std::sync::{Arc, LazyLock};

use serde_json::json;
use tunesmith_core::call::{Call, Level};
use tunesmith_core::data::{
    Advantages, Answered, Case, Cases, Evaluation, Member, NamedReward, TokenBatch, TokenRow, Verdict,
};
use tunesmith_core::stage::{Choice, Stage};
use tunesmith_core::tensors::Tensors as _;
use tunesmith_embed::{
    Halves, Letters, OneBatch, Parrot, Plain, SquareBlock, TwoParameters, bytes_of, cause, examples, grants, rollouts,
    services,
};
use tunesmith_plugin::{Engine, EngineOptions, LoadOptions, Plugin};

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(&EngineOptions::default()).expect("this machine runs WebAssembly"));

fn bare(settings: &serde_json::Value) -> Plugin {
    let settings = settings.as_object().cloned().expect("an object");
    let options = LoadOptions { grants: grants(), settings, ..LoadOptions::default() };
    Plugin::load(&ENGINE, "bare", &bytes_of("bare"), options).unwrap_or_else(|error| panic!("{}", cause(&error)))
}

fn call() -> Call {
    Call::new(17, 0)
}

#[test]
fn stages_are_found_without_running_anything() {
    let plugin = bare(&json!({}));
    assert_eq!(plugin.stages(), Stage::ALL);
    assert_eq!(plugin.manifest().name, "bare");
    assert_eq!(plugin.settings()["partly"], 0.5);
    assert_eq!(plugin.state(), None);
}

#[test]
fn curate_generates_judges_and_chooses() {
    let pool = examples(&[("a", Some("a")), ("b", Some("b!")), ("c", Some("gold")), ("d", None), ("e", Some("*"))]);
    let parrot = Parrot::new(Arc::default());
    let mut call = Call::with(17, 0, services(&parrot));
    let curate = bare(&json!({"provenance": "data"})).curate().expect("exported");
    let curated = curate.curate(pool, &mut call).unwrap_or_else(|error| panic!("{}", cause(&error)));
    let text = |text: &str| text.to_owned();
    let expected = [
        Choice::Prefer { row: 0, chosen: text("a"), rejected: text("a!"), provenance: text("self") },
        Choice::Prefer { row: 1, chosen: text("b!"), rejected: text("b"), provenance: text("self") },
        Choice::Keep { row: 2, provenance: text("data") },
        Choice::Drop { row: 3, why: text("nothing right") },
        Choice::Replace { row: 4, completion: text("e"), provenance: text("self") },
        Choice::Add { prompt: text("a Again:"), completion: text("yes"), provenance: text("synthetic"), like: Some(0) },
    ];
    assert_eq!(curated.choices, expected);
    assert_eq!(curated.notes[4], (4, text("length"), 1.0));
    assert_eq!(call.report.metrics["rows"], (5.0, 1));
    assert_eq!(call.report.skipped["nothing right"], 1);
    assert_eq!((call.report.lines[0].level, call.report.lines[0].text.as_str()), (Level::Info, "round 3"));
    assert!(0 < call.report.fuel && call.report.in_services <= call.report.elapsed);
}

#[test]
fn sampling_gets_the_recipes_length_limit_and_a_seed_of_its_own() {
    let parrot = Parrot::new(Arc::default());
    let curate = bare(&json!({})).curate().expect("exported");
    for (seed, number) in [(17, 0), (17, 0), (17, 1), (18, 0)] {
        let mut call = Call::with(seed, number, services(&parrot));
        curate.curate(examples(&[("a", None)]), &mut call).unwrap_or_else(|error| panic!("{}", cause(&error)));
    }
    let asked = parrot.asked.lock().expect("not poisoned");
    assert_eq!((asked[0].max_tokens, asked[0].samples, asked[0].temperature), (32, 2, 0.5));
    assert_eq!(asked[0].seed, asked[1].seed);
    assert_ne!(asked[0].seed, asked[2].seed);
    assert_ne!(asked[0].seed, asked[3].seed);
}

#[test]
fn judge_tells_right_from_partly_right_and_wrong() {
    let pool = examples(&[("a", Some("4")), ("b", Some("4")), ("c", Some("4")), ("d", None)]);
    let answers = ["4", "it is 4", "5", "4"];
    let case = |(example, answer): (_, &str)| Case { example, answer: answer.into(), rival: None };
    let cases = Arc::new(Cases { cases: pool.rows.iter().cloned().zip(answers).map(case).collect() });
    let judge = bare(&json!({"partly": 0.25})).judge().expect("exported");
    let verdicts = judge.judge(cases, &mut call()).unwrap_or_else(|error| panic!("{}", cause(&error)));
    let undecided = Verdict::Undecided("no reference".into());
    assert_eq!(verdicts, [Verdict::Right, Verdict::Partly(0.25), Verdict::Wrong, undecided]);
}

#[test]
fn reward_is_none_where_it_does_not_apply() {
    let reward = bare(&json!({})).reward().expect("exported");
    let scores = reward.reward(rollouts(None), &mut call()).unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert_eq!(scores, [Some(0.1), Some(0.2), None, Some(0.4)]);
}

#[test]
fn credit_answers_per_rollout_or_per_token() {
    let credit = bare(&json!({})).credit().expect("exported");
    let rewards = [Some(1.0), Some(3.0), None, Some(0.5)];
    let answer = |column| {
        credit.credit(rollouts(column), &rewards, &mut call()).unwrap_or_else(|error| panic!("{}", cause(&error)))
    };
    assert_eq!(answer(None), Advantages::PerRollout(vec![-1.0, 1.0, 0.0, 0.0]));
    assert_eq!(
        answer(Some("per-token")),
        Advantages::PerToken(vec![-1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    );
}

#[test]
fn curate_groups_completions_and_keeps_numbers_by_example() {
    let parrot = Parrot::new(Arc::default());
    let services = services(&parrot);
    let curate = bare(&json!({"provenance": "grouped"})).curate().expect("exported");
    for seen in ["seen 1", "seen 2"] {
        let mut call = Call::with(17, 0, services.clone());
        let pool = examples(&[("a", None), ("b", None)]);
        let curated = curate.curate(pool, &mut call).unwrap_or_else(|error| panic!("{}", cause(&error)));
        let members = vec![Member::new("gold", "a"), Member::new("negative", seen)];
        assert_eq!(curated.choices[0], Choice::Group { row: 0, members, provenance: "grouped".into() });
        let Choice::AddGroup { messages, members, like, .. } = &curated.choices[2] else { panic!("{curated:?}") };
        assert_eq!((messages.len(), messages[1].content.as_str(), *like), (2, "new", Some(0)));
        assert_eq!(members, &[Member::new("", "yes")]);
        assert!(call.report.stored.is_some(), "what is written is in the trace");
    }
    let store = services.store.expect("there is one");
    assert_eq!(store.read("bare", "seen", &[0, 1, 2]), [Some(2.0), Some(2.0), None]);
}

#[test]
fn reward_asks_the_judge_about_rollouts() {
    let parrot = Parrot::new(Arc::default());
    let reward = bare(&json!({})).reward().expect("exported");
    assert!(reward.is_sequential(), "its calls of the judge are numbered");
    let mut call = Call::with(17, 0, services(&parrot));
    let scores = reward.reward(rollouts(Some("judged")), &mut call).unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert_eq!(scores, [Some(-1.0); 4]);
}

#[test]
fn credit_sees_each_reward_and_hands_numbers_on() {
    let mut rollouts = rollouts(Some("attach")).as_ref().clone();
    let scores = vec![Some(0.5), None, Some(2.0), Some(1.0)];
    rollouts.rewards = vec![NamedReward { name: "one".into(), weight: 0.5, scores }];
    let rollouts = Arc::new(rollouts);
    let credit = bare(&json!({})).credit().expect("exported");
    let mut call = call();
    let made = credit.credit(Arc::clone(&rollouts), &[None; 4], &mut call);
    assert_eq!(
        made.unwrap_or_else(|error| panic!("{}", cause(&error))),
        Advantages::PerRollout(vec![0.5, -1.0, 2.0, 1.0])
    );
    assert_eq!(rollouts.attached.all()["count"], (0..10).map(|number| number as f32).collect::<Vec<_>>());
    let told = r#"["one"] [0.5] [false, false, false, true] [{"role":"user","content":"first"}]"#;
    assert_eq!(call.report.lines[0].text, told);
}

#[test]
fn objective_sees_what_online_training_adds() {
    let engine = Arc::new(Plain::default());
    let objective = bare(&json!({"online": true})).objective().expect("exported");
    let mut call = call();
    let loss = objective.objective(Arc::new(OneBatch(engine.clone())), &mut call);
    let loss = engine.read_floats(loss.unwrap_or_else(|error| panic!("{}", cause(&error)))).expect("live");
    // (-1 - 2) / 0.5, two entropies of 3.0, -0.5 - 0.25, and 4 + 5.
    assert_eq!(loss, [-6.0 + 6.0 - 0.75 + 9.0]);
    assert_eq!(call.report.lines[0].text, r#"[7] ["gold"] (0.5, 2, [0.0]) [1, 3, 2]"#);
}

#[test]
fn weigh_gives_one_weight_per_token() {
    let row = |tokens: &[u32]| TokenRow {
        example: examples(&[("a", None)]).rows[0].clone(),
        tokens: tokens.into(),
        mask: tokens.iter().map(|&token| 1 < token).collect(),
        texts: tokens.iter().map(ToString::to_string).collect(),
        role: String::new(),
    };
    let rows = vec![row(&[1, 2]), row(&[1, 2, 3])];
    let row_texts = Arc::new(Letters(vec![("a", 0), ("ab", 0)]));
    let batch = Arc::new(TokenBatch { rows, logprobs: Arc::new(Halves(5)), row_texts, step: 0 });
    let weigh = bare(&json!({})).weigh().expect("exported");
    let weights = weigh.weigh(batch, &mut call()).unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert!(weights.len() == 5 && weights.iter().all(|weight| (weight - 0.5).abs() < 1e-6), "{weights:?}");
}

/// Characters, not bytes: the text has letters of two and four bytes.
#[test]
fn weigh_sees_texts_and_where_tokens_stand_in_them() {
    let mut example = examples(&[("é?", Some("ß𝒳"))]).rows[0].as_ref().clone();
    example.columns.insert("rival".into(), "𝒳y".into());
    let tokens = vec![1, 2, 3, 4, 5];
    let texts = tokens.iter().map(ToString::to_string).collect();
    let mask = tokens.iter().map(|token| 2 < *token).collect();
    let rows = vec![TokenRow { example: Arc::new(example), tokens, mask, texts, role: String::new() }];
    let row_texts = Arc::new(Letters(vec![("é?ß𝒳", 2)]));
    let batch = Arc::new(TokenBatch { rows, logprobs: Arc::new(Halves(5)), row_texts, step: 0 });
    let parrot = Parrot::new(Arc::default());
    let mut call = Call::with(17, 0, services(&parrot));
    let weigh = bare(&json!({})).weigh().expect("exported");
    let weights = weigh.weigh(batch, &mut call).unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert_eq!(weights, [0.0, 0.0, 0.5, 0.5, 0.0]);
    assert_eq!(call.report.lines[0].text, r#"["é?ß𝒳"] [2] [0, 1] [1, 2]"#);
}

#[test]
fn objective_draws_candidates_and_asks_how_likely_they_are() {
    let engine = Arc::new(Plain::default());
    let objective = bare(&json!({"draws": 3})).objective().expect("exported");
    let mut call = call();
    let loss = objective
        .objective(Arc::new(OneBatch(engine.clone())), &mut call)
        .unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert_eq!(call.report.lines[0].text, "[0, 0, 0, 2, 3, 4, 2, 3, 4] of 8");
    // Candidates 2, 3 and 4 in both places: -(-3 * 1 + -3 * 3) / 4
    assert_eq!(engine.read_floats(loss), Ok(vec![3.0]));
    assert_eq!(engine.live(), 1);
}

#[test]
fn candidates_over_the_budget_are_refused_before_they_are_drawn() {
    let engine = Arc::new(Plain::default());
    let objective = bare(&json!({"draws": 4_000_000_000_u32})).objective().expect("exported");
    let error = objective.objective(Arc::new(OneBatch(engine.clone())), &mut call()).expect_err("they are 48 GB");
    assert!(cause(&error).contains("bytes of live tensors"), "{}", cause(&error));
    assert_eq!(engine.live(), 0);
}

#[test]
fn objective_is_computed_on_the_hosts_tensors_and_leaves_only_the_loss() {
    let engine = Arc::new(Plain::default());
    let objective = bare(&json!({})).objective().expect("exported");
    let loss = objective
        .objective(Arc::new(OneBatch(engine.clone())), &mut call())
        .unwrap_or_else(|error| panic!("{}", cause(&error)));
    // -(0 * 0 + -1 * 1 + -2 * 3) / 4
    assert_eq!(engine.read_floats(loss), Ok(vec![1.75]));
    assert_eq!(engine.live(), 1);
}

#[test]
fn edit_replaces_parameters_and_leaves_no_handle() {
    let engine = Arc::new(Plain::default());
    let parameters = TwoParameters::new(engine.clone());
    let edit = bare(&json!({})).edit().expect("exported");
    edit.edit(parameters.clone(), &mut call()).unwrap_or_else(|error| panic!("{}", cause(&error)));
    let halved = vec![0.5, 1.0, 1.5];
    assert_eq!(parameters.values(), [("a".to_owned(), halved.clone()), ("b".to_owned(), halved)].into());
    assert_eq!(engine.live(), 2);
}

#[test]
fn measure_names_its_metrics() {
    let pool = examples(&[("a", Some("1")), ("b", Some("2"))]);
    let answered = |example: &Arc<_>| Answered { example: Arc::clone(example), answer: "1".into(), is_finished: true };
    let evaluation = Evaluation {
        name: "target".into(),
        rows: pool.rows.iter().map(answered).collect(),
        statistics: vec![("answer-logprob".into(), vec![-1.0, -2.0])],
    };
    let measure = bare(&json!({})).measure().expect("exported");
    let metrics =
        measure.measure(Arc::new(evaluation), &mut call()).unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert_eq!(metrics[..2], [("accuracy".to_owned(), 0.5), ("logprob".to_owned(), -1.5)]);
    assert!((0.0..1.0).contains(&metrics[2].1), "{metrics:?}");
}

#[test]
fn answer_asks_the_model_in_every_way() {
    let parrot = Parrot::new(Arc::default());
    let mut call = Call::with(17, 0, services(&parrot));
    let answer = bare(&json!({})).answer().expect("exported");
    let answers = answer
        .answer(examples(&[("long", None), ("abc", None)]), &mut call)
        .unwrap_or_else(|error| panic!("{}", cause(&error)));
    // `long` scores -4, less than the -3.5 of `yes`; `abc` scores -3.
    assert_eq!(answers, ["yes", "abc"]);
}

#[test]
fn retain_scores_the_cache() {
    let engine = Arc::new(Plain::default());
    let retain = bare(&json!({})).retain().expect("exported");
    let scores = retain
        .retain(Arc::new(SquareBlock(engine.clone())), &mut call())
        .unwrap_or_else(|error| panic!("{}", cause(&error)));
    assert_eq!(engine.read_floats(scores), Ok(vec![5.0, 25.0]));
    assert_eq!(engine.live(), 1);
}

#[test]
fn a_missing_service_is_told_to_the_plugin_not_trapped() {
    let curate = bare(&json!({})).curate().expect("exported");
    let error = curate.curate(examples(&[("a", None)]), &mut call()).expect_err("no models");
    assert_eq!(
        error.to_string(),
        "plugin `bare` declined in stage `curate`: unsupported: there are no models in this call"
    );
}

#[test]
fn two_plugins_and_many_threads_share_one_engine() {
    let judge = bare(&json!({})).judge().expect("exported");
    let pool = examples(&[("a", Some("4"))]);
    let cases =
        Arc::new(Cases { cases: vec![Case { example: pool.rows[0].clone(), answer: "4".into(), rival: None }] });
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..50 {
                    let verdicts = judge.judge(cases.clone(), &mut Call::new(1, number));
                    assert_eq!(verdicts.unwrap_or_else(|error| panic!("{}", cause(&error))), [Verdict::Right]);
                }
            });
        }
    });
}
