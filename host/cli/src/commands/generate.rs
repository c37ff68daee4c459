//! `generate`: continues prompts.

use anyhow::Result;
use serde_json::json;
use tunesmith::{GenerateRequest, PromptOptions, Sampling, generate, read_prompts};

use super::BadInput;
use crate::arguments::Generate;
use crate::progress::Progress;
use crate::terminal::{print, print_exactly};

pub(crate) fn run(command: &Generate) -> Result<()> {
    let sampling = sampling(command)?;
    let options = PromptOptions { is_raw: command.raw, system: command.system.clone() };
    let prompts = match (&command.source.prompt, &command.source.prompts) {
        (Some(text), _) => vec![options.prompt(text)],
        (None, Some(file)) => read_prompts(file, &options)?,
        (None, None) => return Err(BadInput("there is no prompt\nhint: give `--prompt` or `--prompts`".into()).into()),
    };
    let is_one = prompts.len() == 1;
    let request = GenerateRequest {
        model: command.model.clone(),
        adapter: command.adapter.clone(),
        device: command.device.clone(),
        batch: command.batch,
        prompts,
        sampling,
    };
    let answers = generate(&request, &mut Progress::new())?;
    for (index, answer) in answers.iter().enumerate() {
        if command.json {
            let line = json!({"row": index, "text": answer.text, "tokens": answer.tokens, "finish": answer.finish});
            print_exactly(&line.to_string())?;
        } else {
            if !is_one {
                print(&format!("--- {}", index + 1))?;
            }
            print_exactly(&answer.text)?;
        }
    }
    Ok(())
}

fn sampling(command: &Generate) -> Result<Sampling, BadInput> {
    let rules = [
        (command.temperature.is_finite() && command.temperature >= 0.0, "--temperature must be at least 0"),
        (command.top_p > 0.0 && command.top_p <= 1.0, "--top-p must be more than 0 and at most 1"),
        (command.stop.iter().all(|text| !text.is_empty()), "--stop must not be empty"),
    ];
    if let Some((_, what)) = rules.into_iter().find(|(holds, _)| !holds) {
        return Err(BadInput(what.into()));
    }
    Ok(Sampling {
        temperature: command.temperature,
        top_p: command.top_p,
        top_k: command.top_k,
        max_tokens: command.max_tokens,
        samples: 1,
        stop: command.stop.clone(),
        seed: command.seed,
    })
}
