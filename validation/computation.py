#!/usr/bin/env python3
"""Two claims on computation by few neurons, done again in NumPy without any code of the product.

`stuck`: |x| of four inputs on eight neurons, Adam, as experiments/stuck_abs_minimal.toml: the share of starts that end with a
loss between a thousandth and a half of E[y^2], for several laws of the first weights.

`u_and`: the standard deviation of the read-out of an AND whose inputs are both on, as experiments/u_and_4000.toml, beside
sqrt(p (1 - p) / (d p^2)).
"""

import argparse
import numpy as np


def first(law, rng, starts, rows, cols):
    variance = {"xavier": 2 / (rows + cols), "lecun": 1 / rows, "he": 2 / rows}[law]
    return rng.normal(0, np.sqrt(variance), (starts, rows, cols))


def stuck(law, density, starts, steps, seed, n=4, m=8, batch=256, lr=2e-3):
    """Relative losses of `starts` networks y = ReLU(ReLU(x W1 + b1) W2 + b2), cosine decay of the rate to a twentieth."""
    rng = np.random.default_rng(seed)
    p = [first(law, rng, starts, n, m), np.zeros((starts, 1, m)), first(law, rng, starts, m, n), np.zeros((starts, 1, n))]
    mean, square = [np.zeros_like(a) for a in p], [np.zeros_like(a) for a in p]

    def draw(rows):
        return rng.uniform(-1, 1, (starts, rows, n)) * (rng.random((starts, rows, n)) < density)

    def forward(x):
        h = np.maximum(x @ p[0] + p[1], 0)
        return h, np.maximum(h @ p[2] + p[3], 0)

    for step in range(steps):
        x = draw(batch)
        h, y = forward(x)
        e = 2 * (y - np.abs(x)) * (y > 0) / (batch * n)
        dh = (e @ p[2].transpose(0, 2, 1)) * (h > 0)
        grads = [x.transpose(0, 2, 1) @ dh, dh.sum(1, keepdims=True), h.transpose(0, 2, 1) @ e, e.sum(1, keepdims=True)]
        rate = lr * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        for a, g, u, v in zip(p, grads, mean, square):
            u += 0.1 * (g - u)
            v += 0.001 * (g * g - v)
            a -= rate * u / (1 - 0.9 ** (step + 1)) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
    x = draw(20000)
    return ((forward(x)[1] - np.abs(x)) ** 2).mean((1, 2)) / (density / 3)


def u_and(seed, inputs=200, neurons=4000, p=0.1, active=3, trials=400):
    """Read-outs of the ANDs whose two inputs are on."""
    rng = np.random.default_rng(seed)
    w = rng.random((neurons, inputs)) < p
    reads = []
    for _ in range(trials):
        on = rng.choice(inputs, active, replace=False)
        z = np.maximum(w[:, on].sum(1) - 1.0, 0)
        reads += [z[w[:, on[a]] & w[:, on[b]]].mean() for a in range(active) for b in range(a)]
    return np.array(reads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stuck", "u_and"])
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    if a.what == "stuck":
        for law in ["xavier", "lecun", "he"]:
            for density in [0.5, 0.1]:
                r = stuck(law, density, a.starts, a.steps, a.seed)
                share = np.mean((r >= 1e-3) & (r < 0.5))
                print(f"{law}, p = {density}: {share:.3f} of {a.starts} starts stuck, {np.mean(r < 1e-3):.3f} solved", flush=True)
    else:
        r = u_and(a.seed)
        print(f"both on: mean {r.mean():.4f}, std {r.std():.4f}; sqrt((1 - p) / (d p)) = {np.sqrt(0.9 / 400):.4f}")


if __name__ == "__main__":
    main()
