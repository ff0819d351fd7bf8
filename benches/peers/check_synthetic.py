"""Our synthetic models against SAELens's generator, by their statistics.

    python3 benches/peers/check_synthetic.py FOLDER MODEL

FOLDER is what `superlens synth MODEL --rows N --out FOLDER` wrote. The same specification is built with `sae_lens.synthetic`; both draw
other random numbers, so what is compared are means. Needs the venv of install.sh.
"""

import sys

import numpy as np
import scipy.sparse
import torch
from sae_lens.synthetic import (
    HierarchyConfig,
    FoldedNormalMagnitudeConfig,
    LinearMagnitudeConfig,
    LowRankCorrelationConfig,
    OrthogonalizationConfig,
    SyntheticModel,
    SyntheticModelConfig,
    ZipfianFiringProbabilityConfig,
)

SIZES = {"16k": (16384, 768, 128), "4k": (4096, 384, 32), "1k": (1024, 192, 8)}


def peer(model, apart):
    features, dims, roots = SIZES[model]
    return SyntheticModel(
        SyntheticModelConfig(
            num_features=features,
            hidden_dim=dims,
            firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=5e-4),
            hierarchy=HierarchyConfig(
                total_root_nodes=roots,
                branching_factor=4,
                max_depth=3,
                mutually_exclusive_portion=1.0,
                compensate_probabilities=True,
                scale_children_by_parent=True,
            ),
            orthogonalization=OrthogonalizationConfig(num_steps=100, lr=3e-4) if apart else None,
            correlation=LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
            std_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
            mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
            bias=0.5,
            seed=42,
        )
    )


def overlap(w):
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    best = []
    for i in range(0, len(w), 1024):
        c = np.abs(w[i : i + 1024] @ w.T)
        c[np.arange(len(c)), i + np.arange(len(c))] = 0
        best.append(c.max(1))
    return np.concatenate(best).mean()


def levels(roots):
    ends = np.cumsum([0, roots, roots * 4, roots * 16, roots * 64])
    return list(zip(ends, ends[1:]))


def say(name, on, x, model):
    features, _, roots = SIZES[model]
    counts = np.asarray((on > 0).sum(0)).ravel() / on.shape[0]
    sums = np.asarray(on.sum(0)).ravel() / on.shape[0]
    parts = levels(roots) + [(levels(roots)[-1][1], features)]
    print(f"{name}: {on.shape[0]} rows, L0 {counts.sum():.3f}, of the most frequent quarter {counts[: features // 4].sum():.3f}")
    for label, (a, b) in zip(["roots", "depth 1", "depth 2", "depth 3", "no tree"], parts):
        print(f"  {label:8} L0 {counts[a:b].sum():7.3f}  mean strength {sums[a:b].sum() / counts[a:b].sum():.3f}")
    l0 = np.asarray((on > 0).sum(1)).ravel()
    print(f"  deviation of L0 {l0.std():.3f}; variance of rows {((x - x.mean(0)) ** 2).sum(1).mean():.2f}; length of their mean {np.linalg.norm(x.mean(0)):.2f}")


if __name__ == "__main__":
    folder, model = sys.argv[1:]
    ours = scipy.sparse.load_npz(f"{folder}/truth.npz")
    directions, x = np.load(f"{folder}/features.npy"), np.load(f"{folder}/activations.npy")
    say("superlens", ours, x, model)
    again = ours[:2000] @ directions
    print(f"  rows less their directions: {np.abs((x[:2000] - again) - (x[0] - again[0])).max():.1e} apart")
    torch.manual_seed(0)
    theirs = peer(model, apart=model != "16k")
    parts, rows = [], []
    for _ in range(10):
        h, f = theirs.sample_with_features(2000)
        parts.append(scipy.sparse.csr_matrix(f.numpy()))
        rows.append(h.detach().numpy())
    say("SAELens  ", scipy.sparse.vstack(parts), np.concatenate(rows), model)
    if model != "16k":
        print(f"mean max overlap: superlens {overlap(directions):.4f}, SAELens {overlap(theirs.feature_dict.feature_vectors.detach().numpy()):.4f}")
    else:
        print(f"mean max overlap: superlens {overlap(directions):.4f}")
