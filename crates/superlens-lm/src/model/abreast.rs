//! Layers into which nobody looks, of models too narrow to fill a vector: [`WIDTH`] tokens of a sequence side by side in the lanes.
//!
//! What a strip of tokens reads of those before it are their keys and values, so that strips run one behind the other, each a layer or more
//! ahead of the next: one sequence keeps several threads busy without a barrier in any layer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use superlens_tensor::kernels::abreast::{
    Row, WIDTH, ZERO, add_product, each, each_mut, flat, flat_mut, from_samples, scale, softmax, to_samples,
};
use superlens_tensor::kernels::lanes::{GROUP, Group};
use superlens_tensor::kernels::smooth::{activate, activate_gated, soft_cap};
use superlens_tensor::kernels::vectors::by_vectors;
use superlens_tensor::{Mat, View};

use super::attention::alibi_slope;
use super::batch::Batch;
use super::config::{Config, NormKind, Positions, Rope, Wiring};
use super::transformer::Transformer;
use super::weights::{BlockWeights, Linear, NormWeights};

/// Wider residual streams fill vectors by themselves.
const WIDEST: usize = 256;
/// Logits that are computed together, so that they are still near when they are put where they belong.
const LOGITS: usize = 48;

/// Whether it pays: a narrow model, and lanes at least half of which hold a token.
pub(super) fn pays(config: &Config, batch: &Batch) -> bool {
    let strips: usize = (0..batch.sequences()).map(|s| (batch.rows(s).1 - batch.rows(s).0).div_ceil(WIDTH)).sum();
    let simple = config.causal && config.wiring != Wiring::Post;
    simple && config.d_model <= WIDEST && config.d_mlp <= 8 * WIDEST && 2 * batch.tokens() >= WIDTH * strips
}

/// Takes residual streams through the first `layers` layers. With `logits` (of a model whose output is one product) the last norm and the
/// output follow, and `residual` is left as it was.
pub(super) fn run(model: &Transformer, batch: &Batch, layers: usize, residual: &mut Mat, mut logits: Option<&mut Mat>) {
    let (width, vocab) = (residual.cols(), logits.as_ref().map_or(0, |l| l.cols()));
    let (mut x, mut out) = (residual.data_mut(), logits.as_mut().map_or(&mut [][..], |l| l.data_mut()));
    let mut sequences = Vec::with_capacity(batch.sequences());
    for s in 0..batch.sequences() {
        let (from, to) = batch.rows(s);
        let mut strips = Vec::with_capacity((to - from).div_ceil(WIDTH));
        for first in (0..to - from).step_by(WIDTH) {
            let tokens = WIDTH.min(to - from - first);
            let (own, rest) = x.split_at_mut(tokens * width);
            let (own_out, rest_out) = out.split_at_mut(tokens * vocab);
            (x, out) = (rest, rest_out);
            strips.push(Strip {
                model,
                layers,
                first,
                length: to - from,
                x: own,
                logits: (vocab > 0).then_some(own_out),
            });
        }
        sequences.push(strips);
    }
    let one_by_one = sequences.len() >= rayon::current_num_threads();
    sequences.into_par_iter().for_each(|strips| {
        let kept = Kept::new(layers, strips.len());
        if one_by_one {
            strips.into_iter().for_each(|mut strip| strip.run(&kept));
        } else {
            chase(strips.into_iter(), &kept);
        }
    });
}

/// Each strip on a thread of its own where there is one. A strip waits only for those before it, and they are all done or under way when it
/// begins: a thread that runs a strip does nothing else before its end.
fn chase(mut strips: std::vec::IntoIter<Strip>, kept: &Kept) {
    if let Some(mut first) = strips.next() {
        rayon::join(|| first.run(kept), || chase(strips, kept));
    }
}

/// Keys and values of each layer and strip, from when they are known.
struct Kept {
    rows: Vec<OnceLock<Vec<Row>>>,
    strips: usize,
    /// A strip panicked, and what it owes will never come.
    broken: AtomicBool,
}

impl Kept {
    fn new(layers: usize, strips: usize) -> Kept {
        Kept { rows: vec![OnceLock::new(); layers * strips], strips, broken: AtomicBool::new(false) }
    }

    fn put(&self, layer: usize, strip: usize, rows: Vec<Row>) {
        self.rows[layer * self.strips + strip].set(rows).expect("a strip runs once");
    }

    fn wait(&self, layer: usize, strip: usize) -> &[Row] {
        let cell = &self.rows[layer * self.strips + strip];
        for turn in 0u64.. {
            if let Some(rows) = cell.get() {
                return rows;
            }
            assert!(!self.broken.load(Ordering::Relaxed), "the tokens before were not computed");
            // It takes microseconds, unless the machine is busy with something else.
            if turn < 1 << 12 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        unreachable!("turns don't end")
    }
}

/// Tells those who wait if this strip comes to a bad end.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Up to [`WIDTH`] neighbouring tokens of a sequence.
struct Strip<'a> {
    model: &'a Transformer,
    layers: usize,
    /// Position of the first of them.
    first: usize,
    /// Tokens of the whole sequence.
    length: usize,
    /// `[tokens, d_model]`.
    x: &'a mut [f32],
    /// `[tokens, vocab]`.
    logits: Option<&'a mut [f32]>,
}

/// Rows for what a layer computes, used anew in each.
struct Room {
    read: Vec<Row>,
    qkv: Vec<Row>,
    /// Of the layers before, if they see as far: kept from one to the next.
    mask: Vec<Row>,
    scores: Vec<Row>,
    z: Vec<Row>,
    pre: Vec<Row>,
    linear: Vec<Row>,
    add: Vec<Row>,
    /// Sines and cosines of each rotation.
    turns: Vec<(Vec<Row>, Vec<Row>)>,
}

impl Strip<'_> {
    fn run(&mut self, kept: &Kept) {
        let _told = Told(&kept.broken);
        let config = &self.model.config;
        let rows = |n: usize| vec![ZERO; n];
        let mut x = rows(config.d_model);
        from_samples(self.x, &mut x);
        let mut room = Room {
            read: rows(config.d_model),
            qkv: rows(config.d_queries() + 2 * config.d_keys()),
            mask: Vec::new(),
            scores: Vec::new(),
            z: rows(config.d_queries()),
            pre: rows(config.d_mlp),
            linear: rows(if config.gated { config.d_mlp } else { 0 }),
            add: rows(if config.wiring == Wiring::Sandwich { config.d_model } else { 0 }),
            turns: config.ropes.iter().map(|rope| rope.abreast(self.first, self.length)).collect(),
        };
        for layer in 0..self.layers {
            self.layer(layer, &mut x, &mut room, kept);
        }
        match self.logits.take() {
            None => to_samples(&x, self.x, config.d_model, 0),
            Some(logits) => self.output(x, logits),
        }
    }

    fn layer(&self, layer: usize, x: &mut [Row], room: &mut Room, kept: &Kept) {
        let (config, w) = (&self.model.config, &self.model.weights.blocks[layer]);
        // What is added by both at once is read by both.
        let parallel = config.wiring == Wiring::Parallel;
        let before = parallel.then(|| x.to_vec());
        room.read.copy_from_slice(x);
        self.normalise(&w.ln1, &mut room.read);
        linear(&w.attn.qkv, &room.read, &mut room.qkv);
        self.attention(layer, w, room, kept);
        self.add(&w.attn.out, w.post_attn.as_ref(), &room.z, &mut room.add, x);
        room.read.copy_from_slice(before.as_deref().unwrap_or(x));
        self.normalise(&w.ln2, &mut room.read);
        linear(&w.mlp.into, &room.read, &mut room.pre);
        match &w.mlp.linear {
            None => activate(config.activation, flat_mut(&mut room.pre)),
            Some(other) => {
                linear(other, &room.read, &mut room.linear);
                activate_gated(config.activation, flat_mut(&mut room.pre), flat(&room.linear));
            }
        }
        self.add(&w.mlp.out, w.post_mlp.as_ref(), &room.pre, &mut room.add, x);
    }

    /// `x ← x + norm(from · w + b)`.
    fn add(&self, w: &Linear, norm: Option<&NormWeights>, from: &[Row], room: &mut [Row], x: &mut [Row]) {
        match norm {
            None => {
                if let Some(bias) = &w.b {
                    each_mut(x).iter_mut().zip(bias).for_each(|(row, b)| row.iter_mut().for_each(|x| *x += b));
                }
                add_product(w.w.view(), from, x);
            }
            Some(norm) => {
                linear(w, from, room);
                self.normalise(norm, room);
                flat_mut(x).iter_mut().zip(flat(room)).for_each(|(x, add)| *x += add);
            }
        }
    }

    fn normalise(&self, w: &NormWeights, x: &mut [Row]) {
        let config = &self.model.config;
        normalise(config.norm, config.eps, w.gain.as_deref(), w.bias.as_deref(), x);
    }

    /// From `room.qkv` to `room.z`.
    fn attention(&self, layer: usize, w: &BlockWeights, room: &mut Room, kept: &Kept) {
        let (config, kind) = (&self.model.config, &self.model.config.layers[layer]);
        let (d, own) = (config.d_head, self.first / WIDTH);
        let (q, kv) = room.qkv.split_at_mut(config.d_queries());
        for (gain, part) in [(&w.attn.q_norm, &mut *q), (&w.attn.k_norm, &mut kv[..config.d_keys()])] {
            if let Some(gain) = gain {
                part.chunks_exact_mut(d).for_each(|h| normalise(NormKind::Rms, config.eps, Some(gain), None, h));
            }
        }
        if let Some(rope) = kind.rope {
            let heads = q.chunks_exact_mut(d).chain(kv[..config.d_keys()].chunks_exact_mut(d));
            heads.for_each(|head| turn(&room.turns[rope], head));
        }
        kept.put(layer, own, kv.to_vec());
        flat_mut(q).iter_mut().for_each(|q| *q *= kind.scale);
        // Strips of which the first of these tokens still sees something.
        let from = kind.window.map_or(0, |w| (self.first + 1).saturating_sub(w) / WIDTH);
        if layer == 0 || kind.window != config.layers[layer - 1].window {
            self.mask(kind.window, from * WIDTH, &mut room.mask);
        }
        let all: Vec<&[Row]> = (from..=own).map(|s| kept.wait(layer, s)).collect();
        room.scores.resize(all.len() * WIDTH, ZERO);
        for (h, (q, z)) in q.chunks_exact(d).zip(room.z.chunks_exact_mut(d)).enumerate() {
            let keys = h / (config.heads / config.kv_heads) * d;
            match config.score_cap {
                None => room.scores.copy_from_slice(&room.mask),
                Some(_) => room.scores.fill(ZERO),
            }
            for (strip, scores) in all.iter().zip(room.scores.chunks_exact_mut(WIDTH)) {
                add_product(View::contiguous(d, WIDTH, flat(&strip[keys..keys + d])), q, scores);
            }
            if let Some(cap) = config.score_cap {
                soft_cap(cap, flat_mut(&mut room.scores));
                flat_mut(&mut room.scores).iter_mut().zip(flat(&room.mask)).for_each(|(s, mask)| *s += mask);
            }
            if config.positions == Positions::Alibi {
                let slope = alibi_slope(h, config.heads);
                let rows = each_mut(&mut room.scores).iter_mut().enumerate();
                rows.for_each(|(j, row)| row.iter_mut().for_each(|s| *s += slope * (from * WIDTH + j) as f32));
            }
            let factors = softmax(&mut room.scores);
            z.fill(ZERO);
            let values = config.d_keys() + keys;
            for (strip, pattern) in all.iter().zip(room.scores.chunks_exact(WIDTH)) {
                add_product(View::contiguous(d, WIDTH, flat(&strip[values..values + d])).t(), pattern, z);
            }
            scale(z, &factors);
        }
    }

    /// For keys from position `from` to the last of this strip: 0 for the queries that see them, −∞ for the others.
    fn mask(&self, window: Option<usize>, from: usize, mask: &mut Vec<Row>) {
        mask.clear();
        mask.resize(self.first + WIDTH - from, ZERO);
        for (key, row) in (from..).zip(each_mut(mask)) {
            // Queries at `key` to `key + window - 1` see it.
            let begin = key.saturating_sub(self.first).min(WIDTH);
            let end = window.map_or(WIDTH, |w| (key + w).saturating_sub(self.first).min(WIDTH)).max(begin);
            row[..begin].fill(f32::NEG_INFINITY);
            row[end..].fill(f32::NEG_INFINITY);
        }
    }

    fn output(&self, mut x: Vec<Row>, logits: &mut [f32]) {
        let w = &self.model.weights;
        if let Some(norm) = &w.final_norm {
            self.normalise(norm, &mut x);
        }
        let Some(head) = &w.head else { return };
        let all = head.own.as_ref().map_or(w.embed.t(), Mat::view);
        let mut rows = vec![ZERO; LOGITS];
        for from in (0..all.cols).step_by(LOGITS) {
            let part = View { data: &all.data[from * all.col_stride..], cols: LOGITS.min(all.cols - from), ..all };
            let rows = &mut rows[..part.cols];
            start(head.bias.as_ref().map(|b| &b[from..]), rows);
            add_product(part, &x, rows);
            if let Some(cap) = self.model.config.logit_cap {
                soft_cap(cap, flat_mut(rows));
            }
            to_samples(rows, logits, all.cols, from);
        }
    }
}

/// `out ← x · w + b`.
fn linear(w: &Linear, x: &[Row], out: &mut [Row]) {
    start(w.b.as_deref(), out);
    add_product(w.w.view(), x, out);
}

fn start(bias: Option<&[f32]>, out: &mut [Row]) {
    match bias {
        None => out.fill(ZERO),
        Some(bias) => out.iter_mut().zip(bias).for_each(|(row, &b)| *row = [Group([b; GROUP]); WIDTH / GROUP]),
    }
}

/// As [`normalise_row`](super::norm::normalise_row), for the tokens in the lanes.
fn normalise(kind: NormKind, eps: f64, gain: Option<&[f32]>, bias: Option<&[f32]>, x: &mut [Row]) {
    let n = x.len() as f32;
    by_vectors(
        #[inline(always)]
        || {
            let rows = each_mut(x);
            if kind == NormKind::Layer {
                let mut means = [0.0; WIDTH];
                for row in rows.iter() {
                    for l in 0..WIDTH {
                        means[l] += row[l];
                    }
                }
                for row in rows.iter_mut() {
                    for l in 0..WIDTH {
                        row[l] -= means[l] / n;
                    }
                }
            }
            let mut scales = [0.0; WIDTH];
            for row in rows.iter() {
                for l in 0..WIDTH {
                    scales[l] += row[l] * row[l];
                }
            }
            for scale in &mut scales {
                *scale = 1.0 / (*scale / n + eps as f32).sqrt();
            }
            for (i, row) in rows.iter_mut().enumerate() {
                let (gain, bias) = (gain.map_or(1.0, |g| g[i]), bias.map_or(0.0, |b| b[i]));
                for l in 0..WIDTH {
                    row[l] = row[l] * scales[l] * gain + bias;
                }
            }
        },
    );
}

/// Rotates a head by what [`Rope::abreast`] gave.
fn turn((sines, cosines): &(Vec<Row>, Vec<Row>), head: &mut [Row]) {
    by_vectors(
        #[inline(always)]
        || {
            let (first, rest) = head.split_at_mut(sines.len());
            let pairs = each_mut(first).iter_mut().zip(each_mut(rest));
            for ((a, b), (sin, cos)) in pairs.zip(each(sines).iter().zip(each(cosines))) {
                for l in 0..WIDTH {
                    (a[l], b[l]) = (a[l] * cos[l] - b[l] * sin[l], b[l] * cos[l] + a[l] * sin[l]);
                }
            }
        },
    );
}

impl Rope {
    /// Sines and cosines of [`WIDTH`] positions from `first` on in a sequence of so many tokens, a row for each pair.
    fn abreast(&self, first: usize, length: usize) -> (Vec<Row>, Vec<Row>) {
        let mut turns = (vec![ZERO; self.dims / 2], vec![ZERO; self.dims / 2]);
        let mut angles = Vec::with_capacity(self.dims / 2);
        for l in 0..WIDTH {
            self.angles(first + l, length, &mut angles);
            let rows = each_mut(&mut turns.0).iter_mut().zip(each_mut(&mut turns.1));
            rows.zip(&angles).for_each(|((sin, cos), angle)| (sin[l], cos[l]) = *angle);
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family_tests::fixtures;
    use crate::model::{Point, Site, Sites, load};

    fn models() -> Vec<(String, Transformer)> {
        let folders = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path());
        let models = folders
            .filter(|folder| folder.join("config.json").exists())
            .map(|folder| (folder.file_name().unwrap().to_string_lossy().into_owned(), load(&folder).unwrap()));
        models.filter(|(_, model)| model.config.causal && model.config.wiring != Wiring::Post).collect()
    }

    /// Sequences that fill strips, leave some of one, or have one that is not full.
    fn batch(model: &Transformer) -> Batch {
        let most = model.weights.positions.as_ref().map_or(usize::MAX, Mat::rows);
        let mut batch = Batch::new();
        for (s, length) in [70, 0, 32, 20, 95].into_iter().enumerate() {
            let ids: Vec<u32> = (0..most.min(length)).map(|i| ((7 * s + 11 * i) % model.config.vocab) as u32).collect();
            batch.push(&ids);
        }
        batch
    }

    fn last(model: &Transformer, batch: &Batch, sites: &Sites) -> Mat {
        let mut found = None;
        model.forward(batch, sites, None, &mut |_, x| found = Some(x.clone()));
        found.expect("something was asked for")
    }

    #[test]
    fn every_family_gives_the_same_abreast() {
        let models = models();
        assert!(models.len() > 15, "{} models", models.len());
        let mut other = 0;
        for (name, model) in models {
            let (config, batch) = (&model.config, batch(&model));
            assert!(pays(config, &batch), "{name}");
            // Half way, so that what follows reads what was left by layers abreast; and to the end.
            for site in [Site::Block(config.layers.len() - 1, Point::ResidPost), Site::FinalNorm, Site::Logits] {
                let sites = Sites::new([site], config);
                let (got, want) = (last(&model, &batch, &sites), last(&model, &batch, &sites.clone().alike()));
                let size = want.data().iter().fold(1.0f32, |m, x| m.max(x.abs()));
                let worst = got.data().iter().zip(want.data()).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
                assert!(
                    got.shape() == want.shape() && worst < 2e-5 * size,
                    "{name}: {site} is {worst:e} of {size} off"
                );
                other += usize::from(got != want);
            }
        }
        assert!(other > 15, "{other} results that were computed another way");
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let model = load(&fixtures().join("llama-gqa-published")).unwrap();
        let ids: Vec<u32> = (0..200).map(|i| (17 * i % model.config.vocab) as u32).collect();
        let sites = Sites::and_logits([], &model.config);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| last(&model, &Batch::one(&ids), &sites))
        };
        let one = on(1);
        for threads in [2, 3, 9] {
            assert!((0..20).all(|_| on(threads) == one), "{threads} threads");
        }
    }

    #[test]
    fn who_waits_for_what_never_comes_is_told() {
        let kept = Kept::new(1, 2);
        let waited = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| kept.wait(0, 0).len());
            let broken = scope.spawn(|| {
                let _told = Told(&kept.broken);
                panic!("in the strip before");
            });
            (broken.join().is_err(), waiting.join().is_err())
        });
        assert_eq!(waited, (true, true));
    }
}
