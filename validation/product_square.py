#!/usr/bin/env python3
"""Errors of ReLU(|x + y| - 1) - ReLU(|x - y| - 1) against x·y on [-2, 2]², by three ways of averaging.

Usage: python3 validation/product_square.py

Needs numpy. Shares no code with the product. The mean over evenly spaced places with the border among them counts the border,
where errors are large, too much; Gauss-Legendre nodes and random places do not.
"""

import numpy as np


def error(x, y):
    return np.maximum(np.abs(x + y) - 1, 0) - np.maximum(np.abs(x - y) - 1, 0) - x * y


def report(name, x, y, weight):
    e = error(x, y)
    mse = np.sum(weight * e**2)
    variance = np.sum(weight * (x * y) ** 2)
    print(f"{name:34} MSE {mse:.5f}  R² {1 - mse / variance:.4f}  largest {np.abs(e).max():.4f}")


def grid(nodes, weights):
    x, y = np.meshgrid(nodes, nodes)
    weight = np.outer(weights, weights)
    return x, y, weight / weight.sum()


for n in (101, 201, 401):
    report(f"{n} evenly spaced, border included", *grid(np.linspace(-2, 2, n), np.ones(n)))
# Eight panels a side, so that the kinks on |x ± y| = 1 cost little.
nodes, weights = np.polynomial.legendre.leggauss(40)
edges = np.linspace(-2, 2, 9)
panels = [(0.5 * (a + b) + 0.5 * (b - a) * nodes, weights) for a, b in zip(edges[:-1], edges[1:])]
report("Gauss-Legendre, 8 panels of 40", *grid(np.concatenate([p[0] for p in panels]), np.concatenate([p[1] for p in panels])))
rng = np.random.default_rng(0)
x, y = rng.uniform(-2, 2, (2, 10_000_000))
report("10,000,000 random places", x, y, np.full(x.shape, 1 / x.size))
