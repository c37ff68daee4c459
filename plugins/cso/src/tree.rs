//! The tree of a dialogue: what could be said next under which strategy, and how that went.

use std::collections::BTreeSet;

use crate::dialogue::{Message, Turn};
use crate::math;

/// The node that stands for the dialogue so far.
pub const ROOT: usize = 0;

/// What a supporter could do next.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// None of the root only.
    pub parent: Option<usize>,
    /// The strategy's number; without meaning in the root.
    pub strategy: usize,
    /// How feasible the strategy was rated, as a probability.
    pub prior: f64,
    /// The mean reward.
    pub q: f64,
    /// How many rewards there were.
    pub visits: u32,
    /// What was said, once the node was selected.
    pub turn: Option<Turn>,
    /// The children, in the order of strategies.
    pub children: Vec<usize>,
    /// Whether the strategies after this node were rated.
    pub is_expanded: bool,
    /// What the judge said of the turn.
    pub score: Option<f64>,
}

/// The nodes; a parent comes before its children.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// What was said before the search.
    pub start: Vec<Message>,
    /// The nodes, the root first.
    pub nodes: Vec<Node>,
}

/// What is good and what is bad enough to be told.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// An end is good from this mean reward on.
    pub good: f64,
    /// It has had at least so many rewards.
    pub visits: u32,
    /// A sibling is rejected up to this mean reward.
    pub bad: f64,
}

impl Tree {
    /// A tree over a dialogue, with a real continuation of it if there is one: its nodes count as visited, and as good.
    pub fn new(start: Vec<Message>, path: Vec<Turn>, seed: (f64, u32)) -> Self {
        let mut tree = Self { start, nodes: Vec::new() };
        let (q, visits) = if path.is_empty() { (0.0, 0) } else { seed };
        tree.nodes.push(Node { q, visits, ..Node::new(None, 0, 1.0) });
        let mut parent = ROOT;
        for turn in path {
            let node = Node { q, visits, ..Node::new(Some(parent), turn.strategy, 1.0) };
            parent = tree.push(Node { turn: Some(turn), ..node });
        }
        tree
    }

    fn push(&mut self, node: Node) -> usize {
        let at = self.nodes.len();
        if let Some(parent) = node.parent {
            self.nodes[parent].children.push(at);
        }
        self.nodes.push(node);
        at
    }

    /// Whether the dialogue ends with this node's turn.
    pub fn is_end(&self, node: usize) -> bool {
        self.nodes[node].turn.as_ref().is_some_and(Turn::is_end)
    }

    /// How many ends there are.
    pub fn ends(&self) -> usize {
        (0..self.nodes.len()).filter(|&node| self.is_end(node)).count()
    }

    /// Goes down from the root by the largest PUCB, as far as strategies are rated.
    pub fn select(&self, c: f64) -> usize {
        let mut node = ROOT;
        while self.nodes[node].is_expanded {
            let parent = &self.nodes[node];
            let worth = |&child: &usize| {
                let child = &self.nodes[child];
                math::pucb(child.q, child.prior, child.visits, parent.visits, c)
            };
            match math::argmax(parent.children.iter().map(worth)) {
                Some(best) => node = parent.children[best],
                None => break,
            }
        }
        node
    }

    /// Gives a node children with these priors, by strategy. One that is there already, of a real dialogue, keeps its place in the dialogue
    /// and takes its prior; if it was not rated, it gets a tenth and the others share the rest.
    pub fn expand(&mut self, node: usize, priors: &[(usize, f64)]) {
        let there = self.nodes[node].children.first().copied();
        let strategy = there.map(|child| self.nodes[child].strategy);
        let mut priors = priors.to_vec();
        if let Some(strategy) = strategy.filter(|strategy| priors.iter().all(|(its, _)| its != strategy)) {
            for (_, prior) in &mut priors {
                *prior *= 0.9;
            }
            priors.push((strategy, 0.1));
        }
        priors.sort_by_key(|(strategy, _)| *strategy);
        self.nodes[node].children.clear();
        self.nodes[node].is_expanded = true;
        for (its, prior) in priors {
            match there.filter(|_| strategy == Some(its)) {
                Some(child) => {
                    self.nodes[child].prior = prior;
                    self.nodes[node].children.push(child);
                }
                None => {
                    self.push(Node::new(Some(node), its, prior));
                }
            }
        }
    }

    /// The child with the highest prior.
    pub fn likeliest_child(&self, node: usize) -> Option<usize> {
        let children = &self.nodes[node].children;
        math::argmax(children.iter().map(|&child| self.nodes[child].prior)).map(|at| children[at])
    }

    /// Takes a reward into the means of a node and of all above it.
    pub fn backup(&mut self, node: usize, reward: f64) {
        let mut next = Some(node);
        while let Some(at) = next {
            let node = &mut self.nodes[at];
            node.q = math::running_mean(node.q, node.visits, reward);
            node.visits += 1;
            next = node.parent;
        }
    }

    /// The dialogue up to and with the user's reply to a node's turn.
    pub fn history(&self, node: usize) -> Vec<Message> {
        let mut way: Vec<&Turn> = self.way(node).filter_map(|at| self.nodes[at].turn.as_ref()).collect();
        way.reverse();
        self.start.iter().cloned().chain(way.into_iter().flat_map(Turn::messages)).collect()
    }

    /// A node and all above it.
    fn way(&self, node: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(node), |&at| self.nodes[at].parent)
    }

    /// Ends that are good and were visited often enough.
    pub fn good_ends(&self, bounds: Bounds) -> Vec<usize> {
        let is_good = |&node: &usize| {
            let Node { q, visits, .. } = self.nodes[node];
            self.is_end(node) && bounds.good <= q && bounds.visits <= visits
        };
        (0..self.nodes.len()).filter(is_good).collect()
    }

    /// The turns on the way to a good end: each once, in the order of the nodes.
    pub fn good_turns(&self, bounds: Bounds) -> Vec<usize> {
        let ways = self.good_ends(bounds).into_iter().flat_map(|end| self.way(end)).filter(|&node| node != ROOT);
        ways.collect::<BTreeSet<usize>>().into_iter().collect()
    }

    /// The turns beside a node of a good way, which are bad: said, not on a good way, with a low mean reward.
    pub fn bad_beside(&self, node: usize, good: &[usize], bounds: Bounds) -> Vec<usize> {
        let is_bad = |sibling: &usize| {
            let Node { turn, q, .. } = &self.nodes[*sibling];
            turn.is_some() && *q <= bounds.bad && !good.contains(sibling)
        };
        let siblings = self.nodes[node].parent.map_or(&[][..], |parent| &self.nodes[parent].children);
        siblings.iter().copied().filter(is_bad).collect()
    }
}

impl Node {
    fn new(parent: Option<usize>, strategy: usize, prior: f64) -> Self {
        Self {
            parent,
            strategy,
            prior,
            q: 0.0,
            visits: 0,
            turn: None,
            children: Vec::new(),
            is_expanded: false,
            score: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { good: 0.5, visits: 2, bad: 0.5 };

    fn turn(strategy: usize, said: &str, reply: Option<&str>) -> Turn {
        Turn { strategy, said: said.into(), reply: reply.map(String::from) }
    }

    fn start() -> Vec<Message> {
        vec![Message::user("hello")]
    }

    /// A real dialogue of two turns under strategies 1 and 0; both steps are rated.
    fn seeded() -> Tree {
        let path = vec![turn(1, "b", Some("well")), turn(0, "a", None)];
        let mut tree = Tree::new(start(), path, (1.0, 100));
        tree.expand(0, &[(0, 0.2), (1, 0.3), (2, 0.5)]);
        tree.expand(1, &[(1, 0.75), (2, 0.25)]);
        tree
    }

    #[test]
    fn a_real_dialogue_is_visited_and_good() {
        let tree = seeded();
        assert_eq!(tree.nodes[ROOT].children, [3, 1, 4], "in the order of strategies");
        assert_eq!((tree.nodes[2].q, tree.nodes[2].visits, tree.nodes[2].parent), (1.0, 100, Some(1)));
        let priors: Vec<f64> = tree.nodes[1].children.iter().map(|&child| tree.nodes[child].prior).collect();
        assert_eq!(priors, [0.1, 0.675, 0.225], "its strategy was not rated");
        assert_eq!(tree.ends(), 1);
        let history: Vec<String> = tree.history(2).into_iter().map(|message| message.text).collect();
        assert_eq!(history, ["hello", "b", "well", "a"]);
    }

    #[test]
    fn selection_goes_down_by_pucb_and_ends_where_nothing_is_rated() {
        let mut tree = seeded();
        assert_eq!(tree.select(1.0), 4, "0.5 * 10 / 1 is more than 1 + 0.3 * 10 / 101");
        tree.nodes[4].visits = 9;
        assert_eq!(tree.select(1.0), 3);
        tree.nodes[3].visits = 9;
        assert_eq!(tree.select(1.0), 5, "below the real turn");
        assert_eq!(tree.select(0.0), 2, "the real dialogue, by its reward alone");
        assert_eq!(Tree::new(start(), vec![], (1.0, 100)).select(1.0), ROOT);
    }

    #[test]
    fn a_reward_is_taken_into_every_mean_above() {
        let mut tree = seeded();
        tree.backup(5, -1.0);
        assert_eq!((tree.nodes[5].q, tree.nodes[5].visits), (-1.0, 1));
        for above in [1, ROOT] {
            assert_eq!((tree.nodes[above].q, tree.nodes[above].visits), (99.0 / 101.0, 101));
        }
        assert_eq!((tree.nodes[2].q, tree.nodes[4].visits), (1.0, 0));
    }

    /// Each turn of a good way with the bad ones beside it.
    fn pairs(tree: &Tree) -> Vec<(usize, Vec<usize>)> {
        let good = tree.good_turns(BOUNDS);
        good.iter().map(|&node| (node, tree.bad_beside(node, &good, BOUNDS))).collect()
    }

    #[test]
    fn bad_turns_were_said_and_lead_to_no_good_end() {
        let mut tree = seeded();
        assert_eq!(pairs(&tree), [(1, vec![]), (2, vec![])], "no sibling was said");
        tree.nodes[3].turn = Some(turn(0, "x", Some("hm")));
        tree.nodes[4].turn = Some(turn(2, "y", Some("hm")));
        tree.nodes[4].q = 0.6;
        tree.nodes[5].turn = Some(turn(1, "z", None));
        tree.nodes[5].q = 0.5;
        assert_eq!(pairs(&tree), [(1, vec![3]), (2, vec![5])]);
        tree.nodes[5].visits = 2;
        assert_eq!(tree.good_ends(BOUNDS), [2, 5]);
        assert_eq!(
            pairs(&tree),
            [(1, vec![3]), (2, vec![]), (5, vec![])],
            "a good end is not rejected, and node 1 comes once"
        );
        tree.nodes[2].visits = 1;
        tree.nodes[5].q = 0.4;
        assert_eq!(pairs(&tree), []);
    }
}
