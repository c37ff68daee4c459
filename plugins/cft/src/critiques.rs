//! Critiques from where they are stored, and from a teacher for the rest: one call for all rows.

use tunesmith_sdk::{Error, Model, Prompts, Sampling};

use crate::template::fill;

/// Who writes critiques, and how it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Teacher {
    /// The name of the model in the run.
    pub model: String,
    /// The request, with places for question and solution.
    pub prompt: String,
    /// 0.0 is greedy.
    pub temperature: f32,
    /// The probability mass that is sampled from.
    pub top_p: f32,
    /// At most this many tokens; 0 leaves it to the recipe.
    pub max_tokens: u32,
    /// Texts before which a critique ends.
    pub stop: Vec<String>,
}

/// A row with a solution, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The row in the pool.
    pub row: usize,
    /// The question.
    pub question: String,
    /// The solution, right or wrong.
    pub solution: String,
    /// The critique as it was written, or why there is none.
    pub critique: Result<String, &'static str>,
    /// Whether the teacher was asked.
    pub is_from_teacher: bool,
}

/// Puts critiques to rows of number, question, solution and stored critique.
///
/// # Errors
///
/// Fails when the teacher does.
pub fn collect(
    rows: Vec<(usize, String, String, Option<String>)>,
    teacher: Option<&Teacher>,
) -> Result<Vec<Asked>, Error> {
    let asked = |(row, question, solution, stored): (usize, String, String, Option<String>)| {
        let stored = stored.filter(|text| !text.trim().is_empty());
        let is_from_teacher = stored.is_none() && teacher.is_some();
        Asked { row, question, solution, critique: stored.ok_or("no critique"), is_from_teacher }
    };
    let mut all: Vec<Asked> = rows.into_iter().map(asked).collect();
    if let Some(teacher) = teacher {
        teacher.write(all.iter_mut().filter(|asked| asked.is_from_teacher).collect())?;
    }
    Ok(all)
}

impl Teacher {
    fn write(&self, open: Vec<&mut Asked>) -> Result<(), Error> {
        if open.is_empty() {
            return Ok(());
        }
        let request =
            |asked: &&mut Asked| fill(&self.prompt, &[("{prompt}", &asked.question), ("{solution}", &asked.solution)]);
        let requests: Vec<String> = open.iter().map(request).collect();
        let sampling = Sampling {
            temperature: Some(self.temperature),
            top_p: Some(self.top_p),
            max_tokens: (0 < self.max_tokens).then_some(self.max_tokens),
            stop: self.stop.clone(),
            ..Sampling::greedy()
        };
        let answers = Model::open(&self.model)?.generate(&Prompts::new().users(&requests), &sampling)?;
        for ((asked, text), is_finished) in open.into_iter().zip(answers.texts()).zip(answers.finished()) {
            asked.critique = if is_finished { Ok(text) } else { Err("the critique was cut at the length limit") };
        }
        Ok(())
    }
}
