//! Asks a language model to judge answers: right or wrong, a grade, or which of two is better, in both orders.

mod math;
mod template;

use serde::Deserialize;
use tunesmith_sdk::{Cases, Error, Judge, Model, Plugin, Prompts, Sampling, Verdict, log};

use crate::template::{Parts, has};

/// Why a case is undecided. Texts without numbers: they are counted.
const UNREAD: &str = "the judge's text has no verdict";
const DISAGREE: &str = "the judge's samples disagree";
const ORDER: &str = "order mattered";
const NO_REFERENCE: &str = "there is no gold answer for the template";
const NO_RIVAL: &str = "there is no rival to compare with";

const YES_NO: &str = "Question:\n{prompt}\n\nReference answer:\n{reference}\n\nAnswer to be judged:\n{answer}\n\nDoes the answer to be judged agree with the reference answer in what was asked for? Think it through in a few sentences, then end with one line: `Verdict: yes` or `Verdict: no`.";
const GRADE: &str = "Question:\n{prompt}\n\nAnswer to be judged:\n{answer}\n\nHow good is the answer: is it right, complete and helpful? Think it through in a few sentences, then end with one line: `Score: ` and a number from {lowest} (useless) to {highest} (could not be better).";
const PAIRWISE: &str = "Question:\n{prompt}\n\nAnswer A:\n{answer}\n\nAnswer B:\n{rival}\n\nWhich answer is better: more right, complete and helpful? Neither order nor length counts. Think it through in a few sentences, then end with one line: `Better: A` or `Better: B`.";

/// The settings, as `plugin.toml` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    model: String,
    kind: Kind,
    template: String,
    marker: String,
    yes: String,
    no: String,
    lowest: f64,
    highest: f64,
    order_mattered: OrderMattered,
    samples: u32,
    temperature: f32,
    retries: u32,
    retry_temperature: f32,
    max_tokens: u32,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    YesNo,
    Grade,
    Pairwise,
}

/// What a verdict is that turns with the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OrderMattered {
    Undecided,
    Partly,
}

/// The plugin.
pub struct LlmJudge {
    settings: Settings,
}

/// One request, and what the judge's texts say on it.
struct Question {
    case: usize,
    text: String,
    /// Of each sample; none until one has a verdict.
    said: Vec<Option<f64>>,
}

impl Plugin for LlmJudge {
    type Settings = Settings;

    fn new(mut settings: Settings) -> Result<Self, Error> {
        let (template, marker) = match settings.kind {
            Kind::YesNo => (YES_NO, "Verdict:"),
            Kind::Grade => (GRADE, "Score:"),
            Kind::Pairwise => (PAIRWISE, "Better:"),
        };
        if settings.template.is_empty() {
            settings.template = template.into();
        }
        if settings.marker.trim().is_empty() {
            settings.marker = marker.into();
        }
        let is_pairwise = settings.kind == Kind::Pairwise;
        let needed: &[&str] = if is_pairwise { &["answer", "rival"] } else { &["answer"] };
        if let Some(name) = needed.iter().find(|name| !has(&settings.template, name)) {
            return Err(Error::bad_settings(format!("`template` has no place `{{{name}}}`")));
        }
        if !is_pairwise && has(&settings.template, "rival") {
            return Err(Error::bad_settings("`template` has a place `{rival}`, which is for the kind `pairwise`"));
        }
        let is_scale =
            settings.lowest.is_finite() && settings.highest.is_finite() && settings.lowest < settings.highest;
        if !is_scale {
            return Err(Error::bad_settings("`lowest` must be less than `highest`"));
        }
        if settings.yes.eq_ignore_ascii_case(&settings.no) {
            return Err(Error::bad_settings("`yes` and `no` are the same word"));
        }
        if settings.samples > 1 && settings.temperature == 0.0 {
            return Err(Error::bad_settings(
                "several `samples` need a `temperature` above 0: greedy ones are all the same",
            ));
        }
        Ok(Self { settings })
    }
}

impl Judge for LlmJudge {
    fn judge(&self, cases: &Cases) -> Result<Vec<Verdict>, Error> {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; cases.len()];
        let mut questions = self.questions(cases, &mut verdicts);
        self.ask(&mut questions)?;
        for asked in questions.chunk_by(|one, other| one.case == other.case) {
            verdicts[asked[0].case] = Some(self.verdict(asked));
        }
        self.report(&verdicts, &questions);
        Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(|| Verdict::undecided(UNREAD))).collect())
    }
}

impl LlmJudge {
    /// The requests of all cases; those that cannot be asked about get their verdict.
    fn questions(&self, cases: &Cases, verdicts: &mut [Option<Verdict>]) -> Vec<Question> {
        let Settings { template, kind, lowest, highest, samples, .. } = &self.settings;
        let (prompts, answers) = (cases.prompts(), cases.answers());
        let (references, rivals) = (cases.references(), cases.rivals());
        let scale = [lowest.to_string(), highest.to_string()];
        let mut questions = Vec::new();
        for case in 0..cases.len() {
            let reference = references[case].as_deref();
            if reference.is_none() && has(template, "reference") {
                verdicts[case] = Some(Verdict::undecided(NO_REFERENCE));
                continue;
            }
            let answer = answers[case].as_str();
            let orders = match (kind, rivals[case].as_deref()) {
                (Kind::Pairwise, Some(rival)) => vec![(answer, rival), (rival, answer)],
                (Kind::Pairwise, None) => {
                    verdicts[case] = Some(Verdict::undecided(NO_RIVAL));
                    continue;
                }
                _ => vec![(answer, "")],
            };
            for (answer, rival) in orders {
                let parts = Parts(vec![
                    ("prompt", &prompts[case]),
                    ("answer", answer),
                    ("reference", reference.unwrap_or_default()),
                    ("rival", rival),
                    ("lowest", &scale[0]),
                    ("highest", &scale[1]),
                ]);
                let said = vec![None; *samples as usize];
                questions.push(Question { case, text: parts.fill(template), said });
            }
        }
        questions
    }

    /// Asks all questions, and those whose texts have no verdict again.
    fn ask(&self, questions: &mut [Question]) -> Result<(), Error> {
        if questions.is_empty() {
            return Ok(());
        }
        let settings = &self.settings;
        let model = Model::open(&settings.model)?;
        let mut asked = 0;
        for round in 0..=settings.retries {
            let open = |question: &Question| question.said.iter().filter(|said| said.is_none()).count();
            // In the first round all samples of a question are open, and come in one request; later each is asked for by itself.
            let (texts, samples) = if round == 0 {
                (questions.iter().map(|question| question.text.clone()).collect(), settings.samples)
            } else {
                let again = questions.iter().flat_map(|it| std::iter::repeat_n(it.text.clone(), open(it)));
                (again.collect::<Vec<_>>(), 1)
            };
            if texts.is_empty() {
                break;
            }
            let temperature =
                if round == 0 { settings.temperature } else { settings.temperature.max(settings.retry_temperature) };
            let sampling = Sampling { max_tokens: Some(settings.max_tokens), ..Sampling::at(temperature, samples) };
            let told = model.generate(&Prompts::new().users(&texts), &sampling)?.texts();
            asked += told.len();
            let slots = questions.iter_mut().flat_map(|question| question.said.iter_mut());
            for (slot, text) in slots.filter(|said| said.is_none()).zip(told) {
                *slot = self.read(&text);
            }
        }
        log::metric("judge-texts", asked as f64);
        Ok(())
    }

    /// What a text of the judge says: 1 for the first of two words and 0 for the other, or the grade.
    fn read(&self, text: &str) -> Option<f64> {
        let Settings { kind, marker, yes, no, lowest, highest, .. } = &self.settings;
        let verdict = math::verdict_text(text, marker)?;
        let words = |words| math::word(verdict, words).map(|is_first| f64::from(u8::from(is_first)));
        match kind {
            Kind::YesNo => words([yes, no]),
            Kind::Pairwise => words(["A", "B"]),
            Kind::Grade => math::grade(verdict, *lowest, *highest),
        }
    }

    /// The verdict on a case of which these were all questions.
    fn verdict(&self, asked: &[Question]) -> Verdict {
        let Settings { kind, lowest, highest, order_mattered, .. } = &self.settings;
        let said: Vec<Vec<f64>> =
            asked.iter().map(|question| question.said.iter().flatten().copied().collect()).collect();
        if said.iter().any(Vec::is_empty) {
            return Verdict::undecided(UNREAD);
        }
        if *kind == Kind::Grade {
            let share = math::share(&said[0], *lowest, *highest).unwrap_or_default();
            return match share {
                0.0 => Verdict::Wrong,
                1.0 => Verdict::Right,
                share => Verdict::Partly(share as f32),
            };
        }
        let votes = |said: &Vec<f64>| math::majority(&said.iter().map(|said| *said > 0.5).collect::<Vec<_>>());
        match said.iter().map(votes).collect::<Option<Vec<bool>>>().as_deref() {
            Some([is_right]) => Verdict::from(*is_right),
            // In the second order the answer stands where its rival stood.
            Some([is_better, is_worse]) if is_better != is_worse => Verdict::from(*is_better),
            Some(_) if *order_mattered == OrderMattered::Partly => Verdict::Partly(0.5),
            Some(_) => Verdict::undecided(ORDER),
            None => Verdict::undecided(DISAGREE),
        }
    }

    /// What went wrong, as numbers.
    fn report(&self, verdicts: &[Option<Verdict>], questions: &[Question]) {
        for (case, verdict) in verdicts.iter().enumerate() {
            if let Some(Verdict::Undecided(why)) = verdict {
                log::skip(case, why);
            }
        }
        let said: Vec<_> = questions.iter().flat_map(|question| &question.said).collect();
        if said.is_empty() {
            return;
        }
        let unread = said.iter().filter(|said| said.is_none()).count();
        log::metric("unread", unread as f64 / said.len() as f64);
        if self.settings.kind == Kind::Pairwise {
            let both: Vec<bool> = questions.chunks(2).filter_map(order_mattered).collect();
            if !both.is_empty() {
                let turned = both.iter().filter(|turned| **turned).count();
                log::metric("order-mattered", turned as f64 / both.len() as f64);
            }
        }
    }
}

/// Whether the two orders of a case say different things; none where one of them says nothing.
fn order_mattered(orders: &[Question]) -> Option<bool> {
    let vote = |question: &Question| {
        math::majority(&question.said.iter().flatten().map(|said| *said > 0.5).collect::<Vec<_>>())
    };
    Some(vote(orders.first()?)? == vote(orders.get(1)?)?)
}

tunesmith_sdk::export!(LlmJudge: judge);

#[cfg(test)]
mod tests;
