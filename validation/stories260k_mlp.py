"""The first MLP's hidden activations of stories260K, a real trained Llama decoder, over texts of your choice.

    python3 validation/stories260k_mlp.py --model-dir DIR --out mlp0.npy TEXT...
    superlens diagnose mlp0.npy --basis privileged --out runs/mlp0

DIR holds `hf/model.safetensors` (Hugging Face Llama layout), `tok512.bin` (llama2.c tokenizer),
`reference.safetensors` and `reference.json` (known activations and encodings). The forward pass and the tokenizer are
checked against the last two first; if they differ, nothing is written.

Only the embedding, the first attention block and the first MLP are run: nothing later can change its activations.
"""

import argparse
import heapq
import json
import pathlib
import struct
import sys

import numpy as np
from safetensors.numpy import load_file

HEADS, KV_HEADS, HEAD_DIM = 8, 4, 8
ROPE_THETA, NORM_EPS = 10_000.0, 1e-5
CONTEXT = 512
BOS = 1
FIRST_BYTE = 3  # ids 3 to 258 are the raw bytes
SEPARATOR = "<|endoftext|>"
TOLERANCE = 1e-4  # the reference is f64 stored as f32; f32 implementations come within 1.5e-5


# ---- Tokenizer ---------------------------------------------------------------------------------------------


def load_tokenizer(path):
    """{piece: (id, score)} from llama2.c's format: i32 longest piece, then per id f32 score, i32 length, bytes."""
    raw = path.read_bytes()
    pieces, at = {}, 4
    while at < len(raw):
        score, length = struct.unpack_from("<fi", raw, at)
        at += 8
        pieces[raw[at : at + length]] = (len(pieces), score)
        at += length
    return pieces


def encode(text, pieces):
    """Token ids of a text without BOS, as llama2.c has them: a dummy space, a token a character (its bytes where the
    character has no piece), then again and again the merge with the highest score, the leftmost on a tie.

    llama2.c scans all pairs before each merge, which is quadratic; a heap over a linked list of tokens makes the same
    merges in the same order on a text of a million characters.
    """
    vocabulary = {index: piece for piece, (index, _) in pieces.items()}
    ids = []
    for character in " " + text if text else "":
        raw = character.encode("utf-8")
        ids += [pieces[raw][0]] if raw in pieces else [byte + FIRST_BYTE for byte in raw]
    following = list(range(1, len(ids) + 1))
    preceding = list(range(-1, len(ids) - 1))
    heap = []

    def offer(left):
        """Puts the merge of the token at `left` with its successor on the heap, if their union is a piece."""
        right = following[left]
        if right < len(ids):
            merged = pieces.get(vocabulary[ids[left]] + vocabulary[ids[right]])
            if merged:
                heapq.heappush(heap, (-merged[1], left, ids[left], ids[right], merged[0]))

    for left in range(len(ids)):
        offer(left)
    while heap:
        _, left, left_id, right_id, merged_id = heapq.heappop(heap)
        right = following[left]
        # An entry is stale once a merge beside it has used one of its tokens up.
        if ids[left] != left_id or right >= len(ids) or ids[right] != right_id:
            continue
        ids[left], ids[right] = merged_id, None
        following[left] = following[right]
        if following[left] < len(ids):
            preceding[following[left]] = left
        if preceding[left] >= 0:
            offer(preceding[left])
        offer(left)
    return [index for index in ids if index is not None]


def windows(text, pieces, limit):
    """Windows of at most CONTEXT ids, each starting with BOS. A text is split into documents at the separator of
    TinyStories; documents and windows stay in order. At most `limit` tokens (BOS not counted) are used."""
    for document in text.split(SEPARATOR):
        ids = encode(document.strip(), pieces)[:limit]
        limit -= len(ids)
        for start in range(0, len(ids), CONTEXT - 1):
            yield np.array([BOS, *ids[start : start + CONTEXT - 1]])


# ---- Forward pass, in f64 from the f32 weights -------------------------------------------------------------


def rms_norm(x, weight):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + NORM_EPS) * weight


def rope(x):
    """Rotary positions on [heads, tokens, HEAD_DIM] in the rotate-half layout: component i is paired with i + half."""
    half = HEAD_DIM // 2
    angle = np.arange(x.shape[1])[:, None] * ROPE_THETA ** (-np.arange(half) / half)
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def heads(x, weight, count):
    """[tokens, 64] projected and split to [count, tokens, HEAD_DIM]."""
    return (x @ weight.T).reshape(len(x), count, HEAD_DIM).transpose(1, 0, 2)


def attention(x, layer):
    """Causal attention with grouped queries: two query heads share a key and value head."""
    q = rope(heads(x, layer["self_attn.q_proj"], HEADS))
    group = HEADS // KV_HEADS
    k = np.repeat(rope(heads(x, layer["self_attn.k_proj"], KV_HEADS)), group, axis=0)
    v = np.repeat(heads(x, layer["self_attn.v_proj"], KV_HEADS), group, axis=0)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(HEAD_DIM)
    scores[:, ~np.tri(len(x), dtype=bool)] = -np.inf
    pattern = np.exp(scores - scores.max(axis=-1, keepdims=True))
    pattern /= pattern.sum(axis=-1, keepdims=True)
    z = (pattern @ v).transpose(1, 0, 2).reshape(len(x), HEADS * HEAD_DIM)
    return z @ layer["self_attn.o_proj"].T


def first_mlp_hidden(ids, embedding, layer):
    """silu(gate) · up of layer 0, [tokens, 172]: what the down projection reads (`layers.0.mlp_hidden`)."""
    residual = embedding[ids]
    residual = residual + attention(rms_norm(residual, layer["input_layernorm"]), layer)
    x = rms_norm(residual, layer["post_attention_layernorm"])
    gate, up = x @ layer["mlp.gate_proj"].T, x @ layer["mlp.up_proj"].T
    return gate / (1.0 + np.exp(-gate)) * up


def token_identity_only(hidden, ids, seed=0):
    """The same layer if it knew nothing but the current token: each row its token's mean, plus Gaussian noise of the
    covariance within tokens. What is still found here is a lookup of tokens; what isn't needs the context."""
    counts = np.maximum(np.bincount(ids), 1)
    means = np.zeros((len(counts), hidden.shape[1]))
    np.add.at(means, ids, hidden)
    means /= counts[:, None]
    within = hidden - means[ids]
    noise = np.random.default_rng(seed).multivariate_normal(np.zeros(hidden.shape[1]), np.cov(within.T), len(hidden))
    print(f"the current token explains {1 - within.var(axis=0).sum() / hidden.var(axis=0).sum():.0%} of the variance")
    return (means[ids] + noise).astype(np.float32)


def load_model(path):
    """The embedding [512, 64] and layer 0's weights by short name, as f64."""
    tensors = load_file(path)
    prefix, suffix = "model.layers.0.", ".weight"
    layer = {k[len(prefix) : -len(suffix)]: v.astype(np.float64) for k, v in tensors.items() if k.startswith(prefix)}
    return tensors["model.embed_tokens.weight"].astype(np.float64), layer


def check(folder, pieces, model):
    """Exits unless the tokenizer and the forward pass agree with the reference."""
    for case in json.loads((folder / "reference.json").read_text(encoding="utf-8"))["tokenizer_cases"]:
        found = [BOS, *encode(case["text"], pieces)]
        if found != case["ids"]:
            sys.exit(f"tokenizer: {case['text']!r} gives {found}, the reference has {case['ids']}")
    reference = load_file(folder / "reference.safetensors")
    for name in ["greedy64", "text64"]:
        expected = reference[f"{name}.layers.0.mlp_hidden"]
        error = np.abs(first_mlp_hidden(reference[f"{name}.input_ids"], *model) - expected).max()
        if not error <= TOLERANCE:
            sys.exit(f"forward pass: {name}.layers.0.mlp_hidden is off by {error:.2e}, allowed {TOLERANCE:.0e}")
        print(f"{name}.layers.0.mlp_hidden: largest difference from the reference {error:.1e}")


def main():
    parser = argparse.ArgumentParser(description="Hidden activations of stories260K's first MLP over texts.")
    parser.add_argument("--model-dir", type=pathlib.Path, required=True, help="folder of stories260K")
    parser.add_argument("--out", type=pathlib.Path, required=True, help=".npy file to write, [tokens, 172] f32")
    parser.add_argument("--max-tokens", type=int, default=20_000, help="tokens used of each text (default 20000)")
    parser.add_argument("--control", type=pathlib.Path, help="also write the layer as if it knew only the current token")
    parser.add_argument("texts", type=pathlib.Path, nargs="+", metavar="TEXT", help="UTF-8 text files")
    args = parser.parse_args()

    pieces = load_tokenizer(args.model_dir / "tok512.bin")
    model = load_model(args.model_dir / "hf" / "model.safetensors")
    check(args.model_dir, pieces, model)

    rows, tokens = [], []
    for path in args.texts:
        before = sum(map(len, rows))
        for ids in windows(path.read_text(encoding="utf-8"), pieces, args.max_tokens):
            # Nothing precedes BOS, so its row is the same in every window: a copy, not a sample.
            rows.append(first_mlp_hidden(ids, *model)[1:].astype(np.float32))
            tokens.append(ids[1:])
        print(f"{path.name}: {sum(map(len, rows)) - before} tokens")
    hidden = np.concatenate(rows)
    np.save(args.out, hidden)
    print(f"{args.out}: {hidden.shape[0]} x {hidden.shape[1]}")
    if args.control:
        np.save(args.control, token_identity_only(hidden, np.concatenate(tokens)))


if __name__ == "__main__":
    main()
