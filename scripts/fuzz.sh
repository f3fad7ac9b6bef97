#!/bin/sh
# Fuzz the parsers, each for FUZZ_SECONDS (600) and FUZZ_JOBS (1) of them at a time: all of them, or those that are named.
#
#     scripts/fuzz.sh [TARGET ...]
#
# Needs a nightly toolchain and cargo-fuzz. What is found lies in fuzz/artifacts/TARGET; once it is mended it belongs to
# tests/fixtures/hostile/TARGET, where the ordinary tests run it. Ends with a table, and with 1 if anything was found.
set -eu
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-600}
triple=$(rustc +nightly -vV | sed -n 's/^host: //p')
if [ $# -eq 0 ]; then
    for target in fuzz/fuzz_targets/*.rs; do
        set -- "$@" "$(basename "$target" .rs)"
    done
fi
# The parsers count their memory themselves, and have hardly any unsafe code: no sanitizer is twice as fast, and looks at as much.
cargo +nightly fuzz build --sanitizer none

one() {
    mkdir -p "fuzz/corpus/$1" "fuzz/artifacts/$1"
    "fuzz/target/$triple/release/$1" "fuzz/corpus/$1" "tests/fixtures/hostile/$1" -dict=fuzz/words.dict \
        -max_total_time="$seconds" -timeout=30 -rss_limit_mb=6144 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$1/" > "fuzz/artifacts/$1.log" 2>&1 || true
}

running=0
for target; do
    one "$target" &
    running=$((running + 1))
    if [ "$running" -ge "${FUZZ_JOBS:-1}" ]; then
        wait
        running=0
    fi
done
wait

printf '%-18s %8s %12s %8s %8s %s\n' target seconds executions covered corpus found
found=0
for target; do
    log=fuzz/artifacts/$target.log
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -n 1; }
    last=$(grep '^#[0-9].* cov: ' "$log" | tail -n 1)
    ran=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log")
    files=$(find "fuzz/artifacts/$target" -type f | wc -l)
    [ "$files" -eq 0 ] && [ -n "$ran" ] || found=1
    printf '%-18s %8s %12s %8s %8s %s\n' "$target" "${ran:-ended}" "$(stat number_of_executed_units)" \
        "$(echo "$last" | sed -n 's/.* cov: \([0-9]*\).*/\1/p')" "$(find "fuzz/corpus/$target" -type f | wc -l)" "$files"
done
exit $found
