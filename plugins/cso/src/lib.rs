//! Chain-of-strategy optimisation: searches dialogues for what a supporter could say under which strategy, and trains on preferences
//! between turns that led to good ends and those beside them.

pub mod dialogue;
pub mod math;
pub mod metrics;
pub mod reading;
pub mod search;
pub mod settings;
#[path = "../../llm-judge/src/template.rs"]
mod template;
pub mod tree;

use tunesmith_sdk::{Curate, Error, Evaluation, Examples, Measure, Model, Plugin, Prompts, Sampling, TrainingSet, log};

use dialogue::{conversation, parted, written};
use metrics::Confusion;
use reading::strategy_of;
use search::{Ending, Role, Search};
use settings::{Export, Settings};
use template::Parts;
use tree::Tree;

/// Where turns of the training set come from.
const PROVENANCE: &str = "search";
const CHOSEN: &str = "chosen";
const REJECTED: &str = "rejected";
/// Why a row is left out. Texts without numbers: they are counted.
const NOT_USER: &str = "the user does not have the last word";
const NO_GOOD_END: &str = "no good end";
const NO_PAIR: &str = "no sibling to reject";
const SEARCHED: &str = "trained on as turns of its tree";
const NO_GOLD: &str = "no gold strategy";

/// The plugin.
pub struct Cso(Settings);

impl Plugin for Cso {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Error> {
        settings.checked().map(Self)
    }
}

impl Curate for Cso {
    fn curate(&self, pool: &Examples, chosen: &TrainingSet) -> Result<(), Error> {
        let settings = &self.0;
        let situations = self.situations(pool);
        let (messages, golds, ids) = (pool.messages(), pool.completions(), pool.ids());
        let mut trees = Vec::new();
        for row in 0..pool.len() {
            let gold = golds[row].as_deref().filter(|_| settings.seeds);
            match parted(&messages[row], gold, &settings.strategies) {
                Some((start, path)) => {
                    let tree = Tree::new(start, path, settings.real());
                    trees.push((row, ids[row], Search::new(settings, &situations[row], tree)));
                }
                None => chosen.omit(row, NOT_USER),
            }
        }
        self.search(&mut trees, pool.round())?;
        let told: usize = trees.iter().map(|(row, _, search)| self.tell(*row, search, chosen)).sum();
        report(&trees, told);
        Ok(())
    }
}

/// A row, its id, and its search.
type Rooted<'a> = (usize, u64, Search<'a>);

impl Cso {
    fn situations(&self, pool: &Examples) -> Vec<String> {
        let column = self.0.situation_column.as_str();
        pool.column(column).into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Lets all trees advance together: each asks for one text per sweep, and those for the same model come in one call.
    fn search(&self, trees: &mut [Rooted<'_>], round: u32) -> Result<(), Error> {
        let settings = &self.0;
        let roles = [
            (Role::Rater, &settings.rater),
            (Role::Supporter, &settings.supporter),
            (Role::User, &settings.user),
            (Role::Judge, &settings.judge),
        ];
        if trees.is_empty() {
            return Ok(());
        }
        let models = roles.map(|(role, name)| Model::open(name).map(|model| (role, model)));
        let models = models.into_iter().collect::<Result<Vec<_>, Error>>()?;
        while trees.iter().any(|(_, _, search)| search.ending.is_none()) {
            for (role, model) in &models {
                let mut together = Vec::new();
                for (at, (_, id, search)) in trees.iter().enumerate() {
                    let Some((_, text, is_again)) = search.request().filter(|(its, _, _)| its == role) else {
                        continue;
                    };
                    let temperature = self.temperature(*role, is_again);
                    let seed = stream(settings.seed, &[u64::from(round), *id, u64::from(search.requests)]);
                    together.push((at, text, temperature, seed));
                }
                for (at, said) in self.ask(model, together)? {
                    trees[at].2.told(&said);
                }
            }
        }
        Ok(())
    }

    /// The supporter and the user speak at the set temperature, ratings and grades are greedy; what could not be read is sampled again.
    fn temperature(&self, role: Role, is_again: bool) -> f32 {
        let first = if matches!(role, Role::Supporter | Role::User) { self.0.temperature } else { 0.0 };
        if is_again { first.max(self.0.retry_temperature) } else { first }
    }

    /// One text per request. Greedy ones come in one call. Others have a call and a seed each: what is drawn in a call depends on what else
    /// is in it, and no tree may depend on the others.
    fn ask(&self, model: &Model, requests: Vec<(usize, String, f32, u64)>) -> Result<Vec<(usize, String)>, Error> {
        let max_tokens = Some(self.0.max_tokens);
        let (greedy, sampled): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|(_, _, temperature, _)| *temperature == 0.0);
        let mut said = Vec::new();
        if !greedy.is_empty() {
            let (places, texts): (Vec<usize>, Vec<String>) =
                greedy.into_iter().map(|(at, text, _, _)| (at, text)).unzip();
            let sampling = Sampling { max_tokens, ..Sampling::greedy() };
            let told = model.generate(&Prompts::new().users(&texts), &sampling)?.texts();
            said.extend(places.into_iter().zip(told));
        }
        for (at, text, temperature, seed) in sampled {
            let sampling = Sampling { max_tokens, seed: Some(seed), ..Sampling::at(temperature, 1) };
            let told = model.generate(&Prompts::new().users(&[text]), &sampling)?.texts();
            said.extend(told.into_iter().map(|told| (at, told)));
        }
        Ok(said)
    }

    /// Tells the training set what a tree says; how many pairs or labelled turns that is.
    fn tell(&self, row: usize, search: &Search<'_>, chosen: &TrainingSet) -> usize {
        let settings = &self.0;
        let tree = &search.tree;
        chosen.note(row, "iterations", f64::from(search.iterations));
        chosen.note(row, "requests", f64::from(search.requests));
        chosen.note(row, "ends", tree.ends() as f64);
        if tree.good_ends(settings.bounds()).is_empty() {
            chosen.omit(row, NO_GOOD_END);
            return 0;
        }
        let system = Parts(vec![("strategies", &settings.list)]).fill(&settings.system);
        let mut groups: Vec<(String, Vec<(&str, String)>)> = Vec::new();
        let mut add = |group| {
            if !groups.contains(&group) {
                groups.push(group);
            }
        };
        let said = |node: usize| {
            let turn = tree.nodes[node].turn.as_ref();
            turn.map_or_else(String::new, |turn| written(turn.strategy, &turn.said, &settings.strategies))
        };
        let good = tree.good_turns(settings.bounds());
        for &node in &good {
            let history = tree.nodes[node].parent.map_or_else(Vec::new, |parent| tree.history(parent));
            let prompt = conversation(&system, &history, &settings.strategies);
            if settings.export == Export::Labels {
                add((prompt.clone(), vec![(CHOSEN, said(node))]));
            }
            for bad in tree.bad_beside(node, &good, settings.bounds()) {
                let rejected = (REJECTED, said(bad));
                match settings.export {
                    Export::Pairs => add((prompt.clone(), vec![(CHOSEN, said(node)), rejected])),
                    Export::Labels => add((prompt.clone(), vec![rejected])),
                }
            }
        }
        for (prompt, members) in &groups {
            let members: Vec<(&str, &str)> = members.iter().map(|(role, text)| (*role, text.as_str())).collect();
            chosen.add_group(prompt, &members, PROVENANCE, Some(row));
        }
        chosen.omit(row, if groups.is_empty() { NO_PAIR } else { SEARCHED });
        groups.len()
    }
}

/// Another stream of random numbers for these numbers: FNV-1a over their bytes, mixed once more.
fn stream(seed: u64, numbers: &[u64]) -> u64 {
    let bytes = std::iter::once(&seed).chain(numbers).flat_map(|number| number.to_le_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What the searches of a call took, and how they ended.
fn report(trees: &[Rooted<'_>], told: usize) {
    if trees.is_empty() {
        return;
    }
    let sum = |count: fn(&Search<'_>) -> u32| trees.iter().map(|(_, _, search)| f64::from(count(search))).sum::<f64>();
    let ended = |ending| trees.iter().filter(|(_, _, search)| search.ending == Some(ending)).count() as f64;
    log::metric("rows", told as f64);
    log::metric("requests", sum(|search| search.requests));
    log::metric("unread", sum(|search| search.unread));
    log::metric("spent", ended(Ending::Spent));
    log::metric("stuck", ended(Ending::Stuck));
}

impl Measure for Cso {
    fn measure(&self, evaluation: &Evaluation) -> Result<Vec<(String, f64)>, Error> {
        let names = &self.0.strategies;
        let gold = |text: Option<String>| {
            let text = text?;
            let is_name = |name: &String| name.eq_ignore_ascii_case(text.trim());
            strategy_of(&text, names).map(|(strategy, _)| strategy).or_else(|| names.iter().position(is_name))
        };
        let golds = match self.0.gold_column.as_str() {
            "" => evaluation.references(),
            column => evaluation.column(column),
        };
        let mut pairs = Vec::new();
        for (row, (answer, text)) in evaluation.answers().iter().zip(golds).enumerate() {
            match gold(text) {
                Some(gold) => pairs.push((strategy_of(answer, names).map(|(strategy, _)| strategy), gold)),
                None => log::skip(row, NO_GOLD),
            }
        }
        let confusion = Confusion::of(&pairs, names.len());
        let Some((macro_f1, weighted_f1)) = confusion.f1s() else {
            let name = evaluation.name();
            return Err(Error::unsupported(format!("no row of `{name}` has a gold strategy; is `gold-column` right?")));
        };
        let share = |is: fn(&(Option<usize>, usize)) -> bool| {
            pairs.iter().filter(|pair| is(pair)).count() as f64 / pairs.len() as f64
        };
        let preferences = confusion.preferences();
        if !preferences.is_settled {
            log::warn(
                "the preferences did not settle: some strategy is never passed over, or never named where another is right",
            );
        }
        Ok([
            ("accuracy", share(|(named, gold)| *named == Some(*gold))),
            ("macro-f1", macro_f1),
            ("weighted-f1", weighted_f1),
            ("preference-bias", preferences.bias()),
            ("named", share(|(named, _)| named.is_some())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
    }
}

tunesmith_sdk::export!(Cso: curate, measure);

#[cfg(test)]
mod tests;
