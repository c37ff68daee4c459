//! The plugin as the host sees it, with a scripted user, whose state stands in what it says, and a scripted judge.

use std::cell::Cell;

use serde_json::{Value, json};
use tunesmith_sdk_test::{Choice, Curated, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// Which strategy helps in which state, and what state it leads to; without one the dialogue ends. Any other strategy upsets, and then nothing helps.
const STATES: [(&str, &str, Option<&str>); 5] = [
    ("sad", "Comfort", Some("lost")),
    ("cross", "Calm", Some("alone")),
    ("lost", "Advise", None),
    ("alone", "Listen", None),
    ("upset", "Nothing", None),
];

/// What every model says: ratings favour advice, whatever the state; a turn gets the best grades if it helps.
fn script(prompt: &str) -> String {
    let (kind, history) = prompt.split_once('\n').expect("the prompts of the tests begin with their kind");
    let lines: Vec<&str> = history.lines().collect();
    let state = |line: &str| STATES.iter().find(|(name, _, _)| line.ends_with(name)).copied().expect("a state");
    match kind.split(' ').next().unwrap_or_default() {
        "RATE" => r#"{"Comfort": 6, "Calm": 6, "Advise": 8, "Listen": 6}"#.into(),
        "REPLY" => {
            let [.., before, said] = lines[..] else { panic!("{prompt}") };
            let (_, helps, next) = state(before);
            match (said.ends_with(helps), next) {
                (true, Some(next)) => format!("User: I am {next}"),
                (true, None) => "</end/>".into(),
                (false, _) => "I am upset".into(),
            }
        }
        "JUDGE" => {
            let [.., before, said] = lines[..] else { panic!("{prompt}") };
            let grade = if said.contains(&format!("({})", state(before).1)) { 4 } else { 0 };
            format!("Empathy: {grade}\nInformation: {grade}\nHumanlikeness: {grade}\nStrategy: {grade}")
        }
        _ => format!("I {}", kind.strip_prefix("SPEAK ").expect("the last kind")),
    }
}

/// A host whose models follow a script.
fn host(say: impl Fn(&str) -> String + Clone + 'static) -> PretendHost {
    let judge = say.clone();
    let settings = [
        ("strategies", json!(["Comfort", "Calm", "Advise", "Listen"])),
        ("judge", json!("judge")),
        ("rate-prompt", json!("RATE\n{strategies}\n{history}")),
        ("speak-prompt", json!("SPEAK {strategy}\n{history}")),
        ("reply-prompt", json!("REPLY {end}\n{history}")),
        ("judge-prompt", json!("JUDGE Empathy Information Humanlikeness Strategy\n{history}")),
        ("iterations", json!(30)),
        ("most-iterations", json!(60)),
        ("system", json!("S {strategies}")),
    ];
    settings
        .into_iter()
        .fold(PretendHost::of(MANIFEST), |host, (name, value)| host.setting(name, value))
        .model("policy", PretendModel::saying(move |prompt, _| say(prompt)))
        .model("judge", PretendModel::saying(move |prompt, _| judge(prompt)))
}

fn curate(host: &PretendHost, rows: &[Row]) -> Curated {
    host.curate::<Cso>(rows).expect("it curates")
}

fn sad() -> Row {
    Row::new("I am sad")
}

/// A group of a curated set: its conversation, and its members.
type Group = (Vec<Value>, Vec<(String, String)>);

fn groups(curated: &Curated) -> Vec<Group> {
    let group = |choice: &Choice| match choice {
        Choice::AddGroup { conversation, members, .. } => {
            Some((serde_json::from_str(conversation).expect("messages"), members.clone()))
        }
        _ => None,
    };
    curated.choices.iter().filter_map(group).collect()
}

fn omitted(curated: &Curated) -> Vec<&str> {
    let choices = curated.choices.iter();
    choices.filter_map(|choice| if let Choice::Omit { why, .. } = choice { Some(why.as_str()) } else { None }).collect()
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Cso>(MANIFEST);
}

#[test]
fn every_pair_prefers_what_helps() {
    let curated = curate(&host(script), &[sad(), Row::new("I am cross")]);
    assert_eq!(omitted(&curated), [SEARCHED; 2]);
    let groups = groups(&curated);
    assert!(4 <= groups.len(), "{groups:?}");
    for (conversation, members) in &groups {
        assert_eq!(conversation[0], json!({ "role": "system", "content": "S - Comfort\n- Calm\n- Advise\n- Listen" }));
        let said = conversation.last().and_then(|last| last["content"].as_str()).expect("a message");
        let (_, helps, _) = STATES.iter().find(|(state, _, _)| said.ends_with(state)).expect("a state");
        let [(chosen, good), (rejected, bad)] = &members[..] else { panic!("{members:?}") };
        assert_eq!((chosen.as_str(), rejected.as_str()), (CHOSEN, REJECTED));
        assert_eq!(*good, format!("({helps}) I {helps}"), "after {said}");
        assert_ne!(good, bad);
    }
    let mut single = groups.clone();
    single.dedup();
    assert_eq!(single.len(), groups.len());
    assert!(groups.iter().any(|(conversation, _)| conversation.len() == 4), "also of the second turn: {groups:?}");
}

#[test]
fn one_call_serves_all_trees_and_none_sees_the_others() {
    let rows: Vec<Row> = ["I am sad", "I am cross", "I am lost"]
        .into_iter()
        .zip(7..)
        .map(|(text, id)| Row { id: Some(id), ..Row::new(text) })
        .collect();
    // What is sampled depends on its seed, and a retry is sampled.
    for temperature in [0.0, 0.9] {
        let host = || host(script).setting("temperature", temperature);
        let together = host();
        let curated = curate(&together, &rows);
        let mut alone = Vec::new();
        let mut calls = 0;
        let mut asked_alone = Vec::new();
        for row in &rows {
            let host = host();
            alone.extend(groups(&curate(&host, std::slice::from_ref(row))));
            calls += host.asked().len();
            asked_alone.extend(requests(&host));
        }
        assert_eq!(groups(&curated), alone);
        assert_eq!(groups(&curate(&host(), &rows)), alone, "again");
        let mut asked = requests(&together);
        asked.sort();
        asked_alone.sort();
        assert_eq!(asked, asked_alone, "the same texts under the same seeds");
        assert!(together.asked().len() < calls, "{} calls are not fewer than {calls}", together.asked().len());
    }
}

/// Every text that was asked for, with its seed.
fn requests(host: &PretendHost) -> Vec<(String, Option<u64>)> {
    let of_call = |(prompts, sampling): (Vec<_>, Sampling)| {
        prompts
            .into_iter()
            .map(move |prompt: tunesmith_sdk::native::model::Prompt| (prompt.text().to_owned(), sampling.seed))
    };
    host.asked().into_iter().flat_map(of_call).collect()
}

#[test]
fn samples_have_seeds_of_their_own() {
    let seeds = |seed: u64| {
        let host = host(script).setting("temperature", 0.9).setting("seed", seed);
        curate(&host, &[sad(), Row::new("I am sad")]);
        let mut seeds: Vec<u64> = requests(&host).into_iter().filter_map(|(_, seed)| seed).collect();
        let count = seeds.len();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), count, "no seed comes twice");
        seeds
    };
    assert_ne!(seeds(0), seeds(1));
}

#[test]
fn a_tree_without_a_good_end_is_left_out() {
    let never = |prompt: &str| match script(prompt).as_str() {
        "</end/>" => "I am lost".into(),
        said => said.into(),
    };
    let curated = curate(&host(never), &[sad()]);
    assert_eq!((omitted(&curated), groups(&curated).len()), (vec![NO_GOOD_END], 0));
    assert_eq!(curated.noted("iterations"), [(0, 60.0)], "it looked for an end as long as it may");
    assert_eq!(curated.noted("ends"), [(0, 0.0)]);
}

#[test]
fn a_tree_ends_as_it_stands_when_its_requests_are_used_up() {
    let host = host(script).setting("requests", 9);
    let curated = curate(&host, &[sad(), Row::new("I am cross")]);
    assert_eq!(curated.noted("requests"), [(0, 9.0), (1, 9.0)]);
    assert_eq!((host.report().metric("spent"), host.report().metric("requests")), (Some(2.0), Some(18.0)));
    assert_eq!(requests(&host).len(), 18);
}

#[test]
fn a_real_dialogue_is_the_first_path_of_its_tree() {
    let row = || {
        Row::chat(json!([
            { "role": "user", "content": "I am sad" },
            { "role": "assistant", "content": "(Comfort) There." },
            { "role": "user", "content": "I am lost" },
        ]))
        .completion("(Advise) Ask.")
    };
    let curated = curate(&host(script), &[row()]);
    let chosen: Vec<String> = groups(&curated).into_iter().map(|(_, members)| members[0].1.clone()).collect();
    assert!(chosen.contains(&"(Comfort) There.".into()) && chosen.contains(&"(Advise) Ask.".into()), "{chosen:?}");
    let unseeded = groups(&curate(&host(script).setting("seeds", false), &[row()]));
    assert!(!unseeded.is_empty());
    for (conversation, members) in unseeded {
        assert_eq!(conversation[..4][3]["content"], "I am lost", "the search goes on from the whole dialogue");
        assert_ne!(members[0].1, "(Advise) Ask.");
    }
}

#[test]
fn the_end_of_a_real_dialogue_is_good_without_a_search() {
    let row = || Row::new("I am lost").completion("(Advise) Ask.");
    let curated = curate(&host(script).setting("requests", 1), &[row()]);
    assert_eq!(omitted(&curated), [NO_PAIR]);
    assert_eq!(omitted(&curate(&host(script), &[Row::chat(json!([]))])), [NOT_USER]);
}

#[test]
fn what_cannot_be_read_is_asked_again_and_counted() {
    let is_first = Cell::new(true);
    let is_first = std::rc::Rc::new(is_first);
    let say = move |prompt: &str| {
        if prompt.starts_with("JUDGE") && is_first.replace(false) { "good".into() } else { script(prompt) }
    };
    let host = host(say);
    let curated = curate(&host, &[sad()]);
    assert_eq!(host.report().metric("unread"), Some(1.0));
    assert_eq!(
        groups(&curated),
        groups(&curate(&self::host(script), &[sad()])),
        "asked again it says what it would have said"
    );
    let sampled = host.asked().iter().filter(|(_, sampling)| sampling.temperature == Some(0.7)).count();
    assert_eq!(sampled, 1, "the retry is sampled");
}

#[test]
fn retries_are_bounded() {
    let silent = |kind: &'static str| {
        host(move |prompt: &str| if prompt.starts_with(kind) { String::new() } else { script(prompt) })
    };
    for kind in ["SPEAK", "REPLY", "JUDGE"] {
        let host = silent(kind);
        let curated = curate(&host, &[sad()]);
        assert_eq!((omitted(&curated), host.report().metric("stuck")), (vec![NO_GOOD_END], Some(1.0)), "{kind}");
        let asked = requests(&host).iter().filter(|(text, _)| text.starts_with(kind)).count();
        assert!(asked == 3 || kind == "JUDGE" && asked == 15, "{kind}: {asked}");
    }
    let unrated = silent("RATE");
    assert!(!groups(&curate(&unrated, &[sad()])).is_empty(), "unread ratings are equal ones");
    assert_eq!(unrated.report().metric("stuck"), Some(0.0));
}

#[test]
fn labels_are_turns_by_themselves() {
    let groups = groups(&curate(&host(script).setting("export", "labels"), &[sad()]));
    let roles = |wanted: &str| groups.iter().filter(|(_, members)| members[0].0 == wanted).count();
    assert!(groups.iter().all(|(_, members)| members.len() == 1));
    assert_eq!(roles(CHOSEN), 2, "one per step of the good path");
    assert!(2 <= roles(REJECTED));
}

#[test]
fn a_situation_comes_from_its_column() {
    let host = host(script).setting("reply-prompt", "REPLY {end} {situation}\n{history}");
    curate(&host, &[sad().column("situation", "lost a dog")]);
    assert!(requests(&host).iter().any(|(text, _)| text.starts_with("REPLY </end/> lost a dog\n")));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |name: &str, value: Value, expected: &str| match PretendHost::of(MANIFEST)
        .setting(name, value)
        .curate::<Cso>(&[])
    {
        Err(Error::BadSettings(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("{other:?}"),
    };
    refused("rate-prompt", json!("{history}"), "`rate-prompt` has no place `{strategies}`");
    refused("judge-prompt", json!("{history} Empathy"), "does not ask for `Information`");
    refused("strategies", json!(["Ask", "ask"]), "same name");
    refused("strategies", json!(["Ask", "So (so)"]), "brackets");
    refused("descriptions", json!(["one"]), "one per strategy");
    refused("most-iterations", json!(5), "below `iterations`");
    refused("most-ends", json!(0), "below `ends`");
}

#[test]
fn the_choice_of_strategies_is_measured() {
    let host = host(script).setting("gold-column", "gold");
    let case = |gold: &str, answer: &str| Row::new("I am sad").column("gold", gold).answered(answer);
    let cases = [
        case("comfort", "(Comfort) x"),
        case("(Calm) y", "(Comfort) x"),
        case("Calm", "(calm) x"),
        case("Calm", "Calm down"),
        case("Shout", "(Calm) x"),
    ];
    let measured = host.measure::<Cso>(&tunesmith_sdk_test::Evaluation::new(&cases)).expect("it measures");
    let value = |name: &str| measured.iter().find(|(its, _)| its == name).expect("measured").1;
    assert_eq!((value("accuracy"), value("named")), (0.5, 0.75));
    // Comfort: precision 1/2, recall 1; Calm: precision 1, recall 1/3.
    assert!((value("macro-f1") - 7.0 / 12.0).abs() < 1e-12);
    assert!((value("weighted-f1") - (2.0 / 3.0 + 1.5) / 4.0).abs() < 1e-12);
    assert!((value("preference-bias") - 1.0).abs() < 1e-6, "comfort is always preferred to calm");
    assert_eq!(host.report().skipped, [(4, NO_GOLD.to_owned())]);
    let nothing = tunesmith_sdk_test::Evaluation::new(&[]);
    assert!(matches!(host.measure::<Cso>(&nothing), Err(Error::Unsupported(_))));
}
