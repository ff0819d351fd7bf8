//! The objectives once more, plainly, in `f64`: which latents are active, what is held constant and how strong penalties are comes from
//! the pass that is judged, everything else from the formulas.

use super::super::*;
use superlens_tensor::kernels::encode::Product;

pub struct Reference {
    id: String,
    options: Options,
    names: Vec<String>,
    start: Vec<Vec<f64>>,
    x: Mat,
    y: Option<Mat>,
    variance: f64,
    widths: Vec<usize>,
    rise: f64,
    progress: f64,
    /// Kept latents of each row; those with an output, of which the main loss is made.
    kept: Vec<Vec<usize>>,
    active: Vec<Vec<usize>>,
    aux: Vec<Vec<usize>>,
    aux_weight: f64,
    /// The error at the start, which the auxiliary term holds constant.
    error: Vec<Vec<f64>>,
}

impl Reference {
    pub fn of(id: &str, options: &Options, trainer: &Trainer, batch: &Batch, step: u64) -> Self {
        let params = &trainer.state.params;
        let mut pass = Forward::new(params, batch.clone());
        let (w, b) = (params.get("w_enc"), params.get("b_enc"));
        let z = trainer.objective.keep(Product { x: &pass.centred, w, b: b.data() }, params);
        let f = z.with_values(trainer.objective.activate(&z, params));
        let widths = trainer.objective.widths(trainer.recipe.d_sae);
        let variance = trainer.targets.as_ref().unwrap_or(&trainer.input).variance;
        pass.main(&f, &widths, variance, params, &mut params.zeros_like());
        let dead = trainer.state.dead(trainer.recipe.dead_after);
        let aux = trainer.objective.revives().then(|| AuxK::choose(&pass, params, &dead, trainer.recipe.aux).unwrap());
        let rows = batch.x.rows();
        let row = |i: usize| f.row(i).0.iter().map(|&j| j as usize);
        let firing = |i: usize| row(i).zip(f.row(i).1).filter(|(_, v)| **v != 0.0).map(|(j, _)| j).collect();
        if let Some(aux) = &aux {
            assert!(aux.latents.values().iter().any(|&z| z < 0.0), "unrectified values are part of the test");
        }
        let of_aux = |i: usize| {
            let row = aux.as_ref().map(|a| a.latents.row(i).0.iter().map(|&j| j as usize).collect());
            row.unwrap_or_default()
        };
        Reference {
            id: id.into(),
            options: options.clone(),
            names: params.blocks.iter().map(|(n, _)| n.clone()).collect(),
            start: params.blocks.iter().map(|(_, m)| m.data().iter().map(|&v| f64::from(v)).collect()).collect(),
            variance,
            widths,
            rise: trainer.recipe.rise(step),
            progress: step as f64 / trainer.recipe.steps as f64,
            kept: (0..rows).map(|i| row(i).collect()).collect(),
            active: (0..rows).map(firing).collect(),
            aux: (0..rows).map(of_aux).collect(),
            aux_weight: aux.as_ref().map_or(0.0, |a| a.weight),
            error: (0..rows).map(|i| pass.error.row(i).iter().map(|&e| f64::from(e)).collect()).collect(),
            x: batch.x.clone(),
            y: batch.y.clone(),
        }
    }

    pub fn start(&self) -> Vec<Vec<f64>> {
        self.start.clone()
    }

    fn block<'a>(&self, p: &'a [Vec<f64>], name: &str) -> &'a [f64] {
        &p[self.names.iter().position(|n| n == name).unwrap()]
    }

    fn d(&self) -> usize {
        self.x.cols()
    }

    fn d_out(&self) -> usize {
        self.y.as_ref().unwrap_or(&self.x).cols()
    }

    /// What latents are to rebuild.
    fn target(&self, p: &[Vec<f64>], i: usize, c: usize) -> f64 {
        let b_dec = self.block(p, "b_dec")[c];
        let Some(y) = &self.y else { return f64::from(self.x[(i, c)]) - b_dec };
        let past = |skip: &[f64]| -> f64 {
            (0..self.d()).map(|a| f64::from(self.x[(i, a)]) * skip[a * self.d_out() + c]).sum()
        };
        let skip = self.names.iter().position(|n| n == "skip");
        f64::from(y[(i, c)]) - b_dec - skip.map_or(0.0, |at| past(&p[at]))
    }

    /// `(x − b_dec) · w_enc`, or `x · w_enc` where something else is rebuilt, without the bias.
    fn product(&self, p: &[Vec<f64>], i: usize, j: usize) -> f64 {
        let (w, b_dec) = (self.block(p, "w_enc"), self.block(p, "b_dec"));
        let shift = |c: usize| if self.y.is_some() { 0.0 } else { b_dec[c] };
        (0..self.d()).map(|c| (f64::from(self.x[(i, c)]) - shift(c)) * w[j * self.d() + c]).sum()
    }

    fn z(&self, p: &[Vec<f64>], i: usize, j: usize) -> f64 {
        self.product(p, i, j) + self.block(p, "b_enc")[j]
    }

    /// The active latents of a row, with their values.
    fn latents(&self, p: &[Vec<f64>], i: usize) -> Vec<(usize, f64)> {
        if self.id != "matching_pursuit" {
            return self.active[i].iter().map(|&j| (j, self.latent(p, i, j))).collect();
        }
        let (w_dec, b_dec, d) = (self.block(p, "w_dec"), self.block(p, "b_dec"), self.d());
        let mut rest: Vec<f64> = (0..d).map(|c| f64::from(self.x[(i, c)]) - b_dec[c]).collect();
        let step = |&j: &usize| {
            let row = &w_dec[j * d..(j + 1) * d];
            let value: f64 = rest.iter().zip(row).map(|(r, w)| r * w).sum();
            rest.iter_mut().zip(row).for_each(|(r, w)| *r -= value * w);
            (j, value)
        };
        self.active[i].iter().map(step).collect()
    }

    fn latent(&self, p: &[Vec<f64>], i: usize, j: usize) -> f64 {
        match self.id.as_str() {
            "gated" => self.block(p, "r_mag")[j].exp() * self.product(p, i, j) + self.block(p, "b_mag")[j],
            _ => self.z(p, i, j),
        }
    }

    fn rebuild(&self, w_dec: &[f64], latents: &[(usize, f64)]) -> Vec<f64> {
        (0..self.d_out()).map(|c| latents.iter().map(|&(j, f)| f * w_dec[j * self.d_out() + c]).sum()).collect()
    }

    pub fn loss(&self, p: &[Vec<f64>]) -> f64 {
        let (rows, square) = (self.x.rows() as f64, |v: Vec<f64>| v.iter().map(|v| v * v).sum::<f64>());
        let w_dec = self.block(p, "w_dec");
        let (frozen_dec, frozen_bias) = (self.block(&self.start, "w_dec"), self.block(&self.start, "b_dec"));
        let mut loss = 0.0;
        for i in 0..self.x.rows() {
            let latents = self.latents(p, i);
            for width in &self.widths {
                let prefix: Vec<(usize, f64)> = latents.iter().copied().filter(|l| l.0 < *width).collect();
                let recon = self.rebuild(w_dec, &prefix);
                let error = (0..self.d_out()).map(|c| self.target(p, i, c) - recon[c]).collect();
                loss += square(error) / (rows * self.variance * self.widths.len() as f64);
            }
            let penalty = self.options.l1 * self.rise / (rows * self.variance);
            match self.id.as_str() {
                "relu" | "relu_transcoder" | "relu_skip_transcoder" => {
                    loss += penalty * latents.iter().map(|l| l.1).sum::<f64>()
                }
                "p_anneal" => {
                    let exponent = 1.0 + (self.options.p_end - 1.0) * self.progress;
                    loss += penalty * latents.iter().map(|l| l.1.powf(exponent)).sum::<f64>();
                }
                "crosscoder" => {
                    let lengths = |j: usize| -> f64 {
                        let row = &w_dec[j * self.d()..(j + 1) * self.d()];
                        row.chunks(self.d() / self.options.layers).map(|w| square(w.to_vec()).sqrt()).sum()
                    };
                    loss += penalty * latents.iter().map(|l| l.1 * lengths(l.0)).sum::<f64>();
                }
                "jumprelu" => {
                    loss += match self.options.sparsity {
                        Sparsity::Target => 0.0,
                        Sparsity::Step => penalty * latents.len() as f64,
                        Sparsity::Tanh => penalty * latents.iter().map(|l| (4.0 * l.1).tanh()).sum::<f64>(),
                    }
                }
                "gated" => {
                    let gates: Vec<(usize, f64)> = self.kept[i].iter().map(|&j| (j, self.z(p, i, j))).collect();
                    loss += penalty * gates.iter().map(|g| g.1).sum::<f64>();
                    let recon = self.rebuild(frozen_dec, &gates);
                    let rest = (0..self.d()).map(|c| f64::from(self.x[(i, c)]) - frozen_bias[c] - recon[c]).collect();
                    loss += square(rest) / (rows * self.variance);
                }
                _ => {}
            }
            let aux: Vec<(usize, f64)> = self.aux[i].iter().map(|&j| (j, self.z(p, i, j))).collect();
            if !aux.is_empty() {
                let recon = self.rebuild(w_dec, &aux);
                loss += self.aux_weight * square((0..self.d_out()).map(|c| self.error[i][c] - recon[c]).collect());
            }
        }
        if self.id == "jumprelu" && self.options.sparsity == Sparsity::Target {
            loss += self.rise * self.off().powi(2);
        }
        loss
    }

    /// Mean active latents over the wanted number, less one.
    fn off(&self) -> f64 {
        let active = self.active.iter().map(Vec::len).sum::<usize>() as f64;
        active / self.x.rows() as f64 / self.options.target_l0 - 1.0
    }

    /// Central differences of the loss by every parameter.
    pub fn differences(&self, p: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let by = |block: usize, i: usize| {
            let at = |h: f64| {
                let mut moved = p.to_vec();
                moved[block][i] += h;
                self.loss(&moved)
            };
            (at(1e-5) - at(-1e-5)) / 2e-5
        };
        (0..p.len()).map(|block| (0..p[block].len()).map(|i| by(block, i)).collect()).collect()
    }

    /// Thresholds have no gradient but by their rule, which may reach the pre-activations, and by them everything before them.
    pub fn straight_through(&self, p: &[Vec<f64>], grad: &mut [Vec<f64>]) {
        if self.id != "jumprelu" {
            return;
        }
        let bandwidth = self.options.bandwidth.unwrap();
        let (rows, d) = (self.x.rows() as f64, self.d());
        let [w_enc, w_dec, b_dec, threshold] = ["w_enc", "w_dec", "b_dec", "threshold"].map(|name| self.block(p, name));
        let [to_w_enc, to_b_enc, to_b_dec, to_threshold] =
            ["w_enc", "b_enc", "b_dec", "threshold"].map(|name| self.names.iter().position(|n| n == name).unwrap());
        let penalty = self.options.l1 * self.rise / (rows * self.variance);
        let by_activity = match self.options.sparsity {
            Sparsity::Target => self.rise * 2.0 * self.off() / (self.options.target_l0 * rows),
            Sparsity::Step => penalty,
            Sparsity::Tanh => 0.0,
        };
        for i in 0..self.x.rows() {
            let recon = self.rebuild(w_dec, &self.latents(p, i));
            for j in 0..threshold.len() {
                let z = self.z(p, i, j);
                if (z - threshold[j]).abs() >= 0.5 * bandwidth {
                    continue;
                }
                let left = |c: usize| f64::from(self.x[(i, c)]) - b_dec[c];
                let slope: f64 = (0..d).map(|c| -2.0 * (left(c) - recon[c]) * w_dec[j * d + c]).sum::<f64>()
                    / (rows * self.variance);
                let latent = if z > threshold[j] { z } else { 0.0 };
                let by_tanh = match self.options.sparsity {
                    Sparsity::Tanh => penalty * 4.0 / (4.0 * latent).cosh().powi(2),
                    _ => 0.0,
                };
                let jump = ((slope + by_tanh) * threshold[j] + by_activity) / bandwidth;
                grad[to_threshold][j] -= jump;
                if self.options.ste_to_input {
                    grad[to_b_enc][j] += jump;
                    for c in 0..d {
                        grad[to_w_enc][j * d + c] += jump * left(c);
                        grad[to_b_dec][c] -= jump * w_enc[j * d + c];
                    }
                }
            }
        }
    }
}
