"""Results of `superlens eval --saebench` against SAEBench itself.

    pip download sae-bench==0.6.0 --no-deps && unzip sae_bench-0.6.0-*.whl -d sae-bench
    python3 benches/peers/check_saebench.py --bin target/release/superlens --package sae-bench

Trains a few small autoencoders, writes their core results, and holds each against the JSON schema of the package and against the package's
own class, which reads it. The numbers that the package reads off the weights are computed by its function as well. Needs the venv of
install.sh, and jsonschema for the schema.
"""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch
from pydantic import TypeAdapter
from sae_lens import SAE

ARCHES = ["topk", "batch_topk", "relu", "jumprelu", "gated", "matching_pursuit"]
# Flags that an architecture has no use for are refused.
SPARSITY = {"relu": [], "gated": [], "jumprelu": ["--target-l0", "4"]}


def package(path):
    """The class and the two functions, without what the package imports for other evaluations."""
    sys.path.insert(0, str(path))
    from sae_bench.evals.core.eval_output import CoreEvalOutput

    source = (path / "sae_bench/evals/core/main.py").read_text()
    wanted = {"calculate_max_cosine_sim", "get_featurewise_weight_based_metrics"}
    functions = [f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef) and f.name in wanted]
    for function in functions:
        function.decorator_list = []
    module = types.ModuleType("of_the_weights")
    module.__dict__.update(torch=torch, SAE=SAE, Any=Any)
    exec(compile(ast.Module(functions, []), "main.py", "exec"), module.__dict__)
    return CoreEvalOutput, module.get_featurewise_weight_based_metrics


def weights(path):
    """As the package sees them: it asks for the architecture by a name that newer versions of SAELens have no more."""
    sae = SAE.load_from_disk(path)
    there = {name: getattr(sae, name) for name in ("W_enc", "W_dec", "b_enc", "b_mag") if hasattr(sae, name)}
    config = types.SimpleNamespace(architecture_str=sae.cfg.architecture(), d_sae=sae.cfg.d_sae)
    return types.SimpleNamespace(cfg=config, **there)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--package", type=Path, required=True)
    args = parser.parse_args()
    schema = json.loads((args.package / "sae_bench/evals/core/eval_output_schema_core.json").read_text())
    output, of_the_weights = package(args.package)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder / "x.npy", rng.laplace(size=(2000, 16)).astype("f4"))
        for arch in ARCHES:
            call = [args.bin, "--quiet", "train", "--activations", "x.npy", "--arch", arch, "--d-sae", "48", "--out", arch]
            call += ["--batch", "128", "--steps", "50", *SPARSITY.get(arch, ["--k", "4"])]
            subprocess.run(call, cwd=folder, check=True, capture_output=True)
            call = [args.bin, "--quiet", "eval", "--sae", arch, "--activations", "x.npy", "--saebench", f"{arch}.json"]
            subprocess.run(call, cwd=folder, check=True, capture_output=True)
            document = json.loads((folder / f"{arch}.json").read_text())
            jsonschema.validate(document, schema)
            TypeAdapter(output).validate_python(document)
            unknown = {name.split(".")[-1] for name in document["eval_result_unstructured"]["not_measured"]}
            on_weights = "no encoder to compare"
            if arch != "matching_pursuit":
                theirs = of_the_weights(weights(folder / arch / "sae"))
                ours = document["eval_result_details"]
                gaps = [abs(o[k] - t) for k, v in theirs.items() for o, t in zip(ours, v)]
                worst = max(gaps)
                assert worst < 1e-4, (arch, worst)
                on_weights = f"largest difference on the weights {worst:.1e}"
            print(f"{arch}: valid; {len(unknown)} numbers not measured; {on_weights}")


if __name__ == "__main__":
    main()
