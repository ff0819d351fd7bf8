//! What interventions must do on tiny models of several families.

use superlens_tensor::Rng;

use super::*;
use crate::model::family_tests::fixtures;
use crate::model::load;

const FAMILIES: [&str; 5] =
    ["gpt2-published", "neox-parallel-published", "llama-gqa-published", "gemma2-published", "opt"];

fn model(family: &str) -> Transformer {
    load(&fixtures().join(family)).unwrap()
}

fn ids(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.below(60) as u32).collect()
}

fn texts() -> Vec<Text> {
    let mut first = 0;
    let text = |seed: u64| {
        let mut batch = Batch::new();
        (0..3).for_each(|s| batch.push(&ids(4 + s, seed + s as u64)));
        let text = Text { first, spared: None, batch };
        first += text.batch.tokens() as u64;
        text
    };
    [10, 20, 30].map(text).into()
}

fn apart(a: &Mat, b: &Mat) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn point(layer: usize, point: Point) -> Site {
    Site::Block(layer, point)
}

/// Neurons taken to zero are neurons without output weights; so are heads.
#[test]
fn ablation_is_the_model_without_the_weights() {
    for family in FAMILIES {
        let whole = model(family);
        let text = Text::one(&ids(9, 1));
        let without = |change: &dyn Fn(&mut Transformer)| {
            let mut edited = whole.clone();
            change(&mut edited);
            run(&edited, &text, &Changes::default())
        };
        let zero = |site: Site, columns: &[usize]| {
            let what = Turned { handle: &Columns(columns.to_vec()), change: Change::Zero };
            run(&whole, &text, &Changes::new([site], &what))
        };
        let neurons = [0, 5, 7];
        let edited = without(&|m| neurons.iter().for_each(|&j| m.weights.blocks[1].mlp.out.w.row_mut(j).fill(0.0)));
        let ablated = zero(point(1, Point::Post), &neurons);
        assert!(apart(&edited, &ablated) < 1e-5, "{family}: neurons, {}", apart(&edited, &ablated));
        let d = whole.config.d_head;
        let head: Vec<usize> = (d..2 * d).collect();
        let edited = without(&|m| head.iter().for_each(|&j| m.weights.blocks[0].attn.out.w.row_mut(j).fill(0.0)));
        let ablated = zero(point(0, Point::Z), &head);
        assert!(apart(&edited, &ablated) < 1e-5, "{family}: a head, {}", apart(&edited, &ablated));
        let plain = run(&whole, &text, &Changes::default());
        assert!(apart(&plain, &ablated) > 1e-4, "{family}: the head does something");
    }
}

/// Steering the stream that the last norm reads is a bias there; the logits show it exactly.
#[test]
fn what_is_written_is_what_is_read_after() {
    let model = model("gpt2-published");
    let text = Text::one(&ids(7, 2));
    let site = point(1, Point::ResidPre);
    let d: Vec<f32> = (0..model.config.d_model).map(|j| (j as f32 * 0.7).sin()).collect();
    let direction = Direction::new(d.clone()).unwrap();
    let seen = |change: Change, handle: &dyn Handle| {
        let what = Turned { handle, change };
        let (changes, tokens) = (Changes::new([site], &what), tokens(&text.batch, 0));
        let (mut before, mut after) = (Mat::zeros(0, 0), Mat::zeros(0, 0));
        model.forward(&text.batch, &Sites::new([site], &model.config), None, &mut |at, x| {
            before = x.clone();
            changes.pass().apply(at, &tokens, None, x);
            after = x.clone();
        });
        (before, after)
    };
    let (before, after) = seen(Change::Add(2.5), &direction);
    assert!(apart(&after, &Mat::from_fn(7, d.len(), |i, j| before[(i, j)] + 2.5 * d[j])) < 1e-5);
    let (before, after) = seen(Change::Zero, &direction);
    assert!(direction.read(&after).data().iter().all(|c| c.abs() < 1e-6));
    let removed = Mat::from_fn(7, d.len(), |i, j| before[(i, j)] - direction.read(&before)[(i, 0)] * d[j]);
    assert!(apart(&after, &removed) < 1e-5);
    let (before, after) = seen(Change::Scale(-3.0), &Columns(vec![4]));
    let want = Mat::from_fn(7, d.len(), |i, j| if j == 4 { -3.0 * before[(i, j)] } else { before[(i, j)] });
    assert_eq!(after, want);
    let (_, after) = seen(Change::Fill(vec![9.0, 8.0]), &Columns(vec![3, 1]));
    assert!((0..7).all(|i| (after[(i, 3)], after[(i, 1)]) == (9.0, 8.0)));
}

/// The whole stream of another sequence is that sequence; up to a position, the earlier part of it.
#[test]
fn a_patched_stream_is_the_other_sequence() {
    for family in FAMILIES {
        let model = model(family);
        let (one, other) = (Text::one(&ids(8, 3)), Text::one(&ids(8, 4)));
        let site = point(0, Point::ResidPre);
        let all = Columns((0..model.config.d_model).collect());
        let rows = gather(&model, std::slice::from_ref(&other), site, &all, 100).rows;
        let what = Turned { handle: &all, change: Change::Patch(rows) };
        let (plain, want) = (run(&model, &one, &Changes::default()), run(&model, &other, &Changes::default()));
        let patched = run(&model, &one, &Changes::new([site], &what));
        assert!(apart(&patched, &want) < 1e-5, "{family}: {}", apart(&patched, &want));
        let last = run(&model, &one, &Changes::new([site], &what).at(Some(vec![7])));
        let rows = |m: &Mat, to| m.select_rows(&(0..to).collect::<Vec<_>>());
        assert_eq!(apart(&rows(&last, 7), &rows(&plain, 7)), 0.0, "{family}: earlier tokens don't see later ones");
        assert!(apart(&last, &plain) > 1e-4, "{family}");
    }
}

#[test]
fn effects_are_those_of_the_logits() {
    let model = model("llama-gqa-published");
    let texts = texts();
    let site = point(0, Point::Post);
    let all = Columns((0..model.config.d_mlp).collect());
    let gathered = gather(&model, &texts, site, &all, 10);
    let whats = [Change::Scale(1.0), Change::Zero, Change::Fill(gathered.mean.clone())]
        .map(|change| Turned { handle: &all, change });
    let drawn = Turned { handle: &all, change: Change::Draw { from: gathered.rows, rng: Box::new(Rng::new(5)) } };
    let changes: Vec<Changes> = whats.iter().chain([&drawn]).map(|what| Changes::new([site], what)).collect();
    let measured = effects(&model, &texts, &changes, &|_| {});
    assert_eq!(measured.tokens, 3 * (3 + 4 + 5));
    assert_eq!(measured.changed[0], Effect { loss: measured.loss, kl: 0.0 }, "once itself is itself");
    assert!(measured.changed[1..].iter().all(|e| e.kl > 1e-6), "{measured:?}");
    let mut sum = 0.0;
    for text in &texts {
        let surprise = crate::model::loss::surprise(&run(&model, text, &changes[1]), &text.batch);
        sum += surprise.iter().sum::<f64>();
    }
    assert!((measured.changed[1].loss - sum / measured.tokens as f64).abs() < 1e-12);
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(|| effects(&model, &texts, &changes, &|_| {})), measured, "whatever the threads");
}

/// Means and kept rows are those of the tokens that are not spared, and only those are changed and counted.
#[test]
fn spared_tokens_stay_as_they_are() {
    let model = model("gpt2-published");
    let mut texts = texts();
    for text in &mut texts {
        let first = |row| (0..3).any(|s| text.batch.rows(s).0 == row);
        text.spared = Some((0..text.batch.tokens()).map(first).collect());
    }
    let site = point(1, Point::ResidPre);
    let all = Columns((0..model.config.d_model).collect());
    let mut seen: Vec<Vec<f32>> = Vec::new();
    let zero = Turned { handle: &all, change: Change::Zero };
    for text in &texts {
        let changes = Changes::new([site], &zero);
        model.forward(&text.batch, &Sites::new([site], &model.config), None, &mut |at, x| {
            let spared = text.spared.as_ref().unwrap();
            seen.extend((0..x.rows()).filter(|i| !spared[*i]).map(|i| x.row(i).to_vec()));
            let before = x.clone();
            changes.pass().apply(at, &tokens(&text.batch, text.first), text.spared.as_deref(), x);
            for (i, spared) in spared.iter().enumerate() {
                assert_eq!(x.row(i) == before.row(i), *spared);
                assert!(*spared || x.row(i).iter().all(|x| *x == 0.0));
            }
        });
    }
    let gathered = gather(&model, &texts, site, &all, 1000);
    assert_eq!(gathered.rows.rows(), seen.len());
    for (j, mean) in gathered.mean.iter().enumerate() {
        let want = seen.iter().map(|row| f64::from(row[j])).sum::<f64>() / seen.len() as f64;
        assert!((f64::from(*mean) - want).abs() < 1e-6);
    }
    assert!(gather(&model, &texts, site, &all, 7).rows.rows() <= 7 + 3);
    assert_eq!(
        effects(&model, &texts, &[], &|_| {}).tokens,
        3 * (3 + 4 + 5),
        "the first of a sequence is not predicted"
    );
}

/// A norm reads no size: what stands before the last one may be halved, but not turned. And a direction along a neuron is that neuron.
#[test]
fn a_norm_hides_size_and_a_neuron_is_its_own_direction() {
    for family in ["gpt2-published", "llama-gqa-published"] {
        let model = model(family);
        let last = model.config.layers.len() - 1;
        let width = Site::Block(last, Point::ResidPost).width(&model.config).unwrap();
        let neurons = Mat::from_fn(3, width, |i, j| if j == 2 * i + 1 { -0.7 } else { 0.0 });
        let found = uses(&model, &texts(), Site::Block(last, Point::ResidPost), &neurons, &Rng::new(0), &|_| {});
        let least = found.turned.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(found.halved < 0.01 * least, "{family}: {} against {least}", found.halved);
        assert_eq!(found.ablated.iter().map(|a| (a.index, a.neuron)).collect::<Vec<_>>(), [(0, 1), (1, 3), (2, 5)]);
        assert!(
            found.ablated.iter().all(|a| (a.by_direction / a.by_neuron - 1.0).abs() < 1e-3),
            "{family}: {:?}",
            found.ablated
        );
        assert_eq!((found.random.len(), found.turned.len()), (19, 19));
    }
}

/// Where the model reads one direction alone, taking it away does more than taking away its strongest neuron, for as large a change.
#[test]
fn a_direction_that_is_read_matters_more_than_its_neuron() {
    let mut model = model("gpt2-published");
    let site = point(0, Point::Post);
    let width = site.width(&model.config).unwrap();
    let mut rng = Rng::new(4);
    let d = Mat::from_fn(1, width, |_, _| rng.normal());
    let out = &mut model.weights.blocks[0].mlp.out.w;
    let written = Mat::from_fn(1, out.cols(), |_, _| 0.3 * rng.normal());
    *out = superlens_tensor::kernels::gemm::matmul(d.t(), &written);
    let found = uses(&model, &texts(), site, &d, &Rng::new(0), &|_| {});
    let [own, random] = [&found.ablated, &found.random].map(|list| {
        let sum = |of: fn(&Ablated) -> f64| list.iter().map(of).sum::<f64>();
        sum(|a| a.by_direction) / sum(|a| a.by_neuron)
    });
    assert!(own > 2.0 && own > 2.0 * random, "{own}, of random directions {random}");
}

#[test]
fn what_is_used_does_not_depend_on_threads() {
    let model = model("opt");
    let site = point(1, Point::ResidMid);
    let directions = Mat::from_fn(2, site.width(&model.config).unwrap(), |i, j| ((i + 2) * (j + 1) % 7) as f32 - 3.0);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| uses(&model, &texts(), site, &directions, &Rng::new(1), &|_| {}))
    };
    assert_eq!(on(1), on(3));
}
