"""One pass over a store of activations for every unit: PyTorch, vectorised, against `superlens neurons`' pass.

    python bench_neurons.py --make rows.npy --rows 1000000 --units 4096     # once: rows in half precision, 8 GB
    superlens store import rows.npy --out rows && rm rows.npy
    python bench_neurons.py --store rows                                    # PyTorch
    superlens neurons rows --quick                                 # superlens

What both keep for each unit: the 20 largest values with their rows, mean, variance, skewness and kurtosis, the share of rows above zero, and a
histogram of four bins an octave on both sides of zero, from which quantiles are read. Both read the same store, from the page cache: run each twice.
"""
import argparse, glob, os, time
import numpy as np, torch
from safetensors import safe_open

ap = argparse.ArgumentParser()
ap.add_argument("--make"); ap.add_argument("--store"); ap.add_argument("--rows", type=int, default=1_000_000)
ap.add_argument("--units", type=int, default=4096); ap.add_argument("--block", type=int, default=4096)
ap.add_argument("--top", type=int, default=20); ap.add_argument("--threads", type=int, default=0)
ap.add_argument("--histogram", choices=["bincount", "none"], default="bincount")
args = ap.parse_args()
if args.threads: torch.set_num_threads(args.threads)
shape = (args.rows, args.units)

if args.make:
    # What GELU neurons look like: mostly a little below zero, sparse and heavy-tailed above.
    out = np.lib.format.open_memmap(args.make, mode="w+", dtype=np.float16, shape=shape); rng = np.random.default_rng(0)
    for i in range(0, args.rows, 1 << 13):
        n = min(1 << 13, args.rows - i)
        x = torch.nn.functional.gelu(torch.from_numpy(rng.standard_normal((n, args.units), dtype=np.float32) * 1.5 - 1.5))
        out[i:i + n] = x.half().numpy()
    out.flush(); raise SystemExit

SIDE = 128                                     # bins on each side of zero: 32 octaves of four
def bins(x):
    """The bin of every number, by the bits of its 32-bit form."""
    bits = x.view(torch.int32); size = ((bits & 0x7FFFFFFF) >> 21).sub_((127 - 16) << 2).clamp_(0, SIDE - 1)
    return torch.where(bits < 0, SIDE - 1 - size, SIDE + size)

shards = [safe_open(p, framework="pt") for p in sorted(glob.glob(os.path.join(args.store, "*", "shard-*.safetensors")))]
parts = [shard.get_slice("activations") for shard in shards]
args.rows = sum(p.get_shape()[0] for p in parts); args.units = parts[0].get_shape()[1]
def blocks():
    for p in parts:
        n = p.get_shape()[0]
        for i in range(0, n, args.block): yield p[i:min(i + args.block, n)]
start = time.perf_counter()
u = args.units
powers = torch.zeros(4, u, dtype=torch.float64); above = torch.zeros(u, dtype=torch.int64)
top = torch.full((args.top, u), -float("inf")); at = torch.zeros((args.top, u), dtype=torch.int64)
counts = torch.zeros(u * 2 * SIDE, dtype=torch.int64); offset = (torch.arange(u) * 2 * SIDE)[None]
centre, i = parts[0][:64].float().mean(0), 0
for block in blocks():
    x = block.float(); c = x - centre; c2 = c * c
    powers[0] += c.sum(0); powers[1] += c2.sum(0); powers[2] += (c2 * c).sum(0); powers[3] += (c2 * c2).sum(0)
    above += (x > 0).sum(0)
    v, k = x.topk(min(args.top, x.shape[0]), dim=0)
    both = torch.cat([top, v]); where = torch.cat([at, k + i])
    top, pick = both.topk(args.top, dim=0); at = where.gather(0, pick)
    if args.histogram == "bincount":
        counts += torch.bincount((bins(x).long() + offset).flatten(), minlength=u * 2 * SIDE)
    i += x.shape[0]
m = powers / args.rows
variance = m[1] - m[0] ** 2
kurtosis = (m[3] - 4 * m[0] * m[2] + 6 * m[0] ** 2 * m[1] - 3 * m[0] ** 4) / variance ** 2
print({"seconds": round(time.perf_counter() - start, 2), "torch": torch.__version__, "threads": torch.get_num_threads(), "rows": args.rows,
       "units": u, "histogram": args.histogram, "largest": float(top.max()), "kurtosis_of_unit_0": float(kurtosis[0])})
