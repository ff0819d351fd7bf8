"""A large matrix with planted features, for time and memory: rows of sparse features in random directions.

    python3 validation/planted.py planted.npy                 # 100,000 x 256 in f32, 640 features, 8 on in a row
    time target/release/superlens diagnose planted.npy
"""

import argparse

import numpy as np

CHUNK = 10_000  # rows made at a time

parser = argparse.ArgumentParser(description="Rows of sparse features in random directions, with 3 % noise.")
parser.add_argument("out", help=".npy file to write")
parser.add_argument("--rows", type=int, default=100_000)
parser.add_argument("--dims", type=int, default=256)
parser.add_argument("--features", type=int, default=640)
parser.add_argument("--l0", type=float, default=8.0, help="features on in a row, on average")
parser.add_argument("--seed", type=int, default=7)
args = parser.parse_args()

rng = np.random.default_rng(args.seed)
directions = rng.standard_normal((args.features, args.dims))
directions /= np.linalg.norm(directions, axis=1, keepdims=True)
out = np.lib.format.open_memmap(args.out, "w+", np.float32, (args.rows, args.dims))
for start in range(0, args.rows, CHUNK):
    shape = (min(CHUNK, args.rows - start), args.features)
    rows = np.where(rng.random(shape) < args.l0 / args.features, rng.random(shape), 0.0) @ directions
    out[start : start + len(rows)] = rows + 0.03 * rows.std() * rng.standard_normal(rows.shape)
