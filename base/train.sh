#!/bin/sh
# Make the base model: its corpus and tokenizer, random weights, training with wgpu-sft. `make base-model` runs this after building.
# What is shipped in base/data and base/model is written anew; the corpus and the run stay in $BASE_DIR (default: target/base).
# Run it again after an interruption, and it goes on from the newest checkpoint.
set -eu
cd "$(dirname "$0")/.."

sft=target/release/wgpu-sft
dir=${BASE_DIR:-target/base}

target/release/wgpu-sft-base "$dir"
mkdir -p base/data base/model
cp "$dir"/data/* base/data/
cp "$dir"/model/*.json base/model/

if [ ! -f "$dir/start/model.safetensors" ]; then
    $sft init --config base/model/config.json --output-dir "$dir/start" --seed 42
    cp base/model/tokenizer.json base/model/tokenizer_config.json base/model/generation_config.json "$dir/start/"
fi
resume=
if ls "$dir"/run/checkpoint-* >/dev/null 2>&1; then resume=--resume; fi
# shellcheck disable=SC2086
$sft train --config base/train.toml --model "$dir/start" --data "$dir/corpus.jsonl" \
    --eval-data base/data/corpus_heldout.jsonl --output-dir "$dir/run" $resume
cp "$dir/run/model.safetensors" base/model/model.safetensors
