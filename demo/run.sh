#!/bin/sh
# Tune the small base model in base/ to answer, and show what that changes on questions it was never asked.
# `make demo` runs this after building. Results stay in $DEMO_DIR (default: target/demo).
set -eu
cd "$(dirname "$0")/.."

sft=target/release/wgpu-sft
run=${DEMO_DIR:-target/demo}/base
started=$(date +%s)

echo "Tuning base/model, which continues texts and has never been asked anything, on $(wc -l <base/data/train.jsonl) questions and answers."
$sft train --config base/tune.toml --model base/model --data base/data/train.jsonl \
    --eval-suite base/data/suites.toml --output-dir "$run" --overwrite-output-dir

cat <<END

That took $(($(date +%s) - started)) s. Everything about it, with curves and answers side by side:
  $run/report.html
Ask it something, for instance "What does Foto like to eat?":
  $sft chat --model $run
Next, a real model (a download of 93 MB, then ten minutes without a GPU):
  make demo-smollm2
END
