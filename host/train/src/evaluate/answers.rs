//! What is answered to an evaluation set: by the policy alone, greedily, or by the recipe's answering plugin with its help.

use std::sync::Arc;

use tunesmith_core::data::{Example, Examples};
use tunesmith_core::set::{Event, Named, Observer};
use tunesmith_core::stage::{Answer, Stage};

use super::Evaluator;
use crate::batch::PolicyPair;
use crate::generate::{self, Finish, Generation, Generator, Sampling};
use crate::run::{EvalSet, RunError, pass_on_lines};
use crate::service::calls::Callee;
use crate::service::digests;

impl Evaluator<'_> {
    /// One answer per row of the set, whose prompts have these tokens.
    pub(super) fn answers(
        &self,
        set: &EvalSet,
        prompts: &[Vec<u32>],
        models: &PolicyPair,
        work: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Generation>, RunError> {
        let total = Some(set.examples.len() as u64);
        observer.event(Event::Begin { work, total });
        let answers = match &self.stages.answer {
            None => self.greedy(prompts, models, observer)?,
            Some(answer) => self.plugins(answer, set, models, observer)?,
        };
        observer.event(Event::Finish);
        Ok(answers)
    }

    /// The policy's most likely answer to each prompt.
    fn greedy(
        &self,
        prompts: &[Vec<u32>],
        models: &PolicyPair,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Generation>, RunError> {
        let numbered: Vec<generate::Prompt> =
            prompts.iter().map(|ids| generate::Prompt { ids: ids.clone(), stream: 0 }).collect();
        let mut sampling = Sampling::greedy(self.host.plan.max_tokens as usize, self.host.encoder.ends());
        sampling.batch = self.batch();
        let mut finished = 0;
        let generator = Generator::new(&models.policy, self.host.encoder.tokenizer());
        let answers = generator.generate(&numbered, &sampling, &mut |progress| {
            if finished < progress.finished {
                let note = format!("{} tokens", progress.tokens);
                observer.event(Event::Advance { units: (progress.finished - finished) as u64, note: &note });
                finished = progress.finished;
            }
        })?;
        Ok(answers)
    }

    /// What the plugin answers, chunk by chunk.
    fn plugins(
        &self,
        answer: &Named<dyn Answer>,
        set: &EvalSet,
        models: &PolicyPair,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Generation>, RunError> {
        let mut texts = Vec::with_capacity(set.examples.len());
        for rows in set.examples.chunks(self.plan.measure.chunk.max(1)) {
            let rows = rows.iter().map(|row| Arc::new(self.without_gold(row))).collect();
            let asked = Arc::new(Examples { rows, round: 0 });
            let units = asked.rows.len() as u64;
            let callee = Callee {
                stage: Stage::Answer,
                plugin: &answer.name,
                input: digests::of_examples(&asked),
                services: self.host.services(models),
            };
            let output = |texts: &Vec<String>| digests::of_texts(texts);
            let made = self.host.caller.call(callee, output, |call| answer.stage.answer(asked, call));
            pass_on_lines(self.host, observer);
            texts.extend(made?);
            observer.event(Event::Advance { units, note: "" });
        }
        self.as_said(set, texts, models)
    }

    /// The row as it is at test time: without its gold completion, and without the columns that the recipe takes that from.
    fn without_gold(&self, row: &Example) -> Example {
        let mut row = Example { completion: None, ..row.clone() };
        let data = &self.plan.data;
        row.columns.retain(|name, _| *name != data.completion && *name != data.messages);
        row
    }

    /// Texts as if the policy had said them to the rows' own prompts: their tokens, and how likely it finds them. Whether a plugin has cut
    /// a text is not known; they count as ended.
    fn as_said(&self, set: &EvalSet, texts: Vec<String>, models: &PolicyPair) -> Result<Vec<Generation>, RunError> {
        let pair = |(row, text): (&Arc<Example>, &String)| self.host.encoder.pair(&row.conversation(), text);
        let pairs = set.examples.iter().zip(&texts).map(pair).collect::<Result<Vec<_>, _>>()?;
        let pairs = Self::readable(pairs, models);
        let logprobs = models.policy.score(&pairs, self.batch())?;
        let said = pairs.into_iter().zip(logprobs).zip(texts);
        let generation = said.map(|((pair, logprobs), text)| Generation {
            text,
            ids: pair.completion,
            logprobs,
            finish: Finish::Eos,
        });
        Ok(generation.collect())
    }
}
