//! Growing a tree of facts, the leaf whose split explains most first.

use std::collections::BinaryHeap;

use super::features::{BACK, EARLY, Fact, Kind, Texts};

/// How large a tree may grow, and on how many rows.
#[derive(Clone, Debug)]
pub struct Limits {
    pub leaves: usize,
    /// Rows that both sides of a split have at least.
    pub least: usize,
    /// Rows that are read, those that are held out among them.
    pub rows: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { leaves: 16, least: 8, rows: 200_000 }
    }
}

/// Share of all variance that a split explains at least.
const WORTH: f64 = 1e-3;

/// A tree of questions; node 0 is the root.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub nodes: Vec<Node>,
}

/// A question, or an answer where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Mean of the rows that came here, and how many they were.
    pub mean: f64,
    pub rows: usize,
    /// What is asked, and where to go on: if so, if not.
    pub split: Option<(Fact, usize, usize)>,
}

/// One way from the root to a leaf.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Facts, and whether each holds.
    pub facts: Vec<(Fact, bool)>,
    pub mean: f64,
    pub rows: usize,
}

impl Tree {
    /// What it says of each row.
    pub fn predict(&self, texts: &Texts) -> Vec<f32> {
        (0..texts.rows())
            .map(|row| {
                let mut at = 0;
                while let Some((fact, yes, no)) = self.nodes[at].split {
                    at = if texts.holds(fact, row) { yes } else { no };
                }
                self.nodes[at].mean as f32
            })
            .collect()
    }

    /// All ways to leaves, the highest first.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        let mut open = vec![(0, Vec::new())];
        while let Some((at, facts)) = open.pop() {
            let node: &Node = &self.nodes[at];
            match node.split {
                None => paths.push(Path { facts, mean: node.mean, rows: node.rows }),
                Some((fact, yes, no)) => {
                    let with = |holds| [&facts[..], &[(fact, holds)]].concat();
                    open.extend([(no, with(false)), (yes, with(true))]);
                }
            }
        }
        paths.sort_by(|a, b| b.mean.total_cmp(&a.mean));
        paths
    }
}

/// A tree that predicts `values`, one a row of `texts`. Panics on another number.
pub fn grow(texts: &Texts, values: &[f32], limits: &Limits) -> Tree {
    assert_eq!(texts.rows(), values.len(), "texts and values");
    let all: Vec<u32> = (0..texts.rows() as u32).collect();
    let total = spread(&all, values);
    let mut tree = Tree { nodes: vec![leaf(&all, values)] };
    let mut scratch = Scratch::new(texts.words());
    let mut open = BinaryHeap::new();
    let mut offer = |at: usize, rows: Vec<u32>, open: &mut BinaryHeap<Open>| {
        if let Some((gain, fact)) = scratch.best(texts, values, &rows, limits.least)
            && gain > WORTH * total
        {
            open.push(Open { gain, at, fact, rows });
        }
    };
    offer(0, all, &mut open);
    let mut leaves = 1;
    while leaves < limits.leaves
        && let Some(Open { at, fact, rows, .. }) = open.pop()
    {
        let (yes, no): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(|&row| texts.holds(fact, row as usize));
        let next = tree.nodes.len();
        tree.nodes[at].split = Some((fact, next, next + 1));
        tree.nodes.extend([leaf(&yes, values), leaf(&no, values)]);
        leaves += 1;
        offer(next, yes, &mut open);
        offer(next + 1, no, &mut open);
    }
    tree
}

fn leaf(rows: &[u32], values: &[f32]) -> Node {
    let sum: f64 = rows.iter().map(|&row| f64::from(values[row as usize])).sum();
    Node { mean: sum / rows.len().max(1) as f64, rows: rows.len(), split: None }
}

/// Squared deviations from the mean.
fn spread(rows: &[u32], values: &[f32]) -> f64 {
    let mean = leaf(rows, values).mean;
    rows.iter().map(|&row| (f64::from(values[row as usize]) - mean).powi(2)).sum()
}

/// A leaf that could be split.
struct Open {
    gain: f64,
    at: usize,
    fact: Fact,
    rows: Vec<u32>,
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.gain.total_cmp(&other.gain).then(other.at.cmp(&self.at))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Open {}

/// Sums by word, kept between searches so that only what was touched is cleared.
struct Scratch {
    sums: Vec<(u32, f64)>,
    touched: Vec<u32>,
}

impl Scratch {
    fn new(words: usize) -> Scratch {
        Scratch { sums: vec![(0, 0.0); words], touched: Vec::new() }
    }

    /// The fact whose split of `rows` lowers the squared deviations most, and by how much.
    fn best(&mut self, texts: &Texts, values: &[f32], rows: &[u32], least: usize) -> Option<(f64, Fact)> {
        if rows.len() < 2 * least {
            return None;
        }
        let whole = (rows.len(), rows.iter().map(|&row| f64::from(values[row as usize])).sum::<f64>());
        let mut best: Option<(f64, Fact)> = None;
        let mut offer = |n: u32, sum: f64, fact: Fact| {
            let gain = gain((n as usize, sum), whole, least);
            if gain > 0.0 && best.is_none_or(|(g, _)| gain > g) {
                best = Some((gain, fact));
            }
        };
        for back in 0..=BACK {
            for &row in rows {
                if let Some(word) = texts.word(row as usize, back) {
                    self.add(word, values[row as usize]);
                }
            }
            self.take(|word, n, sum| offer(n, sum, Fact::Word { back: back as u8, word }));
        }
        for &row in rows {
            texts.near(row as usize).for_each(|word| self.add(word, values[row as usize]));
        }
        self.take(|word, n, sum| offer(n, sum, Fact::Near(word)));
        let few = Kind::ALL.into_iter().map(Fact::Kind).chain(EARLY.into_iter().map(Fact::Early));
        for fact in few {
            let there = rows.iter().filter(|row| texts.holds(fact, **row as usize));
            let (n, sum) = there.fold((0, 0.0), |(n, s), &row| (n + 1, s + f64::from(values[row as usize])));
            offer(n, sum, fact);
        }
        best
    }

    fn add(&mut self, word: u32, value: f32) {
        let (n, sum) = &mut self.sums[word as usize];
        if *n == 0 {
            self.touched.push(word);
        }
        *n += 1;
        *sum += f64::from(value);
    }

    /// Gives out what was added, in the order of words, and forgets it.
    fn take(&mut self, mut each: impl FnMut(u32, u32, f64)) {
        self.touched.sort_unstable();
        for word in self.touched.drain(..) {
            let (n, sum) = std::mem::take(&mut self.sums[word as usize]);
            each(word, n, sum);
        }
    }
}

/// By how much two means lower the squared deviations from one.
fn gain((n, sum): (usize, f64), (all, total): (usize, f64), least: usize) -> f64 {
    if n < least || all - n < least {
        return 0.0;
    }
    let (n, rest) = (n as f64, (all - n) as f64);
    let apart = sum / n - (total - sum) / rest;
    n * rest / (n + rest) * apart * apart
}
