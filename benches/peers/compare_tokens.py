"""Text to tokens: superlens and the Python package `tokenizers` (encode_batch_fast) in turns, on the lines of texts, two threads each.

    cargo build --release --example encode -p superlens-lm --features tokenizers
    SUPERLENS_TEST_DATA=… python3 benches/peers/compare_tokens.py [--minilm FOLDER]
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from tokenizers import Tokenizer

ap = argparse.ArgumentParser()
ap.add_argument("--bin", default="target/release/examples/encode")
ap.add_argument("--minilm", help="the folder of all-MiniLM-L6-v2")
ap.add_argument("--rounds", type=int, default=5)
args = ap.parse_args()
os.environ |= {"RAYON_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "true"}
data = Path(os.environ["SUPERLENS_TEST_DATA"])
cases = {"Pythia": data / "pythia_tokenizer/20B_tokenizer.json", "stories260K": data / "stories260K/hf/tokenizer.json"}
if args.minilm:
    cases["MiniLM"] = Path(args.minilm) / "tokenizer.json"


def theirs(tokenizer, lines):
    start = time.perf_counter()
    made = tokenizer.encode_batch_fast(lines)
    return sum(len(one.ids) for one in made), time.perf_counter() - start


for name, path in cases.items():
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for text in ("tinyshakespeare.txt", "wikitext-2/wiki.test.tokens"):
        lines = (data / "texts" / text).read_text().split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines
        ours, peers = [], []
        for _ in range(args.rounds):
            out = json.loads(subprocess.run([args.bin, path, data / "texts" / text, "3"], check=True, capture_output=True).stdout)
            ours.append(statistics.median(out["seconds"]))
            three = [theirs(tokenizer, lines) for _ in range(3)]
            assert {tokens for tokens, _ in three} == {out["tokens"]}, "not the same tokens"
            peers.append(statistics.median(seconds for _, seconds in three))
        a, b = statistics.median(ours), statistics.median(peers)
        print(f"{name:<12} {text:<28} {out['tokens']:>8} tokens  ours {out['tokens'] / a:>9,.0f}/s  tokenizers {out['tokens'] / b:>9,.0f}/s  ratio {b / a:.2f}")
