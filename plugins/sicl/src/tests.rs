//! The plugin against a pretend host: a model whose opinion is a function of the prompt.

use tunesmith_sdk_test::{Choice, Evaluation, PretendHost, PretendModel, Row, check_manifest};

use super::*;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml");

/// How likely `a`, `b` and `c` are after prompts that end with these texts.
const OPINIONS: [(&str, [f32; 3]); 4] =
    [("1 is", [0.8, 0.1, 0.1]), ("1 was", [0.3, 0.6, 0.1]), ("2 is", [0.2, 0.2, 0.6]), ("2 was", [0.1, 0.2, 0.7])];

/// A model that has these opinions; whatever else a prompt shows does not count, and a tenth goes to other tokens.
fn model() -> PretendModel {
    PretendModel::default().scoring_next(|prompt, candidate| {
        let opinion = OPINIONS.iter().find(|(end, _)| prompt.ends_with(end)).map(|(_, opinion)| opinion);
        let class = ["a", "b", "c"].iter().position(|label| *label == candidate).unwrap_or(2);
        (0.9 * opinion.map_or(0.25, |opinion| opinion[class])).ln()
    })
}

/// Two templates, no demonstrations.
fn host() -> PretendHost {
    let labels = serde_json::json!(["a", "b", "c"]);
    let templates = serde_json::json!(["{prompt} is", "{prompt} was"]);
    PretendHost::of(MANIFEST)
        .setting("labels", labels)
        .setting("templates", templates)
        .setting("count", 0)
        .model("policy", model())
}

fn close(found: f64, expected: f64) -> bool {
    // Opinions are float32.
    (found - expected).abs() < 1e-6
}

#[test]
fn the_manifest_says_what_the_code_does() {
    check_manifest::<Sicl>(MANIFEST);
}

#[test]
fn answers_combine_what_all_variants_say() {
    // Of the first row: mean (.55 .35 .1), maximum (.8 .6 .1) / 1.5, majority a (.8 against .6).
    let rows = [Row::new("1"), Row::new("2")];
    for how in ["mean", "max", "majority"] {
        let host = host().setting("combine", how);
        assert_eq!(host.answer::<Sicl>(&rows), Ok(vec!["a".into(), "c".into()]));
        assert_eq!(host.report().metric("disagreement"), Some(0.5));
    }
    let was = host().setting("templates", serde_json::json!(["{prompt} was"]));
    assert_eq!(was.answer::<Sicl>(&rows), Ok(vec!["b".into(), "c".into()]));
}

#[test]
fn measuring_names_every_combination_and_the_single_variant() {
    let cases = [Row::new("1").completion("a").answered("a"), Row::new("2").completion("b").answered("c")];
    let metrics = host().measure::<Sicl>(&Evaluation::new(&cases)).expect("there are labels");
    let value = |name: &str| metrics.iter().find(|(its, _)| its == name).map_or(f64::NAN, |(_, value)| *value);
    // Rows 1 and 2 are in the bins of confidence .8/1.5 = .533 and .7/1.1 = .636: one right, one wrong.
    let (one, two) = (0.8 / 1.5, 0.7 / 1.1);
    assert!(close(value("ece"), f64::midpoint(1.0 - one, two)), "{metrics:?}");
    assert!(close(value("nll"), -(f64::ln(one) + f64::ln(0.2 / 1.1)) / 2.0), "{metrics:?}");
    assert!(close(value("accuracy"), 0.5) && close(value("confidence"), f64::midpoint(one, two)), "{metrics:?}");
    // Of the single variants the first is right about row 1, the second about none.
    assert!(close(value("accuracy-single"), 0.25) && close(value("accuracy-majority"), 0.5), "{metrics:?}");
    let first = f64::midpoint(1.0 - 0.8, 0.6);
    // Both rows of the second variant lie apart, too: .6 and .7 are in bins of their own.
    assert!(close(value("ece-single"), f64::midpoint(first, f64::midpoint(0.6, 0.7))), "{metrics:?}");
    assert!(close(value("disagreement"), 0.5), "{metrics:?}");
    assert_eq!(metrics.len(), 6 + 4 * 6 + 1);
}

#[test]
fn a_row_without_a_label_is_left_out_and_none_with_one_is_told() {
    let rows = [Row::new("1").completion("a").answered("a"), Row::new("2").completion("z").answered("c")];
    let host = host();
    let metrics = host.measure::<Sicl>(&Evaluation::new(&rows)).expect("one has a label");
    assert!(close(metrics[0].1, 1.0), "{metrics:?}");
    assert_eq!(host.report().skipped, [(1, NO_LABEL.to_owned())]);
    let error = host.measure::<Sicl>(&Evaluation::new(&rows[1..])).expect_err("none has a label");
    assert!(error.to_string().contains("no row of `test` has one of the labels a, b, c"), "{error}");
    let column = host.setting("label-column", "gold");
    let in_column = Row::new("1").completion("z").column("gold", "b").answered("a");
    let metrics = column.measure::<Sicl>(&Evaluation::new(&[in_column])).expect("the column has a label");
    assert!(close(metrics[0].1, 0.0), "{metrics:?}");
}

/// A host with a pool of demonstrations, and a model that answers with the label of the first one in the prompt.
fn showing(count: usize) -> PretendHost {
    let demonstrations = serde_json::json!([
        { "prompt": "x", "label": "a" }, { "prompt": "y", "label": "b" }, { "prompt": "z", "label": "c" }
    ]);
    let copycat = PretendModel::default().scoring_next(|prompt, candidate| {
        let first = prompt.split(['=', ';']).nth(1).unwrap_or_default();
        if first == candidate {
            -0.1
        } else {
            -3.0 - candidate.len() as f32 - f32::from(candidate.as_bytes()[0]) / 100.0
        }
    });
    PretendHost::of(MANIFEST)
        .setting("labels", serde_json::json!(["a", "b", "c"]))
        .setting("demonstrations", demonstrations)
        .setting("joiner", "=")
        .setting("separator", ";")
        .setting("count", count as u64)
        .setting("draws", 1)
        .model("policy", copycat)
}

#[test]
fn demonstrations_differ_from_row_to_row_and_never_show_the_row_itself() {
    let rows: Vec<Row> = ["x", "y", "z"].iter().cycle().take(60).map(|prompt| Row::new(*prompt)).collect();
    let answers = showing(1).answer::<Sicl>(&rows).expect("there are demonstrations");
    for (row, answer) in rows.iter().zip(&answers) {
        let own = match row.prompt.as_str() {
            "x" => "a",
            "y" => "b",
            _ => "c",
        };
        assert_ne!(answer, own, "its own label was shown");
    }
    assert_eq!(answers[..3], answers[3..6], "the prompt decides, not the place");
    let others: Vec<Row> = (0..60).map(|number| Row::new(format!("q{number}"))).collect();
    let answers = showing(1).answer::<Sicl>(&others).expect("there are demonstrations");
    for label in ["a", "b", "c"] {
        let count = answers.iter().filter(|answer| *answer == label).count();
        assert!((8..33).contains(&count), "{count} times `{label}`");
    }
    let again = showing(1).setting("seed", 5).answer::<Sicl>(&others).expect("there are demonstrations");
    assert_ne!(answers, again);
}

#[test]
fn measuring_sees_the_demonstrations_that_answering_saw() {
    let rows: Vec<Row> = (0..20).map(|number| Row::new(format!("q{number}"))).collect();
    let host = showing(2).setting("draws", 3);
    let answers = host.answer::<Sicl>(&rows).expect("there are demonstrations");
    let cases: Vec<_> = rows
        .into_iter()
        .zip(&answers)
        .map(|(row, answer)| row.completion(answer.as_str()).answered(answer.as_str()))
        .collect();
    let metrics = host.measure::<Sicl>(&Evaluation::new(&cases)).expect("there are labels");
    assert!(close(metrics[0].1, 1.0), "{metrics:?}");
}

#[test]
fn a_row_may_have_demonstrations_of_its_own() {
    let own = serde_json::json!([{ "prompt": "w", "label": "c" }]);
    let host = showing(2).setting("demonstrations-column", "near");
    let answers = host.answer::<Sicl>(&[Row::new("q").column("near", own)]);
    assert_eq!(answers, Ok(vec!["c".into()]));
    for (cell, expected) in [
        (serde_json::json!("no list"), "column `near` of row 0 is no list of objects"),
        (serde_json::json!([{ "prompt": "w" }]), "entry 0 of column `near` of row 0 has no `label`"),
        (serde_json::json!([{ "prompt": "w", "label": "d" }]), "has the label `d`, none of a, b, c"),
        (serde_json::json!([{ "label": "a" }]), "has no `prompt`, which a template shows"),
    ] {
        let error = host.answer::<Sicl>(&[Row::new("q").column("near", cell)]).expect_err("it is broken");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn templates_show_columns_and_say_which_is_missing() {
    let host = host().setting("templates", serde_json::json!(["{text} is", "{prompt} was"]));
    let row = Row::new("1").column("text", "2");
    assert_eq!(host.setting("combine", "mean").answer::<Sicl>(&[row]), Ok(vec!["b".into()]));
    let host = self::host().setting("templates", serde_json::json!(["{text} is"]));
    let error = host.answer::<Sicl>(&[Row::new("1")]).expect_err("there is no such column");
    assert!(error.to_string().contains("the row `1` has no column `text`"), "{error}");
}

#[test]
fn labels_that_begin_alike_are_told() {
    // The model knows only three classes and takes `d` for `c`.
    let host = host().setting("labels", serde_json::json!(["a", "c", "d"]));
    let error = host.answer::<Sicl>(&[Row::new("1"), Row::new("2")]).expect_err("two labels are one token");
    assert!(error.to_string().contains("the labels `c` and `d` begin with the same token"), "{error}");
}

#[test]
fn batch_calibration_takes_away_what_all_rows_share() {
    // Both rows lean to `b` under this template; the second more than the first.
    let leaning =
        PretendModel::default().scoring_next(|prompt, candidate| match (prompt.starts_with('1'), candidate) {
            (_, "b") => -0.1,
            (true, "a") => -2.0,
            (false, "a") => -3.0,
            _ => -9.0,
        });
    let rows = [Row::new("1"), Row::new("2")];
    let answers = |calibration: &str| {
        let labels = serde_json::json!(["a", "b"]);
        let host =
            PretendHost::of(MANIFEST).setting("labels", labels).setting("count", 0).model("policy", leaning.clone());
        host.setting("calibration", calibration).answer::<Sicl>(&rows).expect("it answers")
    };
    assert_eq!(answers("none"), ["b", "b"]);
    assert_eq!(answers("batch"), ["a", "b"]);
}

#[test]
fn training_rows_have_demonstrations_from_the_other_rows() {
    let rows: Vec<Row> = [("p", "a"), ("q", "b"), ("r", "c"), ("s", "d")]
        .map(|(prompt, label)| Row::new(prompt).completion(label))
        .into();
    let host = PretendHost::of(MANIFEST)
        .setting("labels", serde_json::json!(["a", "b", "c"]))
        .setting("joiner", "=")
        .setting("separator", ";")
        .setting("count", 2)
        .setting("copies", 3);
    let curated = host.curate::<Sicl>(&rows).expect("there are labels");
    let mut prompts = Vec::new();
    for choice in &curated.choices {
        match choice {
            Choice::Add { prompt, completion, provenance, like: Some(row) } => {
                assert_eq!((completion.as_str(), provenance.as_str()), (["a", "b", "c"][*row], PROVENANCE));
                let shown: Vec<&str> = prompt.split(';').collect();
                assert_eq!((shown.len(), shown[2]), (3, rows[*row].prompt.as_str()), "{prompt}");
                assert!(["p=a", "q=b", "r=c"].contains(&shown[0]) && !shown[0].starts_with(shown[2]), "{prompt}");
                assert_ne!(shown[0], shown[1]);
                prompts.push(prompt.clone());
            }
            Choice::Omit { row: 3, why } => assert_eq!(why, NO_LABEL),
            Choice::Omit { why, .. } => assert_eq!(why, "trained on with demonstrations"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((prompts.len(), curated.choices.len()), (9, 9 + 4));
    prompts.sort();
    prompts.dedup();
    assert!(3 < prompts.len(), "{prompts:?}");
}

#[test]
fn a_row_alone_has_nothing_to_be_shown_with() {
    let host = PretendHost::of(MANIFEST).setting("labels", serde_json::json!(["a", "b"]));
    let curated = host.curate::<Sicl>(&[Row::new("p").completion("a")]).expect("it has a label");
    assert_eq!(curated.choices, [Choice::Omit { row: 0, why: "no demonstration to show with it".into() }]);
    let plain = host.setting("count", 0).curate::<Sicl>(&[Row::new("p").completion("a")]).expect("it has a label");
    assert!(matches!(&plain.choices[0], Choice::Add { prompt, .. } if prompt == "p"), "{:?}", plain.choices);
}

#[test]
fn an_ensemble_that_always_agrees_or_is_unsure_is_warned_of() {
    let cases: Vec<_> = (0..16).map(|_| Row::new("2").completion("c").answered("c")).collect();
    let host = host();
    host.measure::<Sicl>(&Evaluation::new(&cases)).expect("there are labels");
    let lines: Vec<String> = host.report().lines.into_iter().map(|(_, line)| line).collect();
    assert!(lines.iter().any(|line| line.contains("no two variants disagree")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("try `mean`")), "{lines:?}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |host: PretendHost, expected: &str| match host.answer::<Sicl>(&[]) {
        Err(Error::BadSettings(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("{other:?}"),
    };
    refused(host().setting("templates", serde_json::json!(["is it?"])), "template 0 shows nothing of a row");
    let odd = serde_json::json!([{ "prompt": "x", "label": "q" }]);
    refused(host().setting("demonstrations", odd), "entry 0 of `demonstrations` has the label `q`");
    let error = host().setting("count", 1).answer::<Sicl>(&[Row::new("1")]).expect_err("there are no demonstrations");
    assert!(error.to_string().contains("there is no demonstration for the row `1`"), "{error}");
}

#[test]
fn a_system_message_comes_first() {
    let whole = r#"[{"role":"system","content":"Be \"brief\"."},{"role":"user","content":"1"}]"#;
    let watching = PretendModel::default()
        .scoring_next(move |prompt, label| if prompt == whole && label == "b" { -0.1 } else { -(label.len() as f32) });
    let host = PretendHost::of(MANIFEST)
        .setting("labels", serde_json::json!(["a", "b"]))
        .setting("count", 0)
        .setting("system", "Be \"brief\".")
        .model("policy", watching);
    assert_eq!(host.answer::<Sicl>(&[Row::new("1")]), Ok(vec!["b".into()]));
}
