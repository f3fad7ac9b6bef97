#!/bin/sh
# Tune SmolLM2-135M-Instruct on demo/train.jsonl, and show what that changes on rows it was not tuned on.
# `make demo-smollm2` runs this after building. Results stay in $DEMO_DIR (default: target/demo).
set -eu
cd "$(dirname "$0")/.."

# 166 rows are 12,306 tokens: an epoch takes 5 minutes on two cores without a GPU, seconds with one.
epochs=1
batch_size=8
learning_rate=1e-3
warmup_steps=2
lora_r=16
# Held-out questions answered before and after, from the top of the file (its first five are of five tasks), and printed.
asked=10
shown=5
max_new_tokens=60

sft=target/release/wgpu-sft
dir=${DEMO_DIR:-target/demo}
heldout=demo/heldout.jsonl
adapter=$dir/adapter
mkdir -p "$dir"

headline() { printf '\n== %s (at %s s)\n' "$1" $(($(date +%s) - started)); }

# question N: the user's words in row N.
question() {
    sed -n "$1p" $heldout | sed 's/.*"role": "user", "content": "\(.*\)"}, {"role": "assistant".*/\1/; s/\\"/"/g'
}

# evaluate NAME [--adapter DIR]: the loss, kept in $dir/NAME.json.
evaluate() {
    name=$1
    shift
    $sft eval --model "$model" --data $heldout --json "$@" >"$dir/$name.json"
    loss "$name"
}
loss() { tr -d '\n' <"$dir/$1.json" | sed 's/.*"loss": *\([0-9.]\{1,6\}\).*/\1/'; }

# answer NAME [--adapter DIR]: greedy answers to the first $asked questions, kept in $dir/NAME.N.txt.
answer() {
    name=$1
    shift
    for n in $(seq $asked); do
        $sft generate --model "$model" --prompt "$(question "$n")" --max-new-tokens $max_new_tokens "$@" \
            >"$dir/$name.$n.txt"
        printf '.'
    done
    echo
}

# in_style FILE: a task's label first, a last line in short of one to six words. See demo/README.md.
in_style() {
    head -n 1 "$1" | grep -Eq '^\[(Answer|Summary|Label|Translation|Reasoning)\] .' &&
        tail -n 1 "$1" | grep -Eq '^— in short:( [^ ]+){1,6}$'
}
style_share() {
    kept=0
    for n in $(seq $asked); do if in_style "$dir/$1.$n.txt"; then kept=$((kept + 1)); fi; done
    echo "$kept of $asked"
}

indent() { fold -s -w 68 | sed '1s/^/  '"$1"'/; 2,$s/^/          /'; }

started=$(date +%s)
model=$(scripts/fetch-smollm2.sh)

headline "Before: held-out loss"
evaluate before
headline "Before: $asked answers"
answer before

headline "Tuning a LoRA on demo/train.jsonl"
$sft train --model "$model" --data demo/train.jsonl --eval-data $heldout \
    --output-dir "$adapter" --overwrite-output-dir \
    --num-train-epochs $epochs --batch-size $batch_size \
    --learning-rate $learning_rate --warmup-steps $warmup_steps --lora-r $lora_r --logging-steps 1

headline "After: held-out loss"
evaluate after --adapter "$adapter"
headline "After: $asked answers"
answer after --adapter "$adapter"

headline "Held-out questions, before and after"
for n in $(seq $shown); do
    echo
    question "$n" | indent 'asked   '
    indent 'before  ' <"$dir/before.$n.txt"
    indent 'after   ' <"$dir/after.$n.txt"
done

headline "Summary"
printf '%-28s %12s %12s\n' '' before after
printf '%-28s %12s %12s\n' 'held-out loss' "$(loss before)" "$(loss after)"
printf '%-28s %12s %12s\n' 'held-out answers in style' "$(style_share before)" "$(style_share after)"
echo
echo "The adapter is in $adapter. Talk to it:"
echo "  $sft chat --model $model --adapter $adapter"
