"""How the cost of a training step grows with the number of latents, with k and with the batch.

    cargo build --release
    python3 benches/sae_scaling.py --data peers-data/train_768.npy --out docs/figures

Every setting is measured --rounds times in turns; the table has medians. Needs Python alone; the rows may be any .npy file.
"""
import argparse, json, math, pathlib, statistics, subprocess, tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
ap.add_argument("--superlens", default=ROOT / "target/release/superlens")
ap.add_argument("--data", required=True)
ap.add_argument("--rounds", type=int, default=3)
ap.add_argument("--steps", type=int, default=8)
ap.add_argument("--arch", default="topk")
ap.add_argument("--out", type=pathlib.Path, required=True)
args = ap.parse_args()

USUAL = {"d_sae": 16384, "k": 32, "batch": 4096}
SWEEPS = {
    "d_sae": [4096, 8192, 16384, 32768, 65536, 131072],
    "k": [8, 16, 32, 64, 128, 256],
    "batch": [512, 1024, 2048, 4096, 8192],
}
NAMES = {"d_sae": "latents", "k": "active latents a row (k)", "batch": "rows a step"}


def measure(setting):
    with tempfile.TemporaryDirectory() as folder:
        words = [args.superlens, "train", "--activations", args.data, "--arch", args.arch, "--d-sae", setting["d_sae"], "--k", setting["k"],
                 "--batch", setting["batch"], "--steps", args.steps + 2, "--warmup", 0, "--checkpoint-every", 10**9, "--lr", 3e-4, "--dead-after", 10**9,
                 "--out", folder + "/run", "--json", "--quiet"]
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        return told["tokens_per_s"], told["peak_anon_mb"]


def picture(rows):
    """Three panels, each tokens a second over one setting, both logarithmic."""
    width, height, left, top, gap = 920, 300, 60, 46, 30
    panel = (width - left - 2 * gap - 20) / 3
    rates = [r for _, _, r, _ in rows]
    low, high = math.floor(math.log10(min(rates)) * 2) / 2, math.ceil(math.log10(max(rates)) * 2) / 2
    y = lambda v: top + (height - top - 60) * (1 - (math.log10(v) - low) / (high - low))
    bottom = y(10**low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>',
           f'<text x="{left}" y="22" font-size="15" font-weight="600">Rows a second in training ({args.arch}; '
           f'{USUAL["d_sae"]:,} latents, k {USUAL["k"]}, batch {USUAL["batch"]:,} where not said)</text>']
    for exponent in range(math.ceil(low), math.floor(high) + 1):
        for factor in (1, 2, 5):
            v = factor * 10**exponent
            if low <= math.log10(v) <= high:
                out.append(f'<line x1="{left}" x2="{width - 20}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#e9edf1"/>'
                           f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end" fill="#57606a">{v:,.0f}</text>')
    for p, name in enumerate(SWEEPS):
        own = [(v, r) for n, v, r, _ in rows if n == name]
        first, last = math.log2(own[0][0]), math.log2(own[-1][0])
        x0 = left + p * (panel + gap)
        x = lambda v: x0 + 14 + (panel - 28) * (math.log2(v) - first) / (last - first)
        points = " ".join(f"{x(v):.1f},{y(r):.1f}" for v, r in own)
        out.append(f'<polyline points="{points}" fill="none" stroke="#0a66b7" stroke-width="2"/>')
        for v, r in own:
            out.append(f'<circle cx="{x(v):.1f}" cy="{y(r):.1f}" r="4" fill="#0a66b7"><title>{v:,}: {r:,.0f} rows a second</title></circle>'
                       f'<text x="{x(v):.1f}" y="{bottom + 18:.1f}" text-anchor="middle" fill="#57606a">{v if v < 10000 else f"{v // 1024}k"}</text>')
        out.append(f'<text x="{x0 + panel / 2:.1f}" y="{bottom + 40:.1f}" text-anchor="middle">{NAMES[name]}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    settings = [(name, value) for name, values in SWEEPS.items() for value in values]
    measured = {s: [] for s in settings}
    for turn in range(args.rounds):
        for name, value in settings:
            measured[name, value].append(measure({**USUAL, name: value}))
            print(turn, name, value, round(measured[name, value][-1][0]), flush=True)
    rows = [(n, v, statistics.median(m[0] for m in got), max(m[1] for m in got)) for (n, v), got in measured.items()]
    print("\n| varied | value | rows a second | MB, anonymous |\n|---|---|---|---|")
    for name, value, rate, mb in rows:
        print(f"| {NAMES[name]} | {value:,} | {rate:,.0f} | {mb:,.0f} |")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "sae-scaling.svg").write_text(picture(rows))


main()
