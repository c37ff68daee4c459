//! One tree's search: a machine that asks models one thing at a time and goes on with what they say.
//!
//! Because it waits between a request and its answer, many trees can be asked about in one call, and none sees the others.

use crate::dialogue::{Message, Turn, shown};
use crate::math;
use crate::reading::{number_behind, utterance};
use crate::settings::{ASPECTS, Settings};
use crate::template::Parts;
use crate::tree::Tree;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Rates strategies.
    Rater,
    /// Speaks as the supporter.
    Supporter,
    /// Replies as the user.
    User,
    /// Grades a turn.
    Judge,
}

/// Where a turn belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To a node of the tree.
    Node(usize),
    /// To the simulation, whose turns are forgotten.
    Simulation,
}

/// What is asked.
#[derive(Debug, Clone)]
enum Asking {
    /// How feasible the strategies are after this place.
    Rate(Place),
    /// What the supporter says under this strategy.
    Speak(Place, usize),
    /// What the user replies to this.
    Reply(Place, usize, String),
    /// How good a turn of the simulation is; the first is that of the node.
    Judge(usize),
}

/// What is being done in the current iteration.
#[derive(Debug, Clone, Default)]
struct Walk {
    /// The node whose turn starts the simulation, and from which the reward goes up.
    from: Option<usize>,
    /// The turns after it.
    turns: Vec<Turn>,
    /// The scores that could be read.
    scores: Vec<f64>,
}

/// Why a search is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A stop rule holds.
    Done,
    /// The requests are used up.
    Spent,
    /// A model gave nothing that the search could go on with.
    Stuck,
}

/// The search.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    settings: &'a Settings,
    situation: &'a str,
    /// The tree so far.
    pub tree: Tree,
    asking: Option<Asking>,
    walk: Walk,
    /// How often the current request was answered with what could not be read.
    attempt: u32,
    /// How many iterations were finished.
    pub iterations: u32,
    /// How many texts were asked for.
    pub requests: u32,
    /// How many could not be read.
    pub unread: u32,
    /// Why the search is over; none while it goes on.
    pub ending: Option<Ending>,
}

impl<'a> Search<'a> {
    /// Starts a search.
    pub fn new(settings: &'a Settings, situation: &'a str, tree: Tree) -> Self {
        let mut search = Self {
            settings,
            situation,
            tree,
            asking: None,
            walk: Walk::default(),
            attempt: 0,
            iterations: 0,
            requests: 0,
            unread: 0,
            ending: None,
        };
        search.begin();
        search
    }

    /// Whom to ask what next, and whether the last answer to it could not be read; none when the search is over.
    pub fn request(&self) -> Option<(Role, String, bool)> {
        let asking = self.asking.as_ref().filter(|_| self.ending.is_none())?;
        let settings = self.settings;
        let (role, template) = match asking {
            Asking::Rate(_) => (Role::Rater, &settings.rate_prompt),
            Asking::Speak(..) => (Role::Supporter, &settings.speak_prompt),
            Asking::Reply(..) => (Role::User, &settings.reply_prompt),
            Asking::Judge(_) => (Role::Judge, &settings.judge_prompt),
        };
        let is_named = matches!(role, Role::Rater | Role::Judge);
        let history = shown(&self.history(asking), &settings.strategies, is_named);
        let strategy = if let Asking::Speak(_, strategy) = asking { Some(*strategy) } else { None };
        let parts = Parts(vec![
            ("history", &history),
            ("situation", self.situation),
            ("strategies", &settings.list),
            ("strategy", strategy.map_or("", |strategy| settings.strategies[strategy].as_str())),
            ("description", strategy.map_or("", |strategy| settings.description(strategy))),
            ("end", &settings.end),
        ]);
        Some((role, parts.fill(template), 0 < self.attempt))
    }

    /// The dialogue that a request is about.
    fn history(&self, asking: &Asking) -> Vec<Message> {
        let tree = &self.tree;
        let before =
            |node: usize| tree.nodes[node].parent.map_or_else(|| tree.start.clone(), |parent| tree.history(parent));
        let simulated = |count: usize| {
            let from = self.walk.from.map_or_else(Vec::new, |node| tree.history(node));
            from.into_iter().chain(self.walk.turns[..count].iter().flat_map(Turn::messages)).collect::<Vec<_>>()
        };
        let all = self.walk.turns.len();
        match asking {
            Asking::Rate(Place::Node(node)) => tree.history(*node),
            Asking::Speak(Place::Node(node), _) => before(*node),
            Asking::Rate(Place::Simulation) | Asking::Speak(Place::Simulation, _) => simulated(all),
            Asking::Reply(place, strategy, said) => {
                let mut history = if let Place::Node(node) = place { before(*node) } else { simulated(all) };
                history.push(Message { is_user: false, strategy: Some(*strategy), text: said.clone() });
                history
            }
            Asking::Judge(turn) => {
                let mut history = simulated(*turn);
                // The supporter's turn is judged, not the reply to it.
                while history.last().is_some_and(|last| last.is_user) {
                    history.pop();
                }
                history
            }
        }
    }

    /// Goes on with what the model said.
    pub fn told(&mut self, text: &str) {
        let Some(asking) = self.asking.take() else { return };
        self.requests += 1;
        let is_read = self.read(&asking, text);
        if !is_read {
            self.unread += 1;
            self.attempt += 1;
            if self.attempt <= self.settings.retries {
                self.asking = Some(asking);
            } else {
                self.give_up(&asking);
            }
        }
        if self.ending.is_none() && self.settings.requests <= self.requests {
            self.ending = Some(Ending::Spent);
        }
    }

    /// Takes an answer; false if nothing can be read from it.
    fn read(&mut self, asking: &Asking, text: &str) -> bool {
        let settings = self.settings;
        match asking {
            Asking::Rate(place) => {
                let rating =
                    |(strategy, name): (usize, &String)| Some((strategy, number_behind(text, name, 0.0..=10.0)?));
                let rated: Vec<(usize, f64)> = settings.strategies.iter().enumerate().filter_map(rating).collect();
                if rated.is_empty() {
                    return false;
                }
                self.rated(*place, &rated);
            }
            Asking::Speak(place, strategy) => {
                let Some(said) = utterance(text, &settings.strategies) else { return false };
                self.ask(Asking::Reply(*place, *strategy, said));
            }
            Asking::Reply(place, strategy, said) => {
                let reply = if text.contains(&settings.end) { Some(None) } else { utterance(text, &[]).map(Some) };
                let Some(reply) = reply else { return false };
                self.said(*place, Turn { strategy: *strategy, said: said.clone(), reply });
            }
            Asking::Judge(turn) => {
                let grades: Vec<f64> = ASPECTS.iter().filter_map(|name| number_behind(text, name, 0.0..=4.0)).collect();
                let Ok(grades) = <[f64; 4]>::try_from(grades) else { return false };
                let score = math::turn_score(grades, settings.weights);
                if let Some(node) = self.walk.from.filter(|_| *turn == 0) {
                    self.tree.nodes[node].score = Some(score);
                }
                self.walk.scores.push(score);
                self.judge(turn + 1);
            }
        }
        true
    }

    /// Goes on without an answer, where that is possible.
    fn give_up(&mut self, asking: &Asking) {
        match asking {
            Asking::Rate(place) => {
                let equal: Vec<(usize, f64)> =
                    (0..self.settings.strategies.len()).map(|strategy| (strategy, 0.0)).collect();
                self.rated(*place, &equal);
            }
            Asking::Judge(turn) => self.judge(turn + 1),
            Asking::Speak(..) | Asking::Reply(..) => self.ending = Some(Ending::Stuck),
        }
    }

    fn ask(&mut self, asking: Asking) {
        self.attempt = 0;
        self.asking = Some(asking);
    }

    /// Begins the next iteration, or ends the search.
    fn begin(&mut self) {
        self.walk = Walk::default();
        let Settings { exploration, iterations, most_iterations, ends, most_ends, .. } = *self.settings;
        let node = self.tree.select(exploration);
        let found = self.tree.ends();
        let is_enough = (iterations <= self.iterations && ends <= found) || most_ends <= found;
        // As in the authors' code: an end that selection goes to is visited first, which costs little.
        if most_iterations <= self.iterations || (is_enough && !self.tree.is_end(node)) {
            self.ending = Some(Ending::Done);
        } else if node != crate::tree::ROOT && self.tree.nodes[node].turn.is_none() {
            self.ask(Asking::Speak(Place::Node(node), self.tree.nodes[node].strategy));
        } else {
            self.reached(node);
        }
    }

    /// A selected node has its turn.
    fn reached(&mut self, node: usize) {
        if self.tree.is_end(node) {
            self.walk.from = Some(node);
            self.judge(0);
        } else {
            self.ask(Asking::Rate(Place::Node(node)));
        }
    }

    /// The strategies after a place have ratings.
    fn rated(&mut self, place: Place, rated: &[(usize, f64)]) {
        let ratings: Vec<f64> = rated.iter().map(|(_, rating)| *rating).collect();
        let priors = math::priors(&ratings, self.settings.prior_temperature);
        match place {
            Place::Node(node) => {
                let is_real = !self.tree.nodes[node].children.is_empty();
                let priors: Vec<(usize, f64)> = rated.iter().map(|(strategy, _)| *strategy).zip(priors).collect();
                self.tree.expand(node, &priors);
                match self.tree.likeliest_child(node).filter(|_| !is_real) {
                    Some(child) => {
                        self.walk.from = Some(child);
                        self.ask(Asking::Speak(Place::Node(child), self.tree.nodes[child].strategy));
                    }
                    // A turn of a real dialogue was visited before it was rated: select again.
                    None => self.begin(),
                }
            }
            Place::Simulation => {
                let best = math::argmax(priors.into_iter()).map_or(0, |at| rated[at].0);
                self.ask(Asking::Speak(Place::Simulation, best));
            }
        }
    }

    /// A turn was said and replied to.
    fn said(&mut self, place: Place, turn: Turn) {
        let is_end = turn.is_end();
        match place {
            Place::Node(node) => {
                self.tree.nodes[node].turn = Some(turn);
                if self.walk.from != Some(node) {
                    return self.reached(node);
                }
            }
            Place::Simulation => self.walk.turns.push(turn),
        }
        if is_end || self.settings.simulated_turns <= self.walk.turns.len() {
            self.judge(0);
        } else {
            self.ask(Asking::Rate(Place::Simulation));
        }
    }

    /// Asks for the grades of this turn of the simulation; after the last one the reward goes up the tree.
    fn judge(&mut self, turn: usize) {
        let known = self.walk.from.filter(|_| turn == 0).and_then(|node| self.tree.nodes[node].score);
        let next = match known {
            Some(score) => {
                self.walk.scores.push(score);
                1
            }
            None => turn,
        };
        if next <= self.walk.turns.len() {
            return self.ask(Asking::Judge(next));
        }
        self.iterations += 1;
        let scores = &self.walk.scores;
        match self.walk.from.filter(|_| !scores.is_empty()) {
            Some(node) => {
                let reward = scores.iter().sum::<f64>() / scores.len() as f64 + self.settings.bias;
                self.tree.backup(node, reward);
                self.begin();
            }
            // Without a reward the same node would be selected for ever.
            None => self.ending = Some(Ending::Stuck),
        }
    }
}
