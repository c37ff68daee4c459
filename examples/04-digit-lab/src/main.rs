//! Runs the digit lab's experiments and prints their tables:
//! `cargo run -p digit-lab [EXPERIMENT|fixture]`; without a word all experiments.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use digit_lab::lab::{self, Arm, Outcome};
use digit_lab::probe::{Likelihood, Probe};
use digit_lab::table::{number, table};
use digit_lab::task::{self, Row};
use digit_lab::{
    contrast, count, critique, dft, documents, drafts, ensemble, explore, fait, grape, languages, online, otr,
    preference,
};
use tunesmith_train::device;
use tunesmith_train::model::{LanguageModel, WeightType};

/// Samples per row behind the accuracy at temperature 1.
const SAMPLES: u32 = 4;

/// An experiment's word on the command line, and what it does.
type Experiment = (&'static str, fn(&Lab) -> anyhow::Result<()>);

const EXPERIMENTS: [Experiment; 16] = [
    ("selective", Lab::selective),
    ("objectives", Lab::noise),
    ("grape", Lab::grape),
    ("critique", Lab::critique),
    ("aft", Lab::aft),
    ("sicl", Lab::sicl),
    ("otr", Lab::otr),
    ("fait", Lab::fait),
    ("dft", Lab::dft),
    ("grpo", Lab::grpo),
    ("dpo", Lab::dpo),
    ("fgrpr", Lab::fgrpr),
    ("contrast", Lab::contrast),
    ("languages", Lab::languages),
    ("selm", Lab::explore),
    ("autonomous", Lab::documents),
];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let lab = Lab::open()?;
    match words.as_slice() {
        [] => EXPERIMENTS.iter().try_for_each(|(_, run)| run(&lab)),
        [word] if word == "fixture" => lab.fixture(),
        [word] => match EXPERIMENTS.iter().find(|(name, _)| name == word) {
            Some((_, run)) => run(&lab),
            None => bail!("there is no experiment `{word}`; there are {}, and `fixture`", names()),
        },
        _ => bail!("name one experiment, or none for all: {}", names()),
    }
}

fn names() -> String {
    EXPERIMENTS.map(|(name, _)| name).join(", ")
}

/// Where everything lies.
struct Lab {
    recipes: PathBuf,
    runs: PathBuf,
    /// The folder of this start's arms.
    arms: PathBuf,
}

impl Lab {
    /// Makes data and the random model if they are not there yet.
    fn open() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (recipes, runs) = (root.join("recipes"), root.join("runs"));
        if !runs.join("fresh").exists() {
            say("making data and a random model")?;
            lab::prepare(&runs, lab::FULL)?;
        }
        let free = (1..1000).map(|number: u32| runs.join(format!("arms-{number}"))).find(|folder| !folder.exists());
        Ok(Self { recipes, runs, arms: free.context("no free name below `runs`")? })
    }

    fn train(&self, arm: &Arm, folder: &Path) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        let outcome = lab::run(&self.recipes, arm, &[], folder)?;
        let summary = &outcome.summary;
        let seconds = start.elapsed().as_secs_f64();
        say(&format!("{}: {} steps, {} tokens, {seconds:.0} s", arm.name, summary.steps, summary.tokens))?;
        Ok(outcome)
    }

    /// Trains a base, unless that was done before.
    fn base(&self, name: &'static str) -> anyhow::Result<PathBuf> {
        let folder = self.runs.join(name);
        if !folder.join("summary.json").exists() {
            let outcome = self.train(&Arm { name: name.into(), recipe: name, set: Vec::new() }, &folder)?;
            for set in &outcome.summary.sets {
                say(&format!("{name}: {} {:?}", set.name, set.after))?;
            }
        }
        Ok(folder.join("model"))
    }

    /// Plain fine-tuning, S3FT and SSR with the same steps and batches.
    fn selective(&self) -> anyhow::Result<()> {
        let base = Probe::open(&self.base("base-mixed")?)?;
        let head =
            ["arm", "task", "retained", "kl task", "kl retained", "base nll of targets", "self", "paraphrase", "gold"];
        let (mut rows, mut outcomes) = (vec![head.map(String::from).to_vec()], Vec::new());
        for arm in lab::selective() {
            let outcome = self.train(&arm, &self.arms.join(&arm.name))?;
            if rows.len() == 1 {
                let gold = base.likelihood(&task::read(&lab::data(&self.runs, "train"))?)?;
                let before = |set: &str| number(outcome.before(set, "accuracy"));
                let row =
                    ["base".into(), before("task"), before("retained"), "0".into(), "0".into(), number(Some(gold.nll))];
                rows.push(row.to_vec());
            }
            let after = |set: &str, metric: &str| number(outcome.after(set, metric));
            let mut row = vec![arm.name.clone(), after("task", "accuracy"), after("retained", "accuracy")];
            row.extend([after("task", "kl"), after("retained", "kl")]);
            let targets: Vec<Row> = outcome.targets()?.into_iter().map(|(row, _)| row).collect();
            row.push(number(Some(base.likelihood(&targets)?.nll)));
            row.extend(["self", "paraphrase", "gold"].map(|provenance| outcome.rows(provenance).to_string()));
            rows.push(row);
            outcomes.push(outcome);
        }
        say(&format!("\nselective: gold answers in a foreign style\n{}", table(&rows)))?;
        claims(&outcomes)
    }

    /// GRAPE and its controls on answers in three styles.
    fn grape(&self) -> anyhow::Result<()> {
        grape::prepare(&self.runs, lab::FULL)?;
        let base = Probe::open(&self.base("base-mixed")?)?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = grape::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\ngrape: answers in three styles\n{}", table(&grape::rows(&base, &outcomes)?)))?;
        grape::claims(&outcomes).iter().try_for_each(|claim| say(claim))
    }

    /// Critique fine-tuning and plain fine-tuning on noisy answers, and the first as a teacher.
    fn critique(&self) -> anyhow::Result<()> {
        critique::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-strong")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = critique::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\ncritique: noisy answers\n{}", table(&critique::rows(&self.runs, &base, &outcomes)?)))?;
        let critic = outcomes.iter().find(|arm| arm.name == critique::CRITIC).context("there is such an arm")?;
        say(&critique::taught(&train(&critique::teacher(critic.model()))?))
    }

    /// Aggregation fine-tuning and plain fine-tuning on rows with drafts; then both answer from drafts of the data, and from their own.
    fn aft(&self) -> anyhow::Result<()> {
        drafts::prepare(&self.runs, lab::FULL)?;
        self.base("base-mixed")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let (mut rows, mut given) = (vec![drafts::head()], None);
        rows.extend(drafts::controls(&self.runs)?);
        let trained = drafts::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        for outcome in &trained {
            rows.push(drafts::line(&format!("{} plainly", outcome.name), outcome, outcome.summary.steps)?);
            for (name, settings) in drafts::ANSWERS {
                let answered = train(&drafts::answering(outcome, name, settings))?;
                rows.push(drafts::line(&answered.name, &answered, 0)?);
                given.get_or_insert(answered);
            }
        }
        say(&format!("\naft: five drafts, half of the prompt hidden\n{}", table(&rows)))?;
        let (Some(given), [aft, sft]) = (given, &trained[..]) else { bail!("an arm is missing") };
        drafts::claims(&self.runs, aft, sft, &given)?.iter().try_for_each(|claim| say(claim))
    }

    /// Fine-tuning with demonstrations, and plain fine-tuning, each as an ensemble of templates.
    fn sicl(&self) -> anyhow::Result<()> {
        ensemble::prepare(&self.runs, lab::FULL)?;
        self.base("base-classes")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = ensemble::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\nsicl: three noisy classes\n{}", table(&ensemble::rows(&self.recipes, &outcomes)?)))?;
        ensemble::claims(&outcomes).iter().try_for_each(|claim| say(claim))
    }

    /// One-token rollouts, plain fine-tuning and DFT on answers in a style that the base writes half of the time.
    fn otr(&self) -> anyhow::Result<()> {
        otr::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-mixed")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = otr::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\notr: answers in a style of the base\n{}", table(&otr::rows(&self.runs, &base, &outcomes)?)))?;
        otr::claims(&outcomes).iter().try_for_each(|claim| say(claim))
    }

    /// Plain fine-tuning and weights on what tells right from wrong answers.
    fn fait(&self) -> anyhow::Result<()> {
        fait::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-strong")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = fait::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\nfait: three digits in a template\n{}", table(&fait::rows(&self.runs, &base, &outcomes)?)))
    }

    /// Discriminative fine-tuning and plain fine-tuning on additions.
    fn dft(&self) -> anyhow::Result<()> {
        dft::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-half")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = dft::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\ndft: additions\n{}", table(&dft::rows(&self.runs, &base, &outcomes)?)))
    }

    /// Online training on rewards for right additions.
    fn grpo(&self) -> anyhow::Result<()> {
        otr::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-mixed")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = online::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\ngrpo: additions, rewarded\n{}", table(&online::rows(&self.runs, &base, &outcomes)?)))
    }

    /// Preferences for right additions.
    fn dpo(&self) -> anyhow::Result<()> {
        preference::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-mixed")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = preference::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\ndpo: right and wrong additions\n{}", table(&preference::rows(&base, &outcomes)?)))
    }

    /// Graded and binary rewards for numbers, and plain fine-tuning on them.
    fn fgrpr(&self) -> anyhow::Result<()> {
        count::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-count")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = count::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\nfgrpr: numbers, rewarded\n{}", table(&count::rows(&self.runs, &base, &outcomes)?)))
    }

    /// Self-Contrast on additions, after fine-tuning.
    fn contrast(&self) -> anyhow::Result<()> {
        contrast::prepare(&self.runs, lab::FULL)?;
        self.base("base-half")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = contrast::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\ncontrast: additions\n{}", table(&contrast::rows(&self.runs, &outcomes)?)))
    }

    /// Cross-lingual optimization, and fine-tuning on both languages.
    fn languages(&self) -> anyhow::Result<()> {
        languages::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-languages")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = languages::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\nlanguages: digits and letters\n{}", table(&languages::rows(&self.runs, &base, &outcomes)?)))
    }

    /// Iterated preferences with and without optimism.
    fn explore(&self) -> anyhow::Result<()> {
        explore::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-half")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = explore::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\nselm: additions\n{}", table(&explore::rows(&self.runs, &base, &outcomes)?)))
    }

    /// Learning facts from documents, and continued pretraining on them.
    fn documents(&self) -> anyhow::Result<()> {
        documents::prepare(&self.runs, lab::FULL)?;
        let base = self.base("base-documents")?;
        let train = |arm: &Arm| self.train(arm, &self.arms.join(&arm.name));
        let outcomes = documents::arms().iter().map(train).collect::<anyhow::Result<Vec<_>>>()?;
        say(&format!("\nautonomous: twenty facts\n{}", table(&documents::rows(&self.runs, &base, &outcomes)?)))
    }

    /// Keeps the mixed base for the golden tests, at two bytes per weight.
    fn fixture(&self) -> anyhow::Result<()> {
        let source = self.base("base-mixed")?;
        let model = LanguageModel::load(&source, &device::open("cpu")?)?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/base-mixed");
        Ok(model.decoder.save(&folder, &source, WeightType::Bf16)?)
    }

    /// The objectives on a strong and on a weak base.
    fn noise(&self) -> anyhow::Result<()> {
        self.objectives("noisy", "held-out")?;
        self.objectives("recoded", "recoded-held-out")
    }

    /// The objectives on one training set, measured on held-out rows of one kind.
    fn objectives(&self, recipe: &'static str, held_out: &str) -> anyhow::Result<()> {
        let held_out = task::read(&lab::data(&self.runs, held_out))?;
        let base = self.base("base-strong")?;
        let train = task::read(&lab::data(&self.runs, recipe))?;
        let probe = Probe::open(&base)?;
        let Likelihood { mean_p, .. } = probe.likelihood(&train[..lab::FULL.train.min(train.len())])?;
        let mut rows = vec![["arm", "greedy", "sampled", "nll of gold"].map(String::from).to_vec()];
        let sampled = |probe: &Probe| Ok::<_, anyhow::Error>(number(Some(probe.sampled_accuracy(&held_out, SAMPLES)?)));
        let nll = |probe: &Probe| Ok::<_, anyhow::Error>(number(Some(probe.likelihood(&held_out)?.nll)));
        for arm in lab::objectives(recipe) {
            let outcome = self.train(&arm, &self.arms.join(&arm.name))?;
            if rows.len() == 1 {
                let greedy = number(outcome.before("eval", "accuracy"));
                rows.push(vec!["base".into(), greedy, sampled(&probe)?, nll(&probe)?]);
            }
            let after = Probe::open(outcome.model())?;
            rows.push(vec![arm.name, number(outcome.after("eval", "accuracy")), sampled(&after)?, nll(&after)?]);
        }
        say(&format!("\n{recipe}: the base's mean p of the training tokens is {mean_p:.4}\n{}", table(&rows)))
    }
}

/// Whether S3FT's and SSR's signature shows: less divergence and less forgetting than plain fine-tuning.
fn claims(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let [plain, methods @ ..] = outcomes else { return Ok(()) };
    for method in methods {
        for (set, metric, is_better) in [
            ("task", "kl", f64::lt as fn(&f64, &f64) -> bool),
            ("retained", "kl", f64::lt),
            ("retained", "accuracy", f64::gt),
        ] {
            let (Some(found), Some(other)) = (method.after(set, metric), plain.after(set, metric)) else {
                continue;
            };
            let verdict = if is_better(&found, &other) { "holds" } else { "does not hold" };
            let name = &method.name;
            say(&format!("{name}: {set} {metric} better than plain fine-tuning ({found:.3}, {other:.3}): {verdict}"))?;
        }
    }
    Ok(())
}

/// Prints a line at once.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot print")
}
