#!/usr/bin/env python3
"""The least loss of two features on one line, W = [w, -w] and one bias for both, against p²/6 a feature.

Usage: python3 validation/antipodal_pair.py

Needs numpy. Shares no code with the product: midpoint sums over the line and the square, and a search by shrinking steps.
"""

import numpy as np

LINE = (np.arange(20_001) + 0.5) / 20_001
SIDE = (np.arange(1201) + 0.5) / 1201
X, Y = np.meshgrid(SIDE, SIDE, indexing="ij")


def relu(z):
    return np.maximum(z, 0)


def loss(p, w, b):
    g = w * w
    one = np.mean((relu(g * LINE + b) - LINE) ** 2 + relu(b - g * LINE) ** 2)
    both = np.mean((relu(g * (X - Y) + b) - X) ** 2)
    return (1 - p) ** 2 * relu(b) ** 2 + p * (1 - p) * one + p * p * both


def optimum(p, with_bias):
    at, step = np.array([1.0, 0.0]), 0.01
    least = loss(p, *at)
    while step > 1e-5:
        moves = [np.array([s * step, 0.0]) for s in (-1, 1)]
        if with_bias:
            moves += [np.array([0.0, s * step]) for s in (-1, 1)]
        best = min(moves, key=lambda m: loss(p, *(at + m)))
        if loss(p, *(at + best)) < least:
            at = at + best
            least = loss(p, *at)
        else:
            step /= 2
    return least, at


if __name__ == "__main__":
    for with_bias in (True, False):
        for p in (0.1, 0.05, 0.01):
            least, (w, b) = optimum(p, with_bias)
            over = least / (p * p / 6)
            print(f"p {p}, {'with' if with_bias else 'no'} bias: {least:.6e}, {over:.5f} of p²/6, w {w:.4f}, b {b:.5f}")
