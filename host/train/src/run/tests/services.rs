//! What stages get when they ask: models, the judge, forward passes.

use std::sync::{Arc, Mutex};

use burn::module::Module;
use tunesmith_core::call::Call;
use tunesmith_core::data::{Case, Cases, Verdict};
use tunesmith_core::error::{CallError, ServiceError};
use tunesmith_core::model::{Finish, ForwardInput, ForwardRequest, LanguageModel, Message, Prompt, Sampling};
use tunesmith_core::plan::GeneratePlan;
use tunesmith_core::set::{Named, Stages};
use tunesmith_core::stage::{Batch, Judge, Objective, Port, Stage, checked_judge};
use tunesmith_core::tensors::{Along, Op, Scalar, TensorId};

use super::{LORA, SHORT, example, inputs, plan, run_with};
use crate::batch::PolicyPair;
use crate::service::open;

fn policy() -> Arc<dyn LanguageModel> {
    let plan = plan(std::path::Path::new("."), "", "[generate]\nmax-tokens = 5\nbatch = 2\n");
    open(&inputs(Stages::default()).model, &plan.generate)
}

fn chat(text: &str) -> Prompt {
    Prompt::Chat(vec![Message::user(text)])
}

#[test]
fn samples_come_prompt_by_prompt_and_the_recipes_limit_holds() {
    let sampling = Sampling { temperature: 1.0, samples: 2, seed: 9, ..Sampling::greedy(50) };
    let answers = policy().generate(&[chat("a"), chat("bcd")], &sampling).expect("it generates");
    assert_eq!(answers.len(), 4);
    assert!(
        answers.iter().all(|answer| answer.tokens.len() <= 5 && answer.tokens.len() == answer.token_logprobs.len())
    );
    let again = policy().generate(&[chat("a")], &sampling).expect("it generates");
    assert_eq!(answers[..2], again[..], "neighbours do not change a sequence");
    let cut = answers.iter().filter(|answer| answer.finish == Finish::Length);
    assert!(cut.clone().all(|answer| answer.tokens.len() == 5) && cut.count() > 0);
}

#[test]
fn generated_tokens_score_as_they_were_sampled() {
    let model = policy();
    let answer = &model.generate(&[chat("a")], &Sampling::greedy(5)).expect("it generates")[0];
    let score = &model.score(&[chat("a")], std::slice::from_ref(&answer.text)).expect("it scores")[0];
    for (sampled, scored) in answer.token_logprobs.iter().zip(&score.token_logprobs) {
        assert!((sampled - scored).abs() < 1e-4, "{sampled} is not {scored}");
    }
    let ends = usize::from(answer.finish != Finish::End);
    assert_eq!(score.token_logprobs.len(), answer.tokens.len() + ends, "the end token counts");
}

#[test]
fn a_next_token_scores_as_the_first_of_a_completion() {
    let model = policy();
    let prompts = [chat("a"), Prompt::Raw("xyz".into()), chat("longer prompt")];
    let candidates = ["yes".to_owned(), "no".to_owned()];
    let next = model.score_next(&prompts, &candidates).expect("it scores");
    for (index, prompt) in prompts.iter().enumerate() {
        for (place, candidate) in candidates.iter().enumerate() {
            let whole =
                &model.score(std::slice::from_ref(prompt), std::slice::from_ref(candidate)).expect("it scores")[0];
            assert!((next[index * 2 + place] - whole.token_logprobs[0]).abs() < 1e-4);
        }
    }
    assert!(model.score_next(&prompts, &[String::new()]).is_err());
    assert!(model.score(&prompts, &candidates).is_err(), "two completions for three prompts");
}

#[test]
fn an_embedding_does_not_depend_on_its_neighbours() {
    let model = policy();
    let together = model.embed(&["ab".into(), "a much longer text".into()]).expect("it embeds");
    let alone = model.embed(&["ab".into()]).expect("it embeds");
    assert_eq!(together[0].len(), model.hidden_size());
    for (one, other) in together[0].iter().zip(&alone[0]) {
        assert!((one - other).abs() < 1e-5);
    }
}

#[test]
fn a_prompt_that_is_too_long_is_an_error_and_no_panic() {
    let model = policy();
    let long = Prompt::Raw("a".repeat(500));
    assert!(model.generate(std::slice::from_ref(&long), &Sampling::greedy(5)).is_err());
    assert!(model.score(std::slice::from_ref(&long), &["a".into()]).is_err());
    assert!(model.score_next(std::slice::from_ref(&long), &["a".into()]).is_err());
    assert!(model.embed(&["a".repeat(500)]).is_err());
    assert!(model.embed(&[String::new()]).is_err());
    assert!(model.generate(&[chat("a")], &Sampling { temperature: f32::NAN, ..Sampling::greedy(5) }).is_err());
}

/// Says right to answers that end with a full stop.
struct FullStop;

impl Judge for FullStop {
    fn judge(&self, cases: Arc<Cases>, _: &mut Call) -> Result<Vec<Verdict>, CallError> {
        let verdict = |case: &Case| if case.answer.ends_with('.') { Verdict::Right } else { Verdict::Wrong };
        checked_judge("full-stop", &cases, cases.cases.iter().map(verdict).collect())
    }
}

#[test]
fn the_judge_is_a_service_whose_calls_are_recorded() {
    let stages = Stages { judge: Some(Named::new("full-stop", Arc::new(FullStop) as _)), ..Stages::default() };
    let inputs = inputs(stages);
    let host = super::super::host(&plan(std::path::Path::new("."), "", ""), &inputs);
    let reference = inputs.model.decoder.valid();
    let services = host.services(&PolicyPair { policy: reference.clone(), reference });
    let case = |answer: &str| Case { example: example(0, "q", None), answer: answer.into(), rival: None };
    let cases = Arc::new(Cases { cases: vec![case("yes."), case("no")] });
    let judging = services.judging.expect("there is a judge");
    assert_eq!(judging.verdicts(cases).expect("it judges"), [Verdict::Right, Verdict::Wrong]);
    let records = host.caller.take_records();
    assert_eq!((records.len(), records[0].stage, records[0].plugin.as_str()), (1, Stage::Judge, "full-stop"));
    let unknown = services.models.expect("models").open("teacher").err().expect("there is none").to_string();
    assert_eq!(unknown, "there is no model `teacher`; there are `policy`, `reference`");
}

/// Opens a model by name and answers every case by what it says.
struct Asking;

impl Judge for Asking {
    fn judge(&self, cases: Arc<Cases>, call: &mut Call) -> Result<Vec<Verdict>, CallError> {
        let models = call.services.models.as_ref().expect("models");
        let teacher = models.open("teacher").expect("the recipe names it");
        let said = teacher.generate(&[chat("a")], &Sampling::greedy(3)).expect("it generates").remove(0);
        assert_eq!((teacher.max_tokens(), call.services.judging.is_none()), (2, true));
        assert!((1..=2).contains(&said.tokens.len()), "its own limit holds: {said:?}");
        checked_judge("asking", &cases, vec![Verdict::Right; cases.cases.len()])
    }
}

#[test]
fn the_judge_may_ask_the_models_that_the_recipe_names() {
    let stages = Stages { judge: Some(Named::new("asking", Arc::new(Asking) as _)), ..Stages::default() };
    let plan = plan(std::path::Path::new("."), "", "");
    let mut inputs = inputs(stages);
    let generate = GeneratePlan { max_tokens: 2, ..plan.generate.clone() };
    inputs.models = Arc::new([("teacher".to_owned(), open(&inputs.model, &generate))].into());
    let host = super::super::host(&plan, &inputs);
    let reference = inputs.model.decoder.valid();
    let services = host.services(&PolicyPair { policy: reference.clone(), reference });
    let case = Case { example: example(0, "q", None), answer: "a".into(), rival: None };
    let verdicts = services.judging.expect("a judge").verdicts(Arc::new(Cases { cases: vec![case] }));
    assert_eq!(verdicts.expect("it judges"), [Verdict::Right]);
    let unknown = services.models.expect("models").open("other").err().expect("there is none").to_string();
    assert!(unknown.ends_with("there are `policy`, `reference`, `teacher`"), "{unknown}");
}

/// The negative log-likelihood from its own forward pass, compared with the port's.
struct OwnForward {
    gaps: Arc<Mutex<Vec<f32>>>,
}

impl Objective for OwnForward {
    fn objective(&self, batch: Arc<dyn Batch>, call: &mut Call) -> Result<TensorId, CallError> {
        let tensors = batch.tensors();
        let port = |port: Port| batch.port(&port).expect("a port").expect("a tensor");
        let apply = |op: Op| tensors.apply(&op).expect("the shapes fit");
        let models = call.services.models.as_ref().expect("models");
        let policy = models.open("policy").expect("a policy");
        let tokens = port(Port::Tokens);
        let shape = tensors.shape(tokens).expect("a shape");
        let mask = apply(Op::Full { value: 1.0, shape: shape.clone() });
        let request = ForwardRequest {
            input: ForwardInput::Tokens(tokens),
            mask,
            logits: true,
            hidden: vec![0, 2],
            attention: vec![1],
            exit_at: None,
        };
        let pass = policy.forward(&request).expect("a pass");
        assert_eq!(tensors.shape(pass.attention[0].1).expect("a shape"), [shape[0], 4, shape[1], shape[1]]);
        assert_eq!(pass.hidden.iter().map(|(layer, _)| *layer).collect::<Vec<_>>(), [0, 2]);
        let last = shape[1];
        let logprobs = apply(Op::Along(Along::LogSoftmax, pass.logits.expect("logits"), 2));
        let logprobs = apply(Op::Slice { input: logprobs, dim: 1, start: 0, end: last - 1 });
        let next = apply(Op::Slice { input: tokens, dim: 1, start: 1, end: last });
        let index = apply(Op::Reshape(next, vec![shape[0], last - 1, 1]));
        let own = apply(Op::Reshape(apply(Op::Gather { input: logprobs, dim: 2, index }), vec![shape[0], last - 1]));
        let weights = apply(Op::Slice { input: port(Port::Weights), dim: 1, start: 1, end: last });
        let sum = apply(Op::Sum(apply(Op::Binary(tunesmith_core::tensors::Binary::Mul, own, weights))));
        let loss = apply(Op::Scalar(Scalar::Mul, sum, (-1.0 / batch.total_weight()) as f32));
        let given = apply(Op::Sum(port(Port::TokenLogprobs("policy".into()))));
        let gap = tensors.read_floats(sum).expect("a number")[0] - tensors.read_floats(given).expect("a number")[0];
        self.gaps.lock().expect("no panic").push(gap);
        Ok(loss)
    }
}

#[test]
fn an_objective_may_make_its_own_forward_pass() {
    let gaps = Arc::new(Mutex::new(Vec::new()));
    let own = OwnForward { gaps: Arc::clone(&gaps) };
    let stages = Stages { objective: Some(Named::new("own", Arc::new(own) as _)), ..Stages::default() };
    let (_one, own) = run_with(stages, LORA, SHORT);
    let (_other, built_in) = run_with(Stages::default(), LORA, SHORT);
    assert!(gaps.lock().expect("no panic").iter().all(|gap| gap.abs() < 1e-3), "{gaps:?}");
    let (own, built_in) = (own.expect("it runs"), built_in.expect("it runs"));
    let difference = own.loss_last.expect("steps") - built_in.loss_last.expect("steps");
    assert!(difference.abs() < 1e-4, "{difference}");
}

#[test]
fn outside_an_objective_there_is_no_forward_pass() {
    let request = ForwardRequest {
        input: ForwardInput::Tokens(TensorId(0)),
        mask: TensorId(1),
        logits: true,
        hidden: Vec::new(),
        attention: Vec::new(),
        exit_at: None,
    };
    assert!(matches!(policy().forward(&request), Err(ServiceError::Unsupported(_))));
}
