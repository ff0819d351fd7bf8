#!/usr/bin/env bash
# From a model alone to a verdict: text of its own, activations, a dictionary, what that is worth, and why the neurons are polysemantic.
#
#     scripts/own_text.sh MODEL OUT [HOOK]
#
# MODEL is a folder, or the name of a model in the Hugging Face cache; OUT a new folder. TOKENS (2,000,000), LATENTS, K and SUPERLENS, the binary,
# may be set. What was ended goes on if the same is typed again. docs/own-text.md tells what came out for a small model.
set -euo pipefail
model=${1:?MODEL}
out=${2:?OUT}
hook=${3:-blocks.2.mlp.hook_post}
tokens=${TOKENS:-2000000}
superlens=${SUPERLENS:-target/release/superlens}
mkdir -p "$out"

# What the model says by itself, and what it says another time: to learn from, and to measure on.
[ -f "$out/own.jsonl" ] || "$superlens" generate --model "$model" --tokens "$tokens" --out "$out/own.jsonl" --seed 1
[ -f "$out/held_out.jsonl" ] || "$superlens" generate --model "$model" --tokens $((tokens / 20)) --out "$out/held_out.jsonl" --seed 2

# One row a token, as the model sees them; none for BOS and the like.
[ -f "$out/store/manifest.json" ] ||
    "$superlens" harvest --model "$model" --text "$out/own.jsonl" --hook "$hook" --skip-special-tokens --out "$out/store"

# Twice over the rows.
if [ -f "$out/sae/config.toml" ]; then
    [ -d "$out/sae/sae" ] || "$superlens" train --resume "$out/sae"
else
    "$superlens" train --activations "$out/store" --arch batch_topk ${LATENTS:+--d-sae "$LATENTS"} --k "${K:-16}" --tokens $((2 * tokens)) --out "$out/sae"
fi

# Is it faithful, and does the model still predict with it?
"$superlens" eval --sae "$out/sae" --model "$model" --text "$out/held_out.jsonl" --hook "$hook" --skip-special-tokens --json > "$out/eval.json"
"$superlens" intervene --model "$model" --text "$out/held_out.jsonl" --hook "$hook" --do mean --skip-special-tokens --json > "$out/ablated.json"

# Why are its neurons polysemantic?
[ -f "$out/report/report.html" ] || "$superlens" diagnose "$out/store" --basis privileged --out "$out/report"
echo "$out/report/report.html: the report; $out/eval.json: the dictionary"
