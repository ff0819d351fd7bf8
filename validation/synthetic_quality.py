"""Which autoencoders find the true features, on synthetic models whose features are known.

    python3 validation/synthetic_quality.py BINARY OUT bench MODEL D_SAE K TOKENS [SEED]
    python3 validation/synthetic_quality.py BINARY OUT toy TOKENS [SEED]

`bench` trains BatchTopK, Matryoshka, JumpReLU and ReLU to the same number of active latents and prints what SynthSAEBench does (Chanin et
al. 2026, arXiv 2602.14687); the gate is its order of F1. `toy` holds ReLU against Gated (shrinkage, active latents at equal FVU) and counts
the dead latents of TopK, on 512 features in 256 dimensions. Only the standard library is needed.
"""

import json
import math
import subprocess
import sys
from pathlib import Path


def superlens(binary, *args):
    done = subprocess.run([binary, *map(str, args), "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, args))}: {done.stderr}")
    return json.loads(done.stdout)


def trained(binary, out, model, arch, tokens, seed, rows, **flags):
    """Trains if the run is not there yet, and measures."""
    name = "-".join([model, arch, *(f"{k}{v}" for k, v in flags.items()), f"{tokens}", f"s{seed}"]).replace(",", "_")
    run = Path(out) / name
    flags = [word for k, v in flags.items() for word in (f"--{k.replace('_', '-')}", v)]
    report = run / "report.json"
    if not report.exists():
        superlens(binary, "train", "--synthetic", model, "--arch", arch, "--tokens", tokens, "--out", run, "--seed", seed,
                  *flags)
    told = superlens(binary, "eval", "--sae", run, "--synthetic", model, "--rows", rows, "--seed", seed)
    told["trained"] = json.loads(report.read_text())
    show(name, told)
    return told


def show(name, m):
    keys = ["f1", "precision", "recall", "mcc", "uniqueness_of_all", "explained_variance", "l0", "gamma", "dead_fraction"]
    print(f"{name:58}", "  ".join(f"{k} {m[k]:.3f}" for k in keys), f"{m['trained']['tokens_per_s']:.0f} rows/s", flush=True)


def at_l0(binary, out, model, arch, l0, tokens, seed, rows, **flags):
    """Looks for the penalty that gives so many active latents, by false position in logarithms."""
    l1, known = 0.1, []
    for _ in range(6):
        told = trained(binary, out, model, arch, tokens, seed, rows, l1=f"{l1:.4g}", **flags)
        if abs(told["l0"] / l0 - 1) < 0.05:
            return told
        known.append((math.log(max(told["l0"], 1e-3) / l0), math.log(l1)))
        if len(known) == 1:
            l1 *= 2 if told["l0"] > l0 else 0.5
        else:
            (a, x), (b, y) = sorted(known, key=lambda e: abs(e[0]))[:2]
            step = x - a * (y - x) / (b - a) if b != a else x + math.copysign(0.7, a)
            l1 = math.exp(min(max(step, x - 1.5), x + 1.5))
    return told


def bench(binary, out, model, d_sae, k, tokens, seed):
    rows = 500_000 if model == "16k" else 100_000
    lr = {"lr": 3e-4 if model == "16k" else 1e-3, "batch": 1024, "d_sae": d_sae}
    widths = ",".join(str(max(d_sae * s // 64, 1)) for s in (2, 8, 24, 64))
    found = {
        "matryoshka": trained(binary, out, model, "matryoshka", tokens, seed, rows, k=k, widths=widths, **{**lr, "lr": 1e-3}),
        "batch_topk": trained(binary, out, model, "batch_topk", tokens, seed, rows, k=k, **lr),
        "jumprelu": trained(binary, out, model, "jumprelu", tokens, seed, rows, target_l0=k, **lr),
        "relu": at_l0(binary, out, model, "relu", k, tokens, seed, rows, **lr),
    }
    f1 = {arch: m["f1"] for arch, m in found.items()}
    holds = f1["matryoshka"] > max(f1["batch_topk"], f1["jumprelu"]) and min(f1["batch_topk"], f1["jumprelu"]) > f1["relu"]
    print("order of F1:", " > ".join(sorted(f1, key=f1.get, reverse=True)), "as published" if holds else "NOT as published")


def toy(binary, out, tokens, seed):
    recipe = {"lr": 1e-3, "batch": 2048, "d_sae": 512}
    run = lambda arch, **flags: trained(binary, out, "toy512", arch, tokens, seed, 100_000, **recipe, **flags)
    sweep = [0.1, 0.2, 0.4, 0.8]
    relu = [run("relu", l1=l1) for l1 in sweep]
    gated = [run("gated", l1=l1) for l1 in sweep]
    run("topk", k=5)
    curve = sorted((m["fvu"], m["l0"]) for m in relu)
    for m in gated:
        l0 = interpolated(curve, m["fvu"])
        if l0:
            print(f"at FVU {m['fvu']:.4f}: gated L0 {m['l0']:.2f}, relu {l0:.2f}, ratio {m['l0'] / l0:.2f}")


def interpolated(curve, fvu):
    """L0 at that FVU, linear in logarithms between runs; None outside them."""
    for (a, x), (b, y) in zip(curve, curve[1:]):
        if a <= fvu <= b:
            share = (math.log(fvu) - math.log(a)) / (math.log(b) - math.log(a))
            return math.exp(math.log(x) + share * (math.log(y) - math.log(x)))
    return None


if __name__ == "__main__":
    binary, out, what, *rest = sys.argv[1:]
    if what == "bench":
        model, *numbers = rest
        d_sae, k, tokens, *seed = map(int, numbers)
        bench(binary, out, model, d_sae, k, tokens, *(seed or [0]))
    else:
        tokens, *seed = map(int, rest)
        toy(binary, out, tokens, *(seed or [0]))
