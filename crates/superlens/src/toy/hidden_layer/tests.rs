use super::*;
use crate::toy::tied::recipe;
use superlens_tensor::gradcheck::check_objective;

fn layer(task: Task, n: usize) -> HiddenLayer {
    let importance = (0..task.outputs(n)).map(|o| 0.9f64.powi(o as i32)).collect();
    let readout = if task == Task::Abs { Response::Relu } else { Response::Linear };
    HiddenLayer {
        task,
        density: (0..n).map(|i| 0.3 + 0.1 * (i % 3) as f64).collect(),
        d_hidden: 7,
        importance,
        hidden_bias: true,
        output_bias: true,
        readout,
        init: Init::Xavier,
        batch: 1500,
        training: recipe(1, 1e-3),
    }
}

fn tasks(n: usize) -> [Task; 3] {
    let mut rng = Rng::new(8);
    [Task::Abs, Task::And, Task::Relu { labels: (0..n * n).map(|_| 0.3 * rng.normal()).collect() }]
}

/// The rows of one step, drawn once more, and the loss by the definition on them in `f64`.
#[test]
fn loss_and_gradient_are_those_of_the_definition() {
    let n = 5;
    for task in tasks(n) {
        let layer = layer(task, n);
        let stream = Rng::new(2).fork("batches");
        let mut fit = layer.fit(layer.batch, &stream);
        let mut rng = Rng::new(3);
        let mut params = fit.init(&mut rng);
        params.blocks.iter_mut().for_each(|(_, b)| b.data_mut().iter_mut().for_each(|p| *p += 0.2 * rng.normal()));
        let mut grad = params.zeros_like();
        let loss = fit.loss(&params, 4, &mut grad);

        let rows = rows(&layer, &stream.fork_index(4));
        let definition = |params: &[Vec<f64>]| definition(&layer, params, &rows);
        let wide: Vec<Vec<f64>> =
            params.blocks.iter().map(|(_, b)| b.data().iter().map(|v| f64::from(*v)).collect()).collect();
        let want = definition(&wide);
        assert!((loss / want - 1.0).abs() < 1e-5, "{:?}: {loss} for {want}", layer.task);
        let largest = grad.blocks.iter().flat_map(|(_, g)| g.data()).fold(0.0f32, |m, g| m.max(g.abs()));
        for (k, (name, block)) in grad.blocks.iter().enumerate() {
            for (i, &g) in block.data().iter().enumerate().step_by(3) {
                let at = |step: f64| {
                    let mut moved = wide.clone();
                    moved[k][i] += step;
                    definition(&moved)
                };
                // So small that none of the thousands of neurons and rows has its kink within the step.
                let numeric = (at(1e-8) - at(-1e-8)) / 2e-8;
                let error = (f64::from(g) - numeric).abs() / f64::from(g.abs().max(1e-3 * largest));
                assert!(error < 1e-3, "derivative {i} of {name} is {g}, by differences {numeric}");
            }
        }
    }
}

/// All rows of a batch but those that are zero throughout.
fn rows(layer: &HiddenLayer, stream: &Rng) -> Vec<Vec<f32>> {
    let (mut law, mut words) = (SparseUniform::new(&layer.density, layer.task.signed()), Words::new(stream));
    let mut x = Lanes::zeros(layer.n_inputs(), layer.batch.div_ceil(GROUP).min(MAX_GROUPS));
    let (mut rows, mut left) = (Vec::new(), layer.batch);
    while left > 0 {
        x.clear();
        let (drawn, written) = law.fill(&mut words, left, &mut x);
        left -= drawn;
        let value = |v: f32| if layer.task.signed() { v } else { f32::from(v != 0.0) };
        rows.extend((0..written).map(|r| (0..x.vars()).map(|v| value(x.value(v, r))).collect()));
    }
    rows
}

fn definition(layer: &HiddenLayer, p: &[Vec<f64>], rows: &[Vec<f32>]) -> f64 {
    let (n, m, outs) = (layer.n_inputs(), layer.d_hidden, layer.n_outputs());
    let of = |x: &[f32]| {
        let pre = |k: usize| p[1][k] + (0..n).map(|i| f64::from(x[i]) * p[0][i * m + k]).sum::<f64>();
        let h: Vec<f64> = (0..m).map(|k| pre(k).max(0.0)).collect();
        let error = |(o, t): (usize, f32)| {
            let y = p[3][o] + (0..m).map(|k| h[k] * p[2][k * outs + o]).sum::<f64>();
            let y = if layer.readout == Response::Relu { y.max(0.0) } else { y };
            layer.importance[o] * (y - f64::from(t)).powi(2)
        };
        layer.task.of_row(x).into_iter().enumerate().map(error).sum::<f64>()
    };
    let empty = (layer.batch - rows.len()) as f64 * of(&vec![0.0; n]);
    (rows.iter().map(|x| of(x)).sum::<f64>() + empty) / (layer.batch * outs) as f64
}

#[test]
fn directions_are_differences_of_neurons() {
    let n = 4;
    for task in tasks(n) {
        let layer = layer(task, n);
        let params = balanced(&layer.fit(16, &Rng::new(0)).init(&mut Rng::new(5)));
        let mut x = Mat::zeros(3, n);
        x[(0, 2)] = 1.0;
        x[(1, 3)] = 1.0;
        (x[(2, 2)], x[(2, 3)]) = (1.0, 1.0);
        let (h, directions) = (neurons(&params, &x), layer.directions(&params));
        for k in 0..layer.d_hidden {
            // Biases are zero, so a silent layer gives nothing.
            let want = match layer.task {
                Task::And => h[(2, k)] - h[(0, k)] - h[(1, k)],
                _ => h[(0, k)],
            };
            let row = if layer.task == Task::And { 5 } else { 2 };
            assert!((directions[(row, k)] - want).abs() < 1e-6);
        }
    }
}

#[test]
fn starts_have_the_variance_of_their_law() {
    let variance = |m: &Mat| m.data().iter().map(|v| f64::from(v * v)).sum::<f64>() / m.data().len() as f64;
    let laws = [(Init::Xavier, 2.0 / 400.0), (Init::He, 2.0 / 300.0), (Init::Uniform, 1.0 / 900.0)];
    for (init, want) in laws {
        let (w, b) = init.draw(300, 100, true, &mut Rng::new(1));
        assert!((variance(&w) / want - 1.0).abs() < 0.05, "{init:?}: {} for {want}", variance(&w));
        assert_eq!(variance(&b) > 0.0, init == Init::Uniform);
        assert_eq!(init.draw(3, 5, false, &mut Rng::new(1)).1, Mat::zeros(1, 5));
    }
}

#[test]
fn balancing_changes_no_output() {
    let layer = layer(Task::Abs, 4);
    let params = layer.fit(16, &Rng::new(0)).init(&mut Rng::new(6));
    let even = balanced(&params);
    let (a, b) = (layer.fresh_loss(&params, 4000, &Rng::new(1)), layer.fresh_loss(&even, 4000, &Rng::new(1)));
    assert!((a / b - 1.0).abs() < 1e-5 && params != even, "{a} {b}");
}

#[test]
fn unwanted_biases_stay_zero_and_the_check_of_objectives_agrees() {
    let layer = HiddenLayer { hidden_bias: false, output_bias: false, batch: 4000, ..layer(Task::Abs, 4) };
    let mut objective = layer.objective(&Rng::new(1));
    let params = objective.init(&mut Rng::new(2));
    let mut grad = params.zeros_like();
    objective.loss(&params, 0, &mut grad);
    assert!(grad.get("b1").data().iter().chain(grad.get("b2").data()).all(|g| *g == 0.0));
    let whole = HiddenLayer { hidden_bias: true, output_bias: true, ..layer };
    // Kinks of the ReLUs within the steps cost accuracy.
    let worst = check_objective(whole.objective(&Rng::new(1)).as_mut(), &params, 0, &mut Rng::new(7));
    assert!(worst.error < 2e-2, "{worst:?}");
}
