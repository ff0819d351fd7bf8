"""Ground truth for `superlens diagnose`: makes data whose cause is known, and judges what the binary says of it.

It shares no code with the product: the data is made here with NumPy, the binary is run on a file as a user would,
and only the JSON it prints is read.

    python3 validation/ground_truth.py --seed 1234 --markdown docs/ground-truth.md

Four classes, 100 cases each:
    superposed  more sparse features than dimensions           right: superposition
    rotated     at most d sparse features on orthogonal axes   right: orthogonal, mechanism rotated
    aligned     at most d sparse features, one neuron each     right: monosemantic
    nulls       nothing that sparse features explain           right: anything but superposition

Exit code 0 if every gate holds (those of the issue, see GATES below), else 1.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROWS = 20_000
DIMS = [16, 24, 32, 48, 64, 96, 128]

# The gates: share of right verdicts in each class with features, share of false claims of superposition among the
# nulls, median relative error of the feature count over the superposed cases.
MIN_RIGHT = 0.95
MAX_FALSE_SUPERPOSITION = 0.02
MAX_COUNT_ERROR = 0.15


@dataclasses.dataclass
class Case:
    """One matrix with known truth. `n` is the number of features, None where there are none to count."""

    name: str
    matrix: np.ndarray
    n: int | None
    params: dict


# ---- Parts that several families share ---------------------------------------------------------------------

LAWS = {
    "U[0,1]": lambda rng, size: rng.random(size),
    "half-normal": lambda rng, size: np.abs(rng.standard_normal(size)),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "near-constant": lambda rng, size: 1.0 + 0.05 * rng.standard_normal(size),
    "U[.5,1.5]": lambda rng, size: rng.uniform(0.5, 1.5, size),
}


def log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def haar(rng, d):
    """A Haar-distributed orthogonal matrix. QR alone is biased (LAPACK fixes the signs of R's diagonal in its own
    way); dividing those signs out makes it uniform (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diag(r))


def features(rng, rows, n, l0, law):
    """[rows, n] feature values: each is active on its own with probability l0 / n, its magnitude drawn from `law`."""
    values = np.zeros((rows, n), dtype=np.float32)
    active = rng.random((rows, n), dtype=np.float32) < l0 / n
    values[active] = LAWS[law](rng, int(active.sum()))
    return values


def random_law(rng):
    return str(rng.choice(list(LAWS)))


def random_noise(rng):
    """Standard deviation of the noise as a share of the data's: 0 to 5 %, in one case of five exactly 0 (without
    noise the matrix may lack rank, or have rows that are all zero: numerically a world of its own)."""
    return 0.0 if rng.random() < 0.2 else float(rng.uniform(0.0, 0.05))


def add_noise_and_bias(rng, x, noise, params):
    """Isotropic Gaussian noise, and in three cases of ten a constant vector as a layer's bias would leave."""
    scale = np.sqrt(x.var(axis=0).mean())
    x = x + noise * scale * rng.standard_normal(x.shape, dtype=np.float32)
    params["noise"] = round(noise, 4)
    params["bias"] = bool(rng.random() < 0.3)
    if params["bias"]:
        x = x + scale * rng.uniform(0.5, 2.0) * rng.standard_normal(x.shape[1])
    return x


def random_covariance_root(rng, d):
    """[d, d] root R of a random covariance R Rᵀ: a power-law spectrum (flat to steep) on Haar axes."""
    spectrum = np.arange(1, d + 1) ** -rng.uniform(0.0, 1.5)
    return haar(rng, d) * np.sqrt(spectrum)


def gaussian(rng, rows, root):
    return rng.standard_normal((rows, root.shape[1])) @ root.T


# ---- Classes with features ---------------------------------------------------------------------------------


def random_directions(rng, n, d):
    w = rng.standard_normal((n, d))
    return w / np.linalg.norm(w, axis=1, keepdims=True)


def low_coherence_directions(rng, n, d, steps=30):
    """Random unit vectors after a few projected gradient steps on the squared off-diagonal Gram entries: what a
    trained layer does to lower the interference between its features."""
    w = random_directions(rng, n, d)
    for _ in range(steps):
        gram = w @ w.T
        np.fill_diagonal(gram, 0.0)
        w -= 0.3 * d / n * (gram @ w)
        w /= np.linalg.norm(w, axis=1, keepdims=True)
    return w


def superposed(rng, rows=ROWS):
    """More features than dimensions, n/d of 1.5 to 6, on directions that can't all be orthogonal."""
    d = int(rng.choice(DIMS))
    n = round(d * rng.uniform(1.5, 6.0))
    l0 = log_uniform(rng, 0.5, 0.4 * d)
    law = random_law(rng)
    directions = "low-coherence" if rng.random() < 0.4 else "random"
    w = (low_coherence_directions if directions == "low-coherence" else random_directions)(rng, n, d)
    params = {"d": d, "n": n, "L0": round(l0, 2), "law": law, "directions": directions}
    # What the data can tell at most: a feature needs rows in which it is active.
    params["active rows a feature"] = round(rows * l0 / n)
    x = features(rng, rows, n, l0, law) @ w.astype(np.float32)
    return Case("superposed", add_noise_and_bias(rng, x, random_noise(rng), params), n, params)


def at_most_d_features(rng, rows):
    """[rows, n] sparse features with n ≤ d, half of the time n = d, and the parameters they were drawn with."""
    d = int(rng.choice(DIMS))
    n = d if rng.random() < 0.5 else int(rng.integers(d // 2, d + 1))
    l0 = log_uniform(rng, 0.5, 0.4 * n)
    law = random_law(rng)
    return features(rng, rows, n, l0, law), {"d": d, "n": n, "L0": round(l0, 2), "law": law}


def rotated(rng, rows=ROWS):
    """Orthogonal features that miss the neuron basis: n axes of a Haar rotation."""
    s, params = at_most_d_features(rng, rows)
    w = haar(rng, params["d"])[: params["n"]]
    x = s @ w.astype(np.float32)
    return Case("rotated", add_noise_and_bias(rng, x, random_noise(rng), params), params["n"], params)


def aligned(rng, rows=ROWS):
    """One neuron a feature, in any order, each on a scale of its own. Neurons without a feature carry noise only."""
    s, params = at_most_d_features(rng, rows)
    d, n = params["d"], params["n"]
    x = np.zeros((rows, d), dtype=np.float32)
    scales = np.exp(rng.uniform(np.log(0.3), np.log(3.0), n))
    x[:, rng.permutation(d)[:n]] = s * scales
    # The noise is the same on every neuron, so it weighs more on those of small scale.
    params["scales"] = f"{scales.min():.2f}–{scales.max():.2f}"
    return Case("aligned", add_noise_and_bias(rng, x, random_noise(rng), params), n, params)


# ---- Nulls: data that an overcomplete dictionary may fit well although no sparse features made it ----------


def null_gaussian(rng):
    d = int(rng.choice(DIMS))
    return Case("Gaussian", gaussian(rng, ROWS, random_covariance_root(rng, d)), None, {"d": d})


def null_elliptical(rng):
    """Gaussian rows, each times a random radius: heavy tails (a sparse look) without a single special direction.
    The radius has mean square 1, so the covariance is that of the Gaussian."""
    d = int(rng.choice(DIMS))
    x = gaussian(rng, ROWS, random_covariance_root(rng, d))
    if rng.random() < 0.5:
        dof = float(rng.uniform(3.0, 10.0))
        square = (dof - 2.0) / rng.chisquare(dof, (ROWS, 1))
        params = {"d": d, "law": "multivariate t", "dof": round(dof, 1)}
    else:
        shape = log_uniform(rng, 0.3, 4.0)
        square = rng.gamma(shape, 1.0 / shape, (ROWS, 1))
        params = {"d": d, "law": "gamma scale mixture", "shape": round(shape, 2)}
    return Case("elliptical", x * np.sqrt(square), None, params)


def null_clusters(rng):
    """Clusters with dense Gaussian variation inside: 2 to d of them, or more than dimensions. Tight clusters beyond d
    would be a code of one-hot features in superposition, so there at least 40 % of the variance lies within."""
    d = int(rng.choice(DIMS))
    if rng.random() < 0.5:
        k, within = round(log_uniform(rng, 2, d)), float(rng.uniform(0.2, 0.8))
    else:
        k, within = int(rng.integers(d + 1, 3 * d + 1)), float(rng.uniform(0.4, 0.8))
    own_covariance = bool(rng.random() < 0.5)
    member = rng.choice(k, ROWS, p=rng.dirichlet(np.full(k, 5.0)))
    centres = rng.standard_normal((k, d))
    between = centres[member]
    if own_covariance:
        inside = np.empty((ROWS, d))
        for c in range(k):
            rows = np.flatnonzero(member == c)
            inside[rows] = gaussian(rng, len(rows), random_covariance_root(rng, d))
    else:
        inside = rng.standard_normal((ROWS, d))
    # Set the share of the total variance that lies within clusters exactly, on this sample.
    ratio = within / (1.0 - within) * between.var(axis=0).sum() / inside.var(axis=0).sum()
    params = {"d": d, "clusters": k, "within": round(within, 2), "covariance": "own" if own_covariance else "isotropic"}
    return Case("clusters", between + np.sqrt(ratio) * inside, None, params)


def null_autocorrelated(rng):
    """A stationary Gaussian AR(1) stream: rows that follow each other are alike, so that there are far fewer
    independent samples than rows. One memory for all components, or one each."""
    d = int(rng.choice(DIMS))
    each = bool(rng.random() < 0.5)
    phi = rng.uniform(0.5, 0.98, d if each else 1)
    innovation = rng.standard_normal((ROWS, d)) * np.sqrt(1.0 - phi**2)
    z = np.empty((ROWS, d))
    z[0] = rng.standard_normal(d)
    for t in range(1, ROWS):
        z[t] = phi * z[t - 1] + innovation[t]
    memory = f"{phi.min():.2f}–{phi.max():.2f}" if each else f"{phi[0]:.2f}"
    return Case("autocorrelated", z @ random_covariance_root(rng, d).T, None, {"d": d, "phi": memory})


def null_forty_rows(rng):
    """Too few rows for any claim, whatever made them: a Gaussian, or real features in any of the three classes."""
    source = str(rng.choice(["Gaussian", *WITH_FEATURES]))
    if source == "Gaussian":
        d = int(rng.choice(DIMS))
        matrix, params = gaussian(rng, 40, random_covariance_root(rng, d)), {"d": d}
    else:
        case = WITH_FEATURES[source](rng, rows=40)
        matrix, params = case.matrix, case.params
    return Case("40 rows", matrix, None, {"source": source} | params)


WITH_FEATURES = {"superposed": superposed, "rotated": rotated, "aligned": aligned}
NULLS = [null_gaussian, null_elliptical, null_clusters, null_autocorrelated, null_forty_rows]
CLASSES = [*WITH_FEATURES, "nulls"]
RIGHT = {"superposed": "superposition", "rotated": "orthogonal/rotated", "aligned": "monosemantic"}


def make_case(kind, base_seed, index):
    """Case `index` of a class. Its seed depends on nothing else, so `--only` and `--cases` don't change it."""
    rng = np.random.default_rng(np.random.SeedSequence(base_seed, spawn_key=(CLASSES.index(kind), index)))
    if kind == "nulls":
        return NULLS[index % len(NULLS)](rng)
    return WITH_FEATURES[kind](rng)


# ---- Running and judging -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Outcome:
    kind: str
    index: int
    name: str
    n: int | None
    params: dict
    said: str  # the verdict, "orthogonal/rotated" with its mechanism, or "error: …"
    estimate: float | None
    low: float | None
    high: float | None
    right: bool

    @property
    def count_error(self):
        """|n̂/n − 1|. A case without an estimate counts as all wrong: staying silent mustn't help the median."""
        return 1.0 if self.estimate is None else abs(self.estimate / self.n - 1.0)

    @property
    def covers(self):
        """Whether the interval holds n. A missing end is open: a lower bound alone is a claim that can be true."""
        if self.low is None and self.high is None:
            return False
        return (self.low is None or self.low <= self.n) and (self.high is None or self.n <= self.high)


def is_right(kind, said):
    if kind == "nulls":
        return said != "superposition" and not said.startswith("error")
    return said == RIGHT[kind]


def diagnose(binary, path, threads):
    """What the binary says of a file: (verdict, n_features). A failure is an outcome too: it must count as a miss."""
    command = [str(binary), "diagnose", str(path), "--json", "--seed", "0"]
    if threads:
        command += ["--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"error: exit code {done.returncode}: {last}", {}
    try:
        layer = json.loads(done.stdout)["layer"]
        said = layer["verdict"]
        if layer.get("mechanism"):
            said += "/" + layer["mechanism"]
        return said, layer.get("n_features") or {}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        return f"error: unreadable JSON ({error!r})", {}


def run_case(args, kind, index):
    case = make_case(kind, args.seed, index)
    folder = args.keep or pathlib.Path(tempfile.gettempdir())
    path = folder / (f"{kind}-{index}.npy" if args.keep else f"superlens-truth-{os.getpid()}-{kind}-{index}.npy")
    try:
        np.save(path, np.ascontiguousarray(case.matrix, dtype=np.float32))
        said, count = diagnose(args.binary, path, args.threads)
    finally:
        if not args.keep:
            path.unlink(missing_ok=True)
    ends = (count.get("estimate"), count.get("low"), count.get("high"))
    return Outcome(kind, index, case.name, case.n, case.params, said, *ends, is_right(kind, said))


def run_all(args):
    indices = [args.case] if args.case is not None else range(args.cases)
    work = [(kind, index) for kind in args.only or CLASSES for index in indices]
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for outcome in pool.map(lambda job: run_case(args, *job), work):
            outcomes.append(outcome)
            print(f"{len(outcomes):>4}/{len(work)}  {line(outcome)}", file=sys.stderr, flush=True)
    return outcomes


# ---- Reporting ---------------------------------------------------------------------------------------------


def describe(params):
    return ", ".join(f"{key} {value}" for key, value in params.items())


def count_text(outcome):
    estimate, low, high = ("?" if v is None else f"{v:g}" for v in (outcome.estimate, outcome.low, outcome.high))
    return f"{estimate} [{low}, {high}]"


def line(outcome):
    mark = "right" if outcome.right else "WRONG"
    name = outcome.kind if outcome.name == outcome.kind else f"{outcome.kind}/{outcome.name}"
    return f"{mark}  {name} {outcome.index}: {outcome.said}, n̂ {count_text(outcome)}  ({describe(outcome.params)})"


def table(header, rows):
    """A Markdown table that is aligned, so that it reads as well on a terminal."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    padded = ([str(cell).ljust(width) for cell, width in zip(row, widths)] for row in [header, rule, *rows])
    return "\n".join("| " + " | ".join(row) + " |" for row in padded)


def class_row(label, group):
    said = collections.Counter(outcome.said.split(":")[0] for outcome in group)
    counted = [outcome.count_error for outcome in group if outcome.n is not None]
    return [
        label,
        f"{sum(outcome.right for outcome in group)}/{len(group)}",
        f"{statistics.median(counted):.1%}" if counted else "–",
        f"{sum(outcome.covers for outcome in group)}/{len(group)}" if counted else "–",
        ", ".join(f"{verdict} {times}" for verdict, times in said.most_common()),
    ]


def by_class(outcomes):
    return {kind: [o for o in outcomes if o.kind == kind] for kind in dict.fromkeys(o.kind for o in outcomes)}


def result_table(outcomes):
    rows = []
    for kind, group in by_class(outcomes).items():
        rows.append(class_row(kind, group))
        if kind == "nulls":
            for name in dict.fromkeys(outcome.name for outcome in group):
                rows.append(class_row(f"– {name}", [outcome for outcome in group if outcome.name == name]))
    return table(["class", "right", "median count error", "interval covers n", "verdicts"], rows)


def gates(outcomes):
    """[(what, value, holds)] for the classes that were run."""
    result = []
    for kind, group in by_class(outcomes).items():
        if kind == "nulls":
            share = sum(outcome.said == "superposition" for outcome in group) / len(group)
            text = f"superposition said of at most {MAX_FALSE_SUPERPOSITION:.0%} of the nulls"
            result.append((text, f"{share:.1%}", share <= MAX_FALSE_SUPERPOSITION))
            failed = sum(outcome.said.startswith("error") for outcome in group)
            result.append(("every null gets a verdict", f"{len(group) - failed}/{len(group)}", failed == 0))
        else:
            share = sum(outcome.right for outcome in group) / len(group)
            result.append((f"{kind}: at least {MIN_RIGHT:.0%} right", f"{share:.1%}", share >= MIN_RIGHT))
        if kind == "superposed":
            error = statistics.median(outcome.count_error for outcome in group)
            text = f"superposed: median count error at most {MAX_COUNT_ERROR:.0%}"
            result.append((text, f"{error:.1%}", error <= MAX_COUNT_ERROR))
    return result


def gate_table(outcomes):
    rows = [(what, value, "yes" if holds else "NO") for what, value, holds in gates(outcomes)]
    return table(["gate", "value", "holds"], rows)


def miss_table(outcomes):
    wrong = [outcome for outcome in outcomes if not outcome.right]
    if not wrong:
        return "None."
    rows = [[f"{o.kind} {o.index}", o.name, o.said, count_text(o), describe(o.params)] for o in wrong]
    return table(["case", "kind", "said", "n̂ [90 %]", "parameters"], rows)


def markdown(args, outcomes, seconds):
    command = "python3 validation/ground_truth.py " + shlex.join(sys.argv[1:])
    version = subprocess.run([str(args.binary), "--version"], capture_output=True, text=True).stdout.strip()
    return f"""# Ground truth

Data whose cause is known, made by `validation/ground_truth.py` with NumPy and no code of the product, diagnosed by the
binary as a user would. Base seed {args.seed}, {version}, {len(outcomes)} cases in {seconds / 60:.1f} minutes.

```console
$ {command}
```

## Gates

{gate_table(outcomes)}

## Results

{result_table(outcomes)}

*superposed*: n/d of 1.5 to 6, random or low-coherence directions. *rotated*: n ≤ d features on axes of a Haar rotation.
*aligned*: n ≤ d features, one neuron each, on scales of 0.3 to 3. All three: {ROWS:,} rows, d of {DIMS[0]} to {DIMS[-1]},
from 0.5 up to 0.4 min(n, d) features active in a row (L0), five laws of the magnitudes, and noise of 0 to 5 % of the
standard deviation, taken over all neurons. *nulls*: right is anything but superposition. The count error is |n̂/n − 1|,
100 % where no estimate was given; the interval is the 90 % one.

## Misses

{miss_table(outcomes)}

One case again, its matrix kept: `--only CLASS --case NUMBER --keep DIR` with the same `--seed`.
"""


def parse_args():
    parser = argparse.ArgumentParser(description="Make cases with known truth and judge what superlens says of them.")
    parser.add_argument("--seed", type=int, required=True, help="base seed; case seeds are derived from it")
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/superlens"))
    parser.add_argument("--only", choices=CLASSES, action="append", help="run this class only (may be repeated)")
    parser.add_argument("--cases", type=int, default=100, help="cases a class (default 100)")
    parser.add_argument("--case", type=int, help="run this one case of each class")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time (default 1)")
    parser.add_argument("--threads", type=int, help="threads of each run (default: the binary's own)")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR", help="keep the matrices in this folder")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the result as a page")
    args = parser.parse_args()
    if not args.binary.is_file():
        parser.error(f"no binary at {args.binary}: build it with `cargo build --release`, or name it with --binary")
    args.binary = args.binary.resolve()
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    return args


def main():
    args = parse_args()
    start = time.monotonic()
    outcomes = run_all(args)
    seconds = time.monotonic() - start
    print(f"\n{result_table(outcomes)}\n\n{gate_table(outcomes)}\n\nMisses\n\n{miss_table(outcomes)}\n")
    print(f"{len(outcomes)} cases, base seed {args.seed}, {seconds:.0f} s")
    if args.markdown:
        args.markdown.parent.mkdir(parents=True, exist_ok=True)
        args.markdown.write_text(markdown(args, outcomes, seconds), encoding="utf-8")
    return 0 if all(holds for _, _, holds in gates(outcomes)) else 1


if __name__ == "__main__":
    sys.exit(main())
