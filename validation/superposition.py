#!/usr/bin/env python3
"""Two claims that superlens misses, held against NumPy alone.

Losses of ReLU-output models, x' = ReLU(WᵀWx + b), minimised by Adam on a fixed sample that is stratified by how many sets of
features are on, so that rare coincidences are neither missed nor noisy. Nothing here is shared with superlens.

    python3 validation/superposition.py
"""

import math

import numpy as np


def sample(sets, size, p, rows, rng):
    """Inputs with 1, 2, … sets on, and the weight of a row of each kind."""
    parts = []
    for k in range(1, sets + 1):
        on = rng.random((rows, sets)).argsort(1) < k
        x = rng.random((rows, sets * size)) * np.repeat(on, size, axis=1)
        parts.append((x, math.comb(sets, k) * p**k * (1 - p) ** (sets - k)))
    return parts, (1 - p) ** sets


def loss(w, b, importance, parts, empty):
    """Mean over features of importance · error², and its gradient."""
    n = len(b)
    silent = np.maximum(b, 0)
    value = empty * (importance * silent**2).sum() / n
    dw, db = np.zeros_like(w), empty * 2 * importance * silent / n
    for x, share in parts:
        h = x @ w
        pre = h @ w.T + b
        error = np.maximum(pre, 0) - x
        scale = share / (len(x) * n)
        value += scale * (importance * error**2).sum()
        e = 2 * scale * importance * error * (pre > 0)
        dw += e.T @ h + x.T @ (e @ w)
        db += e.sum(0)
    return value, dw, db


def minimise(w, importance, p, size=1, rows=20_000, steps=1500, seed=0):
    rng = np.random.default_rng(seed)
    parts, empty = sample(len(w) // size, size, p, rows, rng)
    b = np.full(len(w), -0.1)
    theta = [w + 0.02 * rng.normal(size=w.shape), b]
    m, v = [np.zeros_like(t) for t in theta], [np.zeros_like(t) for t in theta]
    for t in range(1, steps + 1):
        _, *grad = loss(*theta, importance, parts, empty)
        lr = 0.01 * 0.5 * (1 + math.cos(math.pi * t / steps))
        for k in range(2):
            m[k] = 0.9 * m[k] + 0.1 * grad[k]
            v[k] = 0.99 * v[k] + 0.01 * grad[k] ** 2
            theta[k] = theta[k] - lr * (m[k] / (1 - 0.9**t)) / (np.sqrt(v[k] / (1 - 0.99**t)) + 1e-12)
    # The loss on rows that were not trained on.
    fresh, empty = sample(len(w) // size, size, p, 10 * rows, np.random.default_rng(seed + 1))
    return loss(*theta, importance, fresh, empty)[0], theta[0]


def directions(degrees, lengths):
    angle = np.radians(degrees)
    return np.array(lengths)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def main():
    pentagon = directions([0, 144, 288, 72, 216], [1.1] * 5)
    value, _ = minimise(pentagon, 0.9 ** np.arange(5), 0.05)
    print(f"pentagon, I = 0.9^i, p = 0.05: loss {value:.3e}")
    hexagon = directions([0, 65, 120, 185, 240, 305], [0.98] * 6)
    merged = directions([0, 0, 75, 145, 215, 285], [0.71, 0.71, 1, 1, 1, 1])
    for p in (0.05, 0.0106, 0.0025):
        for name, start in (("hexagon, pairs side by side", hexagon), ("pentagon with a merged pair", merged)):
            value, w = minimise(start, np.ones(6), p, size=2)
            unit = w / np.linalg.norm(w, axis=1, keepdims=True)
            within = [round(float(unit[i] @ unit[i + 1]), 2) for i in (0, 2, 4)]
            print(f"three correlated pairs, p = {p}: {name}: loss {value:.3e}, cosines within pairs {within}")


if __name__ == "__main__":
    main()
