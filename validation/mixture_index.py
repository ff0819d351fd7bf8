"""The mixture index of a perfect circle and of a mixture of two lines, by brute force and in closed form.

    python3 validation/mixture_index.py

M = max over directions v and offsets c of P(|v.f + c| < eps * yardstick), eps = 0.1, the yardstick being the root mean square
of v.f + c (as in the published code of Engels et al. 2024) or the deviation of v.f about its mean. Exit code 1 if brute force
and closed form differ by more than 0.005.
"""

import sys

import numpy as np

EPS = 0.1


def brute(points, about_the_mean):
    best = 0.0
    for angle in np.linspace(0, np.pi, 180, endpoint=False):
        z = np.sort(points @ [np.cos(angle), np.sin(angle)])
        c = np.linspace(z[0], z[-1], 2001)
        width = EPS * np.sqrt(z.var() + (0 if about_the_mean else (c - z.mean()) ** 2))
        inside = np.searchsorted(z, c + width) - np.searchsorted(z, c - width, side="right")
        best = max(best, inside.max() / len(z))
    return best


def circle(about_the_mean):
    """The strip that touches the circle from within reaches from cos = 1 - 2t to cos = 1."""
    t = EPS
    for _ in range(100):
        t = EPS * np.sqrt(0.5 + (0 if about_the_mean else (1 - t) ** 2))
    return np.arccos(1 - 2 * t) / np.pi


theta = np.arange(20_000) * 2 * np.pi / 20_000
ring = np.stack([np.cos(theta), np.sin(theta)], axis=1)
value = (np.arange(10_000) + 0.5) / 10_000
zero = np.zeros_like(value)
lines = np.concatenate([np.stack([value, zero], 1), np.stack([zero, value], 1)])
worst = 0.0
for name, flag in [("root mean square of v.f + c", False), ("deviation about the mean", True)]:
    got, want = brute(ring, flag), circle(flag)
    worst = max(worst, abs(got - want))
    print(f"{name}: circle {got:.4f}, closed form {want:.4f}; two lines {brute(lines, flag):.4f}")
sys.exit(int(worst > 0.005))
