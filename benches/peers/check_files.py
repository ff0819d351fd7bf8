"""Real files of the released packages, held against superlens, both ways.

For every architecture that sae-lens, eai-sparsify and dictionary-learning have: an autoencoder with random weights and one that the
package itself trained for some steps, saved by the package's own code.
- read: superlens (examples/sae_outputs) loads the file; its latents and reconstructions of the same rows against the package's.
- written: `superlens convert` writes it as each format; the package of that format loads what was written; its outputs against
  those of the package that the autoencoder is from. What superlens refuses must be in REFUSED.

Gemma Scope and OpenAI have no package that writes their files: those are made by their layouts, and computed here from the layout.
A difference is the largest one, relative to the largest value or 1. Any beyond 1e-5 ends the script with exit code 1.

    peers-venv/bin/python benches/peers/check_files.py --bin target/release [--fixtures fixtures/sae_files] [--markdown docs/formats.md]
"""
import argparse, json, os, shutil, subprocess, sys, tempfile, types, warnings
from pathlib import Path

os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")
warnings.filterwarnings("ignore")
import numpy as np, torch

import sae_lens
from safetensors.torch import save_file
from sae_lens import SAE
from sae_lens.registry import get_sae_class, get_sae_training_class
from sae_lens.saes.sae import TrainStepInput
from sparsify import SparseCoder, SparseCoderConfig
for name in ("nnsight", "zstandard"):  # dictionary_learning uses them for language models and corpora only
    try:
        __import__(name)
    except Exception:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].LanguageModel = object
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE, BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE, MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.p_anneal import PAnnealTrainer
from dictionary_learning.trainers.standard import StandardTrainer, StandardTrainerAprilUpdate
from dictionary_learning.trainers.top_k import AutoEncoderTopK, TopKTrainer
from dictionary_learning.utils import load_dictionary

D, M, K, OUT, ROWS = 12, 32, 4, 9, 16
TOLERANCE = 1e-5
FORMATS = ("saelens", "sparsify", "dictionary_learning")
torch.manual_seed(0)
X = torch.randn(ROWS, D)
# What a package trains on: sums of a few directions.
TRUE = torch.nn.functional.normalize(torch.randn(24, D), dim=1)


def batch(n=256):
    return ((torch.rand(n, 24) < 0.12) * torch.rand(n, 24)) @ TRUE * 2


def randomise(module, scale=0.3):
    """All weights normal, thresholds positive."""
    for name, p in module.named_parameters():
        p.data = torch.randn_like(p) * scale
        if name == "threshold":
            p.data = p.data.abs()


# ---- sae-lens

def saelens_config(arch, **kw):
    base = dict(d_in=D, d_sae=M, apply_b_dec_to_input=not arch.endswith("transcoder"))
    if "topk" in arch:
        base["k"] = K
    if arch.endswith("transcoder"):
        base["d_out"] = OUT
    return {**base, **kw}


def saelens_random(arch, **kw):
    cls, cfg = get_sae_class(arch)
    sae = cls(cfg(**saelens_config(arch, **kw)))
    randomise(sae)
    if arch == "matching_pursuit":
        sae.W_dec.data = torch.nn.functional.normalize(sae.W_dec.data, dim=1)
    sae.eval()
    return sae


def saelens_trained(arch, **kw):
    cls, cfg = get_sae_training_class(arch)
    if arch == "matryoshka_batchtopk":
        kw["matryoshka_widths"] = [8, 16]
    sae = cls(cfg(**saelens_config(arch, **kw)))
    optimiser = torch.optim.Adam(sae.parameters(), 1e-2)
    for i in range(60):
        x = batch()
        step = TrainStepInput(sae_in=x, dead_neuron_mask=None, n_training_steps=i, is_logging_step=False,
                              coefficients={k: 0.05 for k in ("l1", "l0", "pre_act_loss")})
        loss = sae.training_forward_pass(step).loss
        optimiser.zero_grad(); loss.backward(); optimiser.step()
    sae.eval()
    return sae


def saelens_outputs(path):
    sae = SAE.load_from_disk(str(path), dtype="float32")
    with torch.no_grad():
        return sae.encode(X), sae(X)


# ---- sparsify

def sparsify_coder(trained, **kw):
    coder = SparseCoder(D, SparseCoderConfig(num_latents=M, k=K, **kw))
    if not trained:
        randomise(coder)
        return coder
    mix = torch.randn(D, D) / D ** 0.5
    optimiser = torch.optim.Adam(coder.parameters(), 1e-2)
    for _ in range(60):
        x = batch()
        loss = coder(x, x @ mix if kw.get("transcode") else x).fvu
        optimiser.zero_grad(); loss.backward(); optimiser.step()
    return coder


def sparsify_outputs(path):
    coder = SparseCoder.load_from_disk(path)
    with torch.no_grad():
        encoded = coder.encode(X)
        dense = torch.zeros(len(X), coder.num_latents).scatter_(1, encoded.top_indices, encoded.top_acts)
        return dense, coder(X).sae_out


# ---- dictionary_learning

COMMON = dict(steps=10 ** 6, activation_dim=D, dict_size=M, layer=0, lm_name="synthetic", device="cpu", seed=0, warmup_steps=0, lr=1e-2)
TRAINERS = {
    "standard": lambda: StandardTrainer(sparsity_warmup_steps=None, l1_penalty=0.02, **COMMON),
    "april": lambda: StandardTrainerAprilUpdate(sparsity_warmup_steps=None, l1_penalty=0.02, **COMMON),
    "p_anneal": lambda: PAnnealTrainer(**{k: v for k, v in COMMON.items()}),
    "gated": lambda: GatedSAETrainer(sparsity_warmup_steps=None, l1_penalty=0.02, **COMMON),
    "topk": lambda: TopKTrainer(k=K, **COMMON),
    "batch_topk": lambda: BatchTopKTrainer(k=K, threshold_start_step=5, **COMMON),
    "matryoshka": lambda: MatryoshkaBatchTopKTrainer(k=K, threshold_start_step=5, group_fractions=[0.25, 0.75], **COMMON),
    "jumprelu": lambda: JumpReluTrainer(target_l0=float(K), sparsity_warmup_steps=None, sparsity_penalty=0.1, **COMMON),
}
CLASSES = {
    "standard": lambda: AutoEncoder(D, M), "april": lambda: AutoEncoderNew(D, M), "gated": lambda: GatedAutoEncoder(D, M),
    "topk": lambda: AutoEncoderTopK(D, M, K), "batch_topk": lambda: BatchTopKSAE(D, M, K),
    "matryoshka": lambda: MatryoshkaBatchTopKSAE(D, M, K, [8, 24]), "jumprelu": lambda: JumpReluAutoEncoder(D, M),
}


def dictionary(arch, trained):
    if trained:
        trainer = TRAINERS[arch]()
        for i in range(60):
            trainer.update(i, batch())
        return trainer.ae, trainer.config
    ae = CLASSES[arch]()
    randomise(ae)
    if arch in ("batch_topk", "matryoshka"):
        ae.threshold.fill_(0.4)
    config = dict(dict_class=type(ae).__name__, trainer_class="none", activation_dim=D, dict_size=M, lm_name="synthetic", layer=0)
    return ae, {**config, **({"k": K} if hasattr(ae, "k") else {})}


def save_dictionary(ae, config, path, payload=None):
    """As trainSAE saves it."""
    path.mkdir(parents=True)
    torch.save(payload or {k: v.cpu() for k, v in ae.state_dict().items()}, path / "ae.pt")
    (path / "config.json").write_text(json.dumps({"trainer": config}, default=str))


def dictionary_outputs(path, as_saved=False):
    if as_saved and json.loads((path / "config.json").read_text())["trainer"]["dict_class"] == "AutoEncoder":
        ae = AutoEncoder.from_pretrained(str(path / "ae.pt"), normalize_decoder=False)
    else:
        ae, _ = load_dictionary(str(path), "cpu")
    with torch.no_grad():
        return ae.encode(X), ae(X)


OUTPUTS = {"saelens": saelens_outputs, "sparsify": sparsify_outputs, "dictionary_learning": dictionary_outputs}

# ---- the cases: (package, architecture, how made, folder or file, its latents, its reconstructions, flags)


def cases(root):
    def saved(package, arch, made, path, outputs, flags=()):
        return dict(package=package, arch=arch, made=made, path=path, latents=outputs[0], recon=outputs[1], flags=list(flags))

    def lens(arch, label=None, **kw):
        label = label or arch
        path = root / f"saelens-{label.replace(' ', '-')}-random"
        saelens_random(arch, **kw).save_model(path)
        return saved("saelens", label, "random", path, saelens_outputs(path))

    for arch in ("standard", "topk", "abstopk", "jumprelu", "gated", "matching_pursuit", "transcoder", "skip_transcoder",
                 "jumprelu_transcoder", "jumprelu_skip_transcoder"):
        yield lens(arch)
    yield lens("standard", "standard uncentred", apply_b_dec_to_input=False)
    yield lens("standard", "standard layer_norm", normalize_activations="layer_norm")
    yield lens("topk", "topk constant_norm", normalize_activations="constant_norm_rescale")
    yield lens("topk", "topk rescaled", rescale_acts_by_decoder_norm=True)
    yield lens("abstopk", "abstopk rescaled", rescale_acts_by_decoder_norm=True)
    yield lens("jumprelu", "jumprelu float64", dtype="float64")
    yield lens("standard", "standard bfloat16", dtype="bfloat16")
    yield lens("matching_pursuit", "matching_pursuit uncentred", apply_b_dec_to_input=False, max_iterations=6, residual_threshold=0.5,
               stop_on_duplicate_support=False)
    for arch in ("standard", "topk", "abstopk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated", "matching_pursuit"):
        sae = saelens_trained(arch)
        path, checkpoint = root / f"saelens-{arch}-trained", root / f"saelens-{arch}-checkpoint"
        sae.save_inference_model(path)
        sae.save_model(checkpoint)
        outputs = saelens_outputs(path)
        yield saved("saelens", arch, "trained", path, outputs)
        yield saved("saelens", arch, "checkpoint", checkpoint, outputs)
    # Before version 6: the layout by hand, loaded by the package itself.
    for label, extra in {"old standard": {}, "old topk": {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
                         "old gated": {"architecture": "gated"}}.items():
        arch = label.split()[1]
        path = root / f"saelens_v5-{arch}-random"
        saelens_random(arch).save_model(path)
        config = {"d_in": D, "d_sae": M, "dtype": "torch.float32", "device": "cpu", "model_name": "gpt2-small",
                  "hook_point": "blocks.0.hook_resid_pre", "normalize_activations": False, **extra}
        (path / "cfg.json").write_text(json.dumps(config))
        yield saved("saelens_v5", arch, "random", path, saelens_outputs(path))

    many = root / "sparsify-run"
    for label, kw in {"topk": {}, "groupmax": {"activation": "groupmax"}, "transcoder": {"transcode": True},
                      "skip transcoder": {"transcode": True, "skip_connection": True}, "skip": {"skip_connection": True}}.items():
        for made in ("random", "trained"):
            path = root / f"sparsify-{label.replace(' ', '-')}-{made}"
            sparsify_coder(made == "trained", **kw).save_to_disk(path)
            yield saved("sparsify", label, made, path, sparsify_outputs(path))
    for key in ("layers.0.mlp/seed0", "layers.0.mlp/seed1", "layers.1"):
        sparsify_coder(False).save_to_disk(many / key)
    yield saved("sparsify", "topk, one of a run", "random", many, sparsify_outputs(many / "layers.0.mlp/seed1"), ["layers.0.mlp/seed1"])

    for arch in CLASSES:
        ae, config = dictionary(arch, False)
        path = root / f"dictionary_learning-{arch}-random"
        save_dictionary(ae, config, path)
        yield saved("dictionary_learning", arch, "random", path, dictionary_outputs(path, as_saved=True))
    for arch in TRAINERS:
        ae, config = dictionary(arch, True)
        path = root / f"dictionary_learning-{arch}-trained"
        save_dictionary(ae, config, path)
        yield saved("dictionary_learning", arch, "trained", path, dictionary_outputs(path, as_saved=True))
    for arch in ("standard", "gated", "batch_topk", "jumprelu"):  # a backup under the same name, on scaled activations
        ae, config = dictionary(arch, False)
        path = root / f"dictionary_learning-{arch}-backup"
        optimiser = torch.optim.Adam(ae.parameters())
        payload = dict(step=7, ae={k: v.clone() for k, v in ae.state_dict().items()}, optimizer=optimiser.state_dict(), config=config, norm_factor=2.5)
        save_dictionary(ae, config, path, payload)
        with torch.no_grad():
            ae.scale_biases(2.5)
            yield saved("dictionary_learning", arch, "backup", path, (ae.encode(X), ae(X)))

    for label, root_d in {"residual": 1.0, "embedding": D ** 0.5}.items():
        w = {k: np.random.default_rng(1).normal(size=s).astype(np.float32) * 0.3
             for k, s in dict(W_enc=(D, M), W_dec=(M, D), b_enc=M, b_dec=D).items()}
        w["threshold"] = np.abs(np.random.default_rng(2).normal(size=M)).astype(np.float32) * 0.3
        place = "layer_3" if label == "residual" else "embedding"
        path = root / f"gemma_scope-{label}" / "gemma-scope-2b-pt-res" / place / "width_16k/average_l0_4"
        path.mkdir(parents=True)
        np.savez(path / "params.npz", **w)
        t = {k: torch.from_numpy(v) for k, v in w.items()}
        z = X @ (t["W_enc"] / root_d) + t["b_enc"]
        f = torch.relu(z) * (z > t["threshold"])
        yield saved("gemma_scope", label, "by layout", path, (f, f @ (t["W_dec"] * root_d) + t["b_dec"]))

    for act in ("ReLU", "TopK"):
        state = {"pre_bias": torch.randn(D) * 0.3, "encoder.weight": torch.randn(M, D) * 0.3, "latent_bias": torch.randn(M) * 0.3,
                 "decoder.weight": torch.randn(D, M) * 0.3, "stats_last_nonzero": torch.zeros(M, dtype=torch.long),
                 "latents_activation_frequency": torch.zeros(M), "latents_mean_square": torch.zeros(M), "activation": act,
                 "activation_state_dict": {"k": K, "postact_fn": "ReLU"} if act == "TopK" else {}}
        path = root / f"openai-{act.lower()}.pt"
        torch.save(state, path)
        mean = X.mean(-1, keepdim=True) if act == "TopK" else 0
        std = (X - mean).std(-1, keepdim=True) if act == "TopK" else 1
        x = (X - mean) / (std + 1e-5) if act == "TopK" else X
        z = (x - state["pre_bias"]) @ state["encoder.weight"].T + state["latent_bias"]
        if act == "TopK":
            top = z.topk(K, dim=-1)
            z = torch.zeros_like(z).scatter_(-1, top.indices, top.values)
        f = torch.relu(z)
        yield saved("openai", act, "by layout", path, (f, (f @ state["decoder.weight"].T + state["pre_bias"]) * std + mean))


def refused(case, target):
    """Whether `target` has no form for it."""
    arch, package = case["arch"].split()[0].rstrip(","), case["package"]
    topk = arch in ("topk", "TopK") or package == "sparsify" and arch in ("transcoder", "skip")
    normed = "norm" in case["arch"] or case["arch"] == "TopK"
    if target == "saelens":
        return arch == "groupmax" or (package == "sparsify" and "skip" in case["arch"])
    if target == "sparsify":
        return not (topk or arch == "groupmax") or normed
    return arch in ("abstopk", "groupmax", "matching_pursuit") or normed or "transcoder" in arch and package == "saelens" or "skip" in case["arch"]


def difference(ours, theirs):
    ours, theirs = torch.as_tensor(np.asarray(ours)).double(), theirs.double()
    if ours.shape != theirs.shape:
        return float("inf")
    worst = (ours - theirs).abs().max().item() / max(1.0, theirs.abs().max().item(), ours.abs().max().item())
    return worst if worst == worst else float("inf")


def check_read(case, binaries, scratch):
    np.save(scratch / "x.npy", X.numpy())
    command = [binaries / "examples/sae_outputs", case["path"], scratch / "x.npy", scratch / "latents.npy", scratch / "recon.npy", *case["flags"]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"not read: {done.stderr.strip()}"
    pairs = [("latents", case["latents"]), ("recon", case["recon"])]
    return max(difference(np.load(scratch / f"{name}.npy"), theirs) for name, theirs in pairs)


def check_written(case, target, binaries, scratch):
    out = scratch / "written"
    shutil.rmtree(out, ignore_errors=True)
    command = [binaries / "superlens", "convert", case["path"], out, "--to", target, *(f for key in case["flags"] for f in ("--key", key))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 2 and "can't hold this autoencoder" in done.stderr:
        return "refused" if refused(case, target) else f"refused: {done.stderr.strip()}"
    if done.returncode:
        return f"not written: {done.stderr.strip()}"
    if refused(case, target):
        return "written, though it should be refused"
    outputs = OUTPUTS[target](out)
    return max(difference(outputs[0], case["latents"]), difference(outputs[1], case["recon"]))


def keep(case, folder):
    """The files and what they must give, for the tests that run without these packages."""
    name = f"{case['package']}-{case['arch']}-{case['made']}".replace(",", "").replace(" ", "-").lower()
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if case["path"].is_file():
        shutil.copy(case["path"], place / "sae.pt")
    elif case["package"] == "gemma_scope":
        shutil.copytree(case["path"].parents[3], place / "sae")
    else:
        shutil.copytree(case["path"], place / "sae")
    save_file({"x": X, "latents": case["latents"].detach().float().contiguous(), "recon": case["recon"].detach().float().contiguous()},
              place / "expected.safetensors")
    if case["flags"]:
        (place / "key").write_text(case["flags"][0])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", type=Path, default=Path("target/release"), help="where superlens and examples/sae_outputs are")
    ap.add_argument("--fixtures", type=Path, help="keep the files here")
    ap.add_argument("--markdown", type=Path, help="the document whose table is replaced")
    args = ap.parse_args()
    rows, bad = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for case in cases(scratch / "saved"):
            results = [check_read(case, args.bin.resolve(), scratch)]
            results += [check_written(case, target, args.bin.resolve(), scratch) for target in FORMATS]
            bad += sum(1 for r in results if not (r == "refused" or isinstance(r, float) and r <= TOLERANCE))
            shown = [f"{r:.1e}" if isinstance(r, float) else r for r in results]
            l0 = (case["latents"] != 0).float().sum(-1).mean().item()
            rows.append([case["package"], case["arch"], case["made"], f"{l0:.1f}", *shown])
            print("  ".join(rows[-1]), flush=True)
            # Trained ones have the layouts of random ones; of some checkpoints the layout differs from the finished file's.
            kept = case["made"] != "trained" and (case["made"] != "checkpoint" or case["arch"] in ("batchtopk", "topk", "jumprelu"))
            if args.fixtures and kept:
                keep(case, args.fixtures)
    numbers = [float(cell) for row in rows for cell in row[4:] if cell[0].isdigit()]
    summary = f"{len(rows)} autoencoders, {len(numbers)} comparisons, largest difference {max(numbers):.1e}, {bad} beyond {TOLERANCE:.0e} or wrongly refused"
    print(summary)
    if args.markdown:
        head = ["package", "architecture", "made", "L0", "read", *(f"as {f}" for f in FORMATS)]
        table = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
        text, marker = args.markdown.read_text(), "<!-- Everything below is written by that command. -->"
        args.markdown.write_text("\n".join([text[:text.index(marker)] + marker, "", summary + ".", "", *table, ""]))
    sys.exit(1 if bad else 0)


main()
