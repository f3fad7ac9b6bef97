#!/usr/bin/env bash
# How a step's cost grows with tokens, layers and vocabulary, as a Markdown table. Arguments go to every `wgpu-sft bench`.
set -euo pipefail
cd "$(dirname "$0")/.."
bench() { target/release/wgpu-sft bench --method full --hidden 256 --heads 4 --ffn 688 --steps 3 --json --ops "$@"; }

# The report's field $1.
field() { sed -E "s/.*\"$1\":\"?([^,\"}]*).*/\1/" <<<"$report"; }

# Share of the dispatches' time that attention takes.
attention() {
    sed 's/{"plan"/\n&/g' <<<"$report" | sed -nE 's/.*"op":"([^"]*)".*"seconds":([0-9.e-]*).*/\1|\2/p' |
        awk -F '|' '{ all += $2 } $1 ~ /^attention/ { some += $2 } END { printf "%.1f", 100 * some / all }'
}

echo "| tokens | layers | vocabulary | s/step | GFLOP/step | GFLOP/s | ratio | attention | peak MiB |"
echo "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
row() {
    local tokens=$1 layers=$2 vocabulary=$3
    shift 3
    report=$(bench --tokens "$tokens" --layers "$layers" --vocab "$vocabulary" "$@")
    awk -v t="$tokens" -v l="$layers" -v v="$vocabulary" -v s="$(field step_seconds)" -v f="$(field step_flops)" \
        -v r="$(field ratio)" -v a="$(attention)" -v m="$(field peak_memory_bytes)" 'BEGIN {
        printf "| %d | %d | %d | %.3f | %.2f | %.1f | %.2f | %s %% | %.0f |\n",
            t, l, v, s, f / 1e9, f / s / 1e9, r, a, m / 1048576 }'
}
for tokens in 128 256 512 1024 2048; do row "$tokens" 4 4096 "$@"; done
for layers in 2 8 16; do row 512 "$layers" 4096 "$@"; done
for vocabulary in 8192 16384 32768; do row 512 4 "$vocabulary" "$@"; done
