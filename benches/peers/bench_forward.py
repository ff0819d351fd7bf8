"""Tokens a second of a causal model of transformers to its logits: MODEL LENGTH SEQUENCES THREADS. Prints {tokens_per_s}."""
import json, os, sys, time

model, length, sequences, threads = sys.argv[1], *map(int, sys.argv[2:5])
os.environ["HF_HUB_OFFLINE"] = "1"
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(threads)
import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(threads)
net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
ids = torch.tensor([[1 + (7 * s + 13 * i) % 500 for i in range(length)] for s in range(sequences)])
rates = []
with torch.inference_mode():
    net(input_ids=ids, use_cache=False)
    for _ in range(7):
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < 0.5:
            net(input_ids=ids, use_cache=False)
            done += ids.numel()
        rates.append(done / (time.perf_counter() - start))
print(json.dumps({"tokens_per_s": sorted(rates)[len(rates) // 2]}))
