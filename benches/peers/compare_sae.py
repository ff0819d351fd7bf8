"""superlens and the PyTorch libraries side by side: how fast a sparse autoencoder trains, and how well it rebuilds rows it has not seen.

    cargo build --release
    peers-venv/bin/python benches/peers/compare_sae.py --data peers-data --markdown docs/training-speed.md

Both train on the same rows and the same cores, in turns, so that what else the machine does falls on both alike. Each side is timed
by itself over its training steps without the first two; reading files, imports and compilation are not counted. The ratio is the
median over the rounds of the ratio within a round. --fvu trains both for --fvu-steps at --fvu-lr and measures held-out rows.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PRESETS = {"small": (288, 4608, 2048), "big": (768, 24576, 4096)}
K = 32
# Our name, the peers' name, and the libraries that have it.
ARCHES = {
    "topk": ("topk", ["sparsify", "dl", "saelens"]),
    "batch_topk": ("batchtopk", ["dl", "saelens"]),
    "jumprelu": ("jumprelu", ["dl", "saelens"]),
    "gated": ("gated", ["dl", "saelens"]),
    "relu": ("standard", ["dl", "saelens"]),
}


def parse():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--superlens", default=ROOT / "target/release/superlens")
    ap.add_argument("--python", default=sys.executable, help="a Python with the peers")
    ap.add_argument("--data", default="peers-data")
    ap.add_argument("--preset", choices=PRESETS, default="small")
    ap.add_argument("--arches", default="topk")
    ap.add_argument("--libs", default=None, help="of those that have the architecture")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--steps", type=int, default=20, help="timed steps of a peer")
    ap.add_argument("--our-steps", type=int, default=60)
    ap.add_argument("--fvu", action="store_true")
    ap.add_argument("--fvu-steps", type=int, default=150)
    ap.add_argument("--fvu-lr", type=float, default=1e-3)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--markdown", type=pathlib.Path)
    return ap.parse_args()


def ours(args, arch, steps, lr, evaluate=False):
    d_in, d_sae, batch = PRESETS[args.preset]
    # Flags that an architecture has no use for are refused.
    sparsity = {"jumprelu": ["--target-l0", K], "relu": [], "p_anneal": [], "gated": []}.get(arch, ["--k", K])
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "run"
        command = [args.superlens, "train", "--activations", f"{args.data}/train_{d_in}.npy", "--arch", arch, "--d-sae", d_sae,
                   *sparsity, "--batch", batch, "--lr", lr, "--steps", steps, "--warmup", 0, "--out", out, "--json",
                   "--threads", args.threads]
        told = run(command)
        if evaluate:
            command = [args.superlens, "eval", "--sae", out, "--activations", f"{args.data}/eval_{d_in}.npy", "--json"]
            told["held_out"] = run(command)
        return told


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[1]}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout)


def peer(args, lib, arch, steps, lr, evaluate=False):
    command = [args.python, HERE / "bench_sae.py", "--lib", lib, "--arch", ARCHES[arch][0], "--preset", args.preset, "--steps", steps,
               "--warmup", 2, "--threads", args.threads, "--lr", lr, "--data", args.data, "--json"]
    command += [] if evaluate else ["--no-eval"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    lines = [line[5:] if line.startswith("JSON ") else line for line in done.stdout.splitlines() if "{" in line]
    if done.returncode or not lines:
        raise RuntimeError(f"{lib} {arch}: {done.stderr.strip()[-400:]}")
    return json.loads(lines[-1])


def main():
    args = parse()
    d_in, d_sae, batch = PRESETS[args.preset]
    rows = []
    for arch in args.arches.split(","):
        libs = [lib for lib in ARCHES[arch][1] if not args.libs or lib in args.libs.split(",")]
        rates, memory = {lib: [] for lib in ["superlens", *libs]}, {}
        for turn in range(args.rounds):  # none, to compare the FVU alone
            told = ours(args, arch, args.our_steps + 2, 3e-4)
            rates["superlens"].append(told["tokens_per_s"])
            memory["superlens"] = told["peak_anon_mb"]
            for lib in libs:
                told = peer(args, lib, arch, args.steps, 3e-4)
                rates[lib].append(told["tokens_per_s"])
                memory[lib] = told["peak_rss_mb"]
            print(arch, turn, {k: round(v[-1]) for k, v in rates.items()}, file=sys.stderr, flush=True)
        for lib in libs if args.rounds else []:
            ratios = [a / b for a, b in zip(rates["superlens"], rates[lib])]
            rows.append((arch, lib, statistics.median(rates["superlens"]), statistics.median(rates[lib]),
                         statistics.median(ratios), min(ratios), max(ratios), memory["superlens"], memory[lib]))
    lines = [f"d_in {d_in}, d_sae {d_sae}, batch {batch}, k {K}, {args.threads} threads, {args.rounds} rounds in turns.", "",
             "| architecture | peer | superlens, rows a second | peer | ratio (least to largest) | MB, anonymous | peer's MB, resident |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {a} | {lib} | {o:,.0f} | {p:,.0f} | {r:.2f} ({lo:.2f} to {hi:.2f}) | {m:,.0f} | {pm:,.0f} |"
              for a, lib, o, p, r, lo, hi, m, pm in rows]
    if args.fvu:
        # A denser code rebuilds more: each FVU stands with its L0.
        spelled = lambda fvu, l0: f"{fvu:.4f} (L0 {l0:,.0f})"
        lines += ["", f"Held-out FVU, and L0, after {args.fvu_steps} steps at a rate of {args.fvu_lr}:", "", "| architecture | superlens | peers |",
                  "|---|---|---|"]
        for arch in args.arches.split(","):
            libs = [lib for lib in ARCHES[arch][1] if not args.libs or lib in args.libs.split(",")]
            held_out = ours(args, arch, args.fvu_steps, args.fvu_lr, True)["held_out"]
            peers = {lib: peer(args, lib, arch, args.fvu_steps - 2, args.fvu_lr, True) for lib in libs}
            theirs = ", ".join(f"{lib} {spelled(told['fvu_eval'], told['l0_eval'])}" for lib, told in peers.items())
            lines.append(f"| {arch} | {spelled(held_out['fvu'], held_out['l0'])} | {theirs} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.markdown:
        args.markdown.write_text(text)


main()
