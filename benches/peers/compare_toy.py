"""superlens and PyTorch side by side on the ReLU-output toy model: speed, and the losses that both end with.

    cargo build --release --workspace --examples
    peers-venv/bin/python benches/peers/compare_toy.py --markdown docs/toy-speed.md

Both train the same models on the same cores, in turns, so that what else the machine does falls on both alike: importance
0.9^i, batch 1,024, AdamW at 1e-3, density 1 to 0.01 over the instances, first weights of the same law. PyTorch runs in
the fastest of its modes and thread counts, found by short runs first, and its compilation and warm-up are not counted.
Ours counts everything from the first weight to the loss on fresh rows. The ratio is the median over the seeds.

--quick gives PyTorch fewer steps: its speed is a rate anyhow, and losses are then compared after those few steps.
Needs torch and numpy for the peer (install.sh). About 25 minutes on 2 cores, --quick 5.
"""
import argparse, json, math, os, pathlib, statistics, subprocess, sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BATCH = 1024
# Features, hidden dimensions, instances, steps, steps of a quick peer, steps when modes are tried, and the least ratio.
SIZES = [
    (5, 2, 10, 10_000, 1000, 300, 60),
    (20, 5, 10, 10_000, 400, 150, 40),
    (80, 20, 10, 10_000, 100, 50, 8),
    (400, 30, 20, 500, 40, 24, 5),
]
MODES = ["eager", "fused", "compile", "compile_all"]
# Two medians are equal within this; runs that differ by more ended in different minima.
TOLERANCE = 0.03

WHAT_BOUNDS = """\
A step at density 1 is 1,024 rows drawn (the random floor) and five products of {rows, features, hidden} (`h = xW`, the read-out,
the error back through it, and two outer products): `5 · 1,024 · n · m` multiply-adds. What is left is errors, loss, sums
over lanes, and AdamW.

- **n=5, m=2**: the random numbers. xoshiro128++ takes some ten operations a word and the products only ten multiply-adds an
  entry, so drawing takes a third of the time and more; the rest is near the multipliers' limit but for the errors, which
  are as many operations as a product at m = 2. A fixed cost of about 0.1 µs a step (AdamW on 15 numbers, sums over lanes)
  shows at low density.
- **n=20, m=5**: multiply-adds, with loads and stores of the gradient's sums beside them; random numbers take a fifth.
- **n=80, m=20** and **n=400, m=30**: multiply-adds, and moving inputs and errors through the second cache.

At low density rows without any feature are not computed and rare features are drawn by the gaps between them, so that the time
falls with the density, though not in proportion: the read-out of a row that is not empty is dense.

What was tried and did not help: drawing by gaps at densities above 0.04 (a value found costs as much as some fifty drawn in
vectors); packing rows where features are not rare (moving the values costs more than the empty rows); testing whether a
ReLU is closed for a whole strip of rows (it seldom is, and the branch is guessed wrong); whole powers of two between the
variables of a matrix in lanes (they all fall on the same few lines of the cache; odd distances made everything twice as
fast); keeping sums in arrays that are walked by iterators (the compiler then leaves them in memory).
"""


def parse():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--superlens", default=ROOT / "target/release/superlens")
    ap.add_argument("--machine", default=ROOT / "target/release/examples/machine")
    ap.add_argument("--python", default=sys.executable, help="a Python with torch")
    ap.add_argument("--sizes", default="5,20,80,400", help="numbers of features, of those that are known")
    ap.add_argument("--seeds", type=int, default=5)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--tiny", action="store_true", help="a handful of steps: only to see that the script works")
    ap.add_argument("--modes", default=None, help="instead of trying all: for instance fused:2,compile:1")
    ap.add_argument("--markdown", type=pathlib.Path, help="where to write the tables")
    return ap.parse_args()


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def peer(args, size, mode, threads, steps, seed, eval_rows=64):
    n, m, instances = size[:3]
    command = [args.python, HERE / "bench_toy.py", "--json"]
    options = {"n": n, "m": m, "instances": instances, "steps": steps, "batch": BATCH, "mode": mode,
               "threads": threads, "seed": seed, "eval-rows": eval_rows, "warmup": min(20, steps // 2)}
    command += [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("JSON ")]
    if done.returncode or not lines:
        raise RuntimeError(f"bench_toy.py {mode} with {threads} threads: {done.stderr.strip()[-300:]}")
    return json.loads(lines[-1][5:])


def ours(args, size, steps, seed, density="1..0.01", instances=None, threads=None):
    n, m = size[:2]
    settings = {"n_features": n, "d_hidden": m, "importance": 0.9, "density": density, "steps": steps, "batch": BATCH,
                "lr": 1e-3,
                # PyTorch initialises all instances in one tensor and counts them among the neurons.
                "init": math.sqrt(2 / ((n + size[2]) * m))}
    command = [args.superlens, "toy", "relu_output", "--json", "--seed", seed, "--threads", threads or args.threads,
               "--instances", instances or size[2]]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"superlens: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


def fastest_mode(args, size):
    """The peer's mode and threads with the quickest step, and the rates of all that ran."""
    if args.modes:
        choices = [(mode, int(threads)) for mode, threads in (c.split(":") for c in args.modes.split(","))]
    else:
        choices = [(mode, threads) for mode in MODES for threads in sorted({1, args.threads})]
    rates = {}
    for mode, threads in choices:
        try:
            run = peer(args, size, mode, threads, 6 if args.tiny else size[5], 0)
        except RuntimeError as error:
            say("  ", error)
            continue
        # The best segment: what others did meanwhile must not make the peer look slow.
        rates[mode, threads] = size[2] / run["ms_per_step"]["min"] * 1e3
        say(f"   {mode}, {threads} threads: {rates[mode, threads]:,.0f}")
    return max(rates, key=rates.get), rates


def compare(args, size):
    n, m, instances, full, quick, _, _ = size
    say(f"n={n} m={m}: instance-steps a second of the peer")
    (mode, threads), rates = fastest_mode(args, size)
    steps = 6 if args.tiny else quick if args.quick else full
    # At low density loss comes from the few rows with two features: enough of them for the noise to be below 1 %.
    eval_rows = 64 if args.tiny else math.ceil((2e5 if args.quick else 1e6) / (n * 0.01))
    rounds = []
    for seed in range(args.seeds):
        mine = ours(args, size, 60 if args.tiny else full, seed)
        same = mine if steps == full else ours(args, size, steps, seed)
        theirs = peer(args, size, mode, threads, steps, seed, eval_rows)
        rounds.append({"ours": mine["instance_steps_per_s"], "peer": theirs["instance_steps_per_s"],
                       "foreign": theirs["foreign_cpu"],
                       "our_losses": [i["loss"] for i in same["instances"]],
                       "peer_losses": theirs["final_loss_per_instance"],
                       "density": [i["density"] for i in same["instances"]]})
        r = rounds[-1]
        say(f"   seed {seed}: ours {r['ours']:,.0f}, peer {r['peer']:,.0f}: {r['ours'] / r['peer']:.1f} times; "
            f"{100 * r['foreign']:.0f} % of the machine went to others")
    return {"size": size, "mode": mode, "threads": threads, "rates": rates, "rounds": rounds, "steps": steps,
            "bounds": bounds(args, size, rounds)}


def bounds(args, size, rounds):
    """Shares of the multiply-add peak and of the random floor: one core at density 1, and all cores over the sweep."""
    n, m, instances, full = size[:4]
    densities = rounds[0]["density"]
    lines = subprocess.run([str(args.machine), str(n), *map(str, densities)], capture_output=True, text=True, check=True)
    words = [line.split() for line in lines.stdout.splitlines()]
    peak = float(words[0][1]) * 1e9
    drawing = [float(w[3]) * 1e-6 for w in words[1:]]
    flops = 2 * 5 * BATCH * n * m
    dense = max(ours(args, size, 60 if args.tiny else full, seed, "1", 1, 1)["instance_steps_per_s"] for seed in range(3))
    sweep = statistics.median(r["ours"] for r in rounds)
    cores = min(args.threads, os.cpu_count())
    return {"peak": peak, "dense_us": 1e6 / dense, "dense_fma": flops * dense / peak, "dense_random": drawing[0] * dense,
            "sweep_us": 1e6 * cores / sweep, "sweep_fma": flops * sweep / (cores * peak),
            "sweep_random": statistics.mean(drawing) * sweep / cores}


def judge(mine, theirs):
    """Whether two sets of losses, one a seed, have equal medians, and if not, whether the minimum is the same at all.

    Runs of one size reach different local minima. Where the losses of either side differ among themselves by more than the
    tolerance, its median depends on which minima its few seeds happened to reach; the medians then have to lie within
    the other side's range. Where they agree among themselves the minimum is the same, and medians must be equal.
    """
    ratio = np.median(mine) / np.median(theirs)
    if abs(ratio - 1) <= TOLERANCE:
        return ratio, "equal"
    spread = max(max(mine) / min(mine), max(theirs) / min(theirs)) - 1
    inside = min(theirs) <= np.median(mine) <= max(theirs) or min(mine) <= np.median(theirs) <= max(mine)
    return ratio, "several minima" if spread > TOLERANCE and inside else "differs"


def ratio_of(result):
    return statistics.median(r["ours"] / r["peer"] for r in result["rounds"])


def tables(args, results):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "a CPU")
    out = ["# How fast the toy lab is", "",
           f"Measured on {args.threads} cores of an {cpu}; `benches/peers/compare_toy.py` runs both sides in turns and "
           "writes this page. PyTorch 2.13 in the fastest of its modes and thread counts, compilation not counted. "
           f"Medians over {args.seeds} seeds; rates are training steps of single instances a second.", ""]
    if args.quick:
        out += ["PyTorch ran fewer steps than ours (`--quick`); losses are compared after those.", ""]
    out += ["| model | instances × steps | peer's best | peer | superlens | ratio | gate |", "|---|---|---|---|---|---|---|"]
    for r in results:
        n, m, instances, full, _, _, gate = r["size"]
        ratio = ratio_of(r)
        rate = lambda side: statistics.median(x[side] for x in r["rounds"])
        out.append(f"| n={n} m={m} | {instances} × {full:,} | {r['mode']}, {r['threads']} threads | {rate('peer'):,.0f} "
                   f"| {rate('ours'):,.0f} | **{ratio:.0f}×** | {gate}× {'met' if ratio >= gate else '**missed**'} |")
    out += ["", "## What bounds it", "",
            f"Peak of one core: {max(r['bounds']['peak'] for r in results) / 1e9:.0f} GFLOP/s of multiply-adds in f32. "
            "The random floor is the time that drawing the inputs takes by itself. Over the sweep multiply-adds are "
            "counted as if nothing were skipped. (`cargo run --release -p superlens-tensor --example machine`)", "",
            "| model | step at density 1, one core | of FMA peak | random floor | step over the sweep, a core "
            "| of FMA peak | random floor |", "|---|---|---|---|---|---|---|"]
    for r in results:
        b = r["bounds"]
        out.append(f"| n={r['size'][0]} m={r['size'][1]} | {b['dense_us']:.2f} µs | {b['dense_fma']:.0%} "
                   f"| {b['dense_random']:.0%} | {b['sweep_us']:.2f} µs | {b['sweep_fma']:.0%} | {b['sweep_random']:.0%} |")
    out += ["", WHAT_BOUNDS, "## Losses", "",
            f"Median over {args.seeds} seeds of each instance's loss on fresh rows, ours over PyTorch's. *Equal*: within "
            f"{TOLERANCE:.0%}. *Several minima*: the seeds of a side end more than {TOLERANCE:.0%} apart, so that its median "
            "depends on which minima they reached, and the medians lie within the seeds' range.", ""]
    for r in results:
        n, m = r["size"][:2]
        out += [f"n={n} m={m}, after {r['steps']:,} steps:", "", "| density | ours (range) | PyTorch (range) | ratio | |",
                "|---|---|---|---|---|"]
        for i, p in enumerate(r["rounds"][0]["density"]):
            mine, theirs = ([x[side][i] for x in r["rounds"]] for side in ("our_losses", "peer_losses"))
            ratio, verdict = judge(mine, theirs)
            span = lambda v: f"{np.median(v):.4g} ({min(v):.4g}–{max(v):.4g})"
            out.append(f"| {p:.3g} | {span(mine)} | {span(theirs)} | {ratio:.3f} | {verdict} |")
        out.append("")
    return "\n".join(out)


def main():
    args = parse()
    wanted = {int(n) for n in args.sizes.split(",")}
    results = [compare(args, size) for size in SIZES if size[0] in wanted]
    text = tables(args, results)
    if args.markdown:
        args.markdown.write_text(text)
    print(text)
    verdicts = [judge([x["our_losses"][i] for x in r["rounds"]], [x["peer_losses"][i] for x in r["rounds"]])[1]
                for r in results for i in range(r["size"][2])]
    slow = [r["size"][0] for r in results if ratio_of(r) < r["size"][6]]
    say(f"gates of speed missed at n = {slow or 'none'}; losses: " +
        ", ".join(f"{verdicts.count(v)} {v}" for v in ("equal", "several minima", "differs")))
    sys.exit(1 if slow or "differs" in verdicts else 0)


if __name__ == "__main__":
    main()
