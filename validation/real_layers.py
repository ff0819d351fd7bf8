"""Do verdicts on a real network hold? Every layer of a model, from halves of its text, from several seeds, with features planted, turned and shuffled.

    superlens generate --model stories260K --tokens 600000 --out own.jsonl
    python3 validation/real_layers.py --superlens target/release/superlens --model stories260K --text own.jsonl --work work --markdown page.md

Needs NumPy and safetensors. For every layer's MLP neurons and residual stream: the verdict from the whole text under three seeds and from each half of
its documents. For one layer of each kind (--middle): sparse features planted along random directions at several sizes, and how many more are counted;
the rows turned by a random rotation; every column shuffled by itself. Resumes: what is in WORK is not computed again.
"""
import argparse, json, os, subprocess, sys
import numpy as np
from safetensors.numpy import load_file

ap = argparse.ArgumentParser()
for name in ("--superlens", "--model", "--text", "--work"): ap.add_argument(name, required=True)
ap.add_argument("--tokenizer"); ap.add_argument("--layers", type=int, default=5); ap.add_argument("--middle", type=int, default=2)
ap.add_argument("--sites", nargs="+", default=["mlp.hook_post", "hook_resid_post"])
ap.add_argument("--planted", type=int, default=40); ap.add_argument("--markdown")
args = ap.parse_args()
os.makedirs(args.work, exist_ok=True)
at = lambda *names: os.path.join(args.work, *names)
hooks = [f"blocks.{l}.{s}" for l in range(args.layers) for s in args.sites]

def run(*words):
    done = subprocess.run([args.superlens, *words], capture_output=True, text=True)
    if done.returncode: sys.exit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout

def harvest(text, store):
    if os.path.exists(at(store, "manifest.json")): return
    more = ["--tokenizer", args.tokenizer] if args.tokenizer else []
    run("harvest", "--model", args.model, "--text", text, "--hook", *hooks, "--out", at(store), "--quiet", *more)

def diagnose(name, *words):
    path = at(name + ".json")
    if not os.path.exists(path):
        text = run("diagnose", *words, "--json", "--quiet")
        with open(path + ".part", "w") as f: f.write(text)
        os.replace(path + ".part", path)
    layer = json.load(open(path))["layer"]
    n = layer.get("n_features") or {}
    verdict = layer["verdict"] + (f"/{layer['mechanism']}" if layer["mechanism"] else "")
    return {"verdict": verdict, "confidence": layer["confidence"], "n": n.get("estimate"), "bound": n.get("lower_bound")}

documents = open(args.text).read().splitlines()
for half in (0, 1):
    with open(at(f"half{half}.jsonl"), "w") as f: f.write("\n".join(documents[half::2]) + "\n")
harvest(args.text, "whole")
for half in (0, 1): harvest(at(f"half{half}.jsonl"), f"store{half}")

lines, kept, told = [], 0, 0
say = lambda line="": (lines.append(line), print(line, flush=True))
tell = lambda d: f"{d['verdict']} ({d['confidence']:.2f})"
say("| layer | seeds 0, 1, 2 | half a | half b | features, whole | the same? |"); say("|---|---|---|---|---|---|")
for hook in hooks:
    seeds = [diagnose(f"{hook}.seed{s}", at("whole"), "--hook", hook, "--seed", str(s)) for s in range(3)]
    halves = [diagnose(f"{hook}.half{h}", at(f"store{h}"), "--hook", hook) for h in (0, 1)]
    same = len({d["verdict"] for d in seeds + halves}) == 1
    if seeds[0]["verdict"] != "inconclusive": told += 1; kept += same
    n = f"{'at least ' if seeds[0]['bound'] else ''}{seeds[0]['n']}" if seeds[0]["n"] else "–"
    say(f"| `{hook}` | {', '.join(tell(d) for d in seeds)} | {tell(halves[0])} | {tell(halves[1])} | {n} | {'yes' if same else 'no'} |")
say(); say(f"The same verdict from both halves and all seeds in {kept} of {told} layers that aren't inconclusive."); say()

rng = np.random.default_rng(20261201)
def rows(hook, most=60000):
    folder = at("whole", hook)
    x = np.concatenate([load_file(os.path.join(folder, f))["activations"] for f in sorted(os.listdir(folder))]).astype(np.float32)
    return x[:most]
say(f"| layer | rows | as they are | {args.planted} planted features, each at a size of | turned | shuffled |"); say("|---|---|---|---|---|---|")
for site in args.sites:
    hook = f"blocks.{args.middle}.{site}"; x = rows(hook); n, d = x.shape
    def put(name, y):
        path = at(f"{hook}.{name}.npy")
        if not os.path.exists(at(f"{hook}.{name}.json")): np.save(path, y.astype(np.float32))
        found = diagnose(f"{hook}.{name}", path, "--basis", "privileged" if "mlp" in site else "none")
        if os.path.exists(path): os.remove(path)
        return found
    plain = put("plain", x)
    scale = np.sqrt(x.var(0).sum() / d)                          # of a coordinate
    directions = rng.standard_normal((args.planted, d)).astype(np.float32); directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    on = (rng.random((n, args.planted)) < 0.01) * (0.5 + rng.random((n, args.planted)))
    found = []
    for size in (2, 4, 8, 16):
        y = put(f"planted{size}", x + size * scale * (on.astype(np.float32) @ directions))
        more = (y["n"] or 0) - (plain["n"] or 0)
        found.append(f"{size}: {more:+d} ({y['verdict']})")
    turned = put("turned", x @ np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32))
    shuffled = put("shuffled", np.stack([rng.permutation(c) for c in x.T], 1))
    say(f"| `{hook}` | {n} | {tell(plain)}, {plain['n']} features | {'; '.join(found)} | {tell(turned)} | {tell(shuffled)} |")
if args.markdown: open(args.markdown, "w").write("\n".join(lines) + "\n")
