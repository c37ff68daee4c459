//! Asking the starting model how likely responses are: one call for all candidates of all rows.

use tunesmith_sdk::{Error, Examples, Model, Prompts};

use crate::candidates::{Candidate, shortened};
use crate::math::mean_logprob;
use crate::template::fill;

/// The model that scores: the one that training starts from.
const START: &str = "reference";
/// Where the response stands in a template.
const RESPONSE: &str = "{response}";

/// How responses are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scoring {
    /// What comes before a response; none scores it in the model's own chat template.
    pub template: Option<Template>,
    /// Whether the end token counts.
    pub counts_end: bool,
    /// Characters after which a response is cut for scoring; 0 is no limit.
    pub longest: usize,
}

/// A template that ends with the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    before: String,
    /// Blanks right before the response. Tokenizers join them to the word that follows, so they are scored with it.
    blanks: String,
}

impl Template {
    /// Reads a template; an empty one is none.
    ///
    /// # Errors
    ///
    /// Fails unless it holds the prompt, and the response once, at its end.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let Some(before) = text.strip_suffix(RESPONSE).filter(|before| !before.contains(RESPONSE)) else {
            return Err(Error::bad_settings("`template` does not end with `{response}`, or holds it more than once"));
        };
        if !before.contains("{prompt}") {
            return Err(Error::bad_settings("`template` does not show the model the prompt: `{prompt}` is missing"));
        }
        let kept = before.trim_end_matches(' ').len();
        Ok(Some(Self { before: before[..kept].into(), blanks: before[kept..].into() }))
    }
}

/// The mean log-probability of each row's candidates; none of one without tokens.
///
/// # Errors
///
/// Fails when the model does.
pub fn score(
    pool: &Examples<'_>,
    rows: &[(usize, Vec<Candidate>)],
    scoring: &Scoring,
) -> Result<Vec<Vec<Option<f64>>>, Error> {
    let each = || rows.iter().flat_map(|(row, candidates)| candidates.iter().map(move |candidate| (*row, candidate)));
    let blanks = scoring.template.as_ref().map_or("", |template| template.blanks.as_str());
    let mut asked: Vec<usize> = each().map(|(row, _)| row).collect();
    let Some(&first) = asked.first() else { return Ok(vec![Vec::new(); rows.len()]) };
    let mut texts: Vec<String> =
        each().map(|(_, candidate)| format!("{blanks}{}", shortened(&candidate.text, scoring.longest).0)).collect();
    // A response of no text has the end token alone, if the model has one.
    asked.push(first);
    texts.push(String::new());
    let scores = Model::open(START)?.score(&prompts(pool, &asked, scoring), &texts)?;
    let (lengths, logprobs) = (scores.lengths(), scores.token_logprobs());
    let end = if scoring.counts_end { 0 } else { lengths.last().map_or(0, |&length| length as usize) };
    let mut rest = logprobs.as_slice();
    let mut means = lengths.into_iter().map(|length| {
        let (own, others) = rest.split_at((length as usize).min(rest.len()));
        rest = others;
        mean_logprob(&own[..own.len().saturating_sub(end)])
    });
    Ok(rows.iter().map(|(_, candidates)| means.by_ref().take(candidates.len()).collect()).collect())
}

fn prompts(pool: &Examples<'_>, rows: &[usize], scoring: &Scoring) -> Prompts {
    let Some(template) = &scoring.template else { return Prompts::new().rows(pool, rows) };
    let prompts = pool.prompts();
    let filled: Vec<String> = rows.iter().map(|&row| fill(&template.before, &[("{prompt}", &prompts[row])])).collect();
    Prompts::new().raw(&filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_before_the_response_go_with_it() {
        let template = Template::parse("Q: {prompt}\nA:  {response}").expect("it is one").expect("it is not empty");
        assert_eq!(template, Template { before: "Q: {prompt}\nA:".into(), blanks: "  ".into() });
        assert_eq!(Template::parse(""), Ok(None));
    }

    #[test]
    fn a_template_ends_with_the_response() {
        for text in ["{prompt}", "{prompt}{response}.", "{response}", "{prompt}{response}{response}"] {
            assert!(matches!(Template::parse(text), Err(Error::BadSettings(_))), "{text}");
        }
    }
}
