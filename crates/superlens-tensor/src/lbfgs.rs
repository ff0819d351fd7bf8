//! L-BFGS for smooth functions of a few variables whose value and gradient are exact.

use std::collections::VecDeque;

/// Pairs of steps and gradient changes that are remembered.
const MEMORY: usize = 12;
/// Share of the decrease that the gradient promises which a step must bring (Armijo), and of the slope that may be left
/// (strong Wolfe).
const DECREASE: f64 = 1e-4;
const SLOPE: f64 = 0.9;
/// Trials of one line search.
const TRIALS: usize = 40;

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    pub iterations: usize,
    /// Largest entry of the gradient.
    pub gradient: f64,
    /// Relative decrease in one iteration.
    pub decrease: f64,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { iterations: 500, gradient: 1e-9, decrease: 1e-13 }
    }
}

/// Minimises `f` from `x`, which ends at the best point found, and returns the value there (Nocedal and Wright 2006,
/// algorithm 7.5, with the line search of algorithm 3.5).
///
/// `f` writes the gradient and returns the value. Where a step finds no decrease, the search ends: functions with kinks
/// are taken as far as they go.
pub fn minimise(f: &mut dyn FnMut(&[f64], &mut [f64]) -> f64, x: &mut [f64], stop: Stop) -> f64 {
    let n = x.len();
    let mut g = vec![0.0; n];
    let mut value = f(x, &mut g);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    for _ in 0..stop.iterations {
        if g.iter().all(|g| g.abs() <= stop.gradient) {
            break;
        }
        let mut d = direction(&g, &memory);
        let mut slope = dot(&d, &g);
        if slope >= 0.0 {
            memory.clear();
            d = g.iter().map(|g| -g).collect();
            slope = dot(&d, &g);
        }
        let first = if memory.is_empty() { (1.0 / norm(&g)).min(1.0) } else { 1.0 };
        let Some((next, new_g, new_value)) = line_search(f, x, &d, value, slope, first) else { break };
        let s: Vec<f64> = next.iter().zip(x.iter()).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = new_g.iter().zip(&g).map(|(a, b)| a - b).collect();
        let sy = dot(&s, &y);
        if sy > 1e-12 * norm(&s) * norm(&y) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((s, y, 1.0 / sy));
        }
        let decrease = value - new_value;
        x.copy_from_slice(&next);
        (g, value) = (new_g, new_value);
        if decrease <= stop.decrease * value.abs().max(1e-300) {
            break;
        }
    }
    value
}

/// Minus the inverse Hessian, as remembered, times the gradient: the two-loop recursion.
fn direction(g: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q: Vec<f64> = g.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(memory.len());
    for (s, y, rho) in memory.iter().rev() {
        let alpha = rho * dot(s, &q);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    if let Some((_, y, rho)) = memory.back() {
        let scale = 1.0 / (rho * dot(y, y));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((s, y, rho), alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(y, &q);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    q
}

/// A point along `d` that satisfies the strong Wolfe conditions, or the lowest that was seen if there is any decrease.
fn line_search(
    f: &mut dyn FnMut(&[f64], &mut [f64]) -> f64,
    x: &[f64],
    d: &[f64],
    value: f64,
    slope: f64,
    first: f64,
) -> Option<(Vec<f64>, Vec<f64>, f64)> {
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut t = first;
    let mut best: Option<(Vec<f64>, Vec<f64>, f64)> = None;
    for _ in 0..TRIALS {
        let point: Vec<f64> = x.iter().zip(d).map(|(x, d)| x + t * d).collect();
        let mut g = vec![0.0; x.len()];
        let at = f(&point, &mut g);
        let along = dot(&g, d);
        if at.is_finite() && at < best.as_ref().map_or(value, |b| b.2) {
            best = Some((point.clone(), g.clone(), at));
        }
        // Bisection between a point that is too near and one that is too far.
        if !at.is_finite() || at > value + DECREASE * t * slope {
            high = t;
        } else if along < SLOPE * slope {
            low = t;
        } else if along > -SLOPE * slope {
            high = t;
        } else {
            return Some((point, g, at));
        }
        t = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * t };
        if high - low < 1e-14 * high {
            break;
        }
    }
    best
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrock_is_solved() {
        let mut calls = 0;
        let mut f = |x: &[f64], g: &mut [f64]| {
            calls += 1;
            let mut value = 0.0;
            g.fill(0.0);
            for i in 0..x.len() - 1 {
                let (a, b) = (1.0 - x[i], x[i + 1] - x[i] * x[i]);
                value += a * a + 100.0 * b * b;
                g[i] += -2.0 * a - 400.0 * b * x[i];
                g[i + 1] += 200.0 * b;
            }
            value
        };
        let mut x = vec![-1.2, 1.0, -0.5, 0.8];
        let value = minimise(&mut f, &mut x, Stop::default());
        assert!(value < 1e-14 && x.iter().all(|x| (x - 1.0).abs() < 1e-6), "{value} at {x:?}");
        assert!(calls < 300, "{calls} evaluations");
    }

    #[test]
    fn a_kink_and_a_wall_end_the_search_at_the_lowest_point() {
        let mut kink = |x: &[f64], g: &mut [f64]| {
            g[0] = x[0].signum();
            x[0].abs()
        };
        let mut x = vec![3.3];
        assert!(minimise(&mut kink, &mut x, Stop::default()) < 1e-6);
        let mut wall = |x: &[f64], g: &mut [f64]| {
            g[0] = -1.0;
            if x[0] > 1.0 { f64::NAN } else { -x[0] }
        };
        let mut x = vec![0.0];
        assert!(minimise(&mut wall, &mut x, Stop::default()) < -0.99);
    }
}
