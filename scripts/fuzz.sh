#!/usr/bin/env bash
# Fuzzes every parser that reads bytes from outside (fuzz/), guided by coverage, and first proves that the guidance works.
#
#   scripts/fuzz.sh                   all targets
#   scripts/fuzz.sh token mdoc        these
#   scripts/fuzz.sh --repeat token FILE
#
# FUZZ_SECONDS (8) is the time of each target, FUZZ_JOBS (the processors, at most 8) how many run at once, FUZZ_SEED the seed of all.
# Each run begins with the seeds alone: among the thousands of inputs that a long run gathers, a short one would hardly try them.
set -euo pipefail
# Logs hold inputs, which are bytes.
export LC_ALL=C
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-8}
seed=${FUZZ_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
processors=$(nproc)
jobs=${FUZZ_JOBS:-$((processors < 8 ? processors : 8))}
# The planted bug takes a second or two on a quiet machine.
control_seconds=60
for number in "$seconds" "$seed" "$jobs"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || { echo "FUZZ_SECONDS, FUZZ_SEED and FUZZ_JOBS are whole numbers above zero, not '$number'" >&2; exit 2; }
done
work=$PWD/target/fuzz
crashes=$PWD/fuzz/crashes
fuzz=$PWD/target/debug/fuzz
mkdir -p "$work" "$crashes"
# Two runs would share their logs and what they learn.
exec 9>"$work/lock"
flock -n 9 || { echo "another scripts/fuzz.sh runs in this checkout: let it end first" >&2; exit 2; }

# All of the workspace is chosen, so that dependencies have the features that every other build gives them.
RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/rustc.sh cargo build --quiet --workspace --bin fuzz --features fuzz/engine

if [ "${1:-}" = --repeat ]; then
    [ $# -eq 3 ] || { echo "scripts/fuzz.sh --repeat TARGET FILE" >&2; exit 2; }
    FUZZ_TARGET=$2 exec "$fuzz" "$3"
fi

# Ten seconds for one input and a gigabyte in all: none comes near, so what does is a bug. Inputs may grow from the first moment:
# what lies at a limit has to get past it.
limits=(-timeout=10 -rss_limit_mb=1024 -len_control=0 -dict="$PWD/fuzz/words.dict")

# Runs one target, and says how it went. A failure keeps the input.
run() {
    local target=$1 corpus=$work/corpus/$1 log=$work/$1.log
    rm -rf "$corpus"
    mkdir -p "$corpus"
    FUZZ_TARGET=$target FUZZ_SEEDS=$corpus "$fuzz" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
    if FUZZ_TARGET=$target "$fuzz" "$corpus" "${limits[@]}" -max_total_time="$seconds" -seed="$seed" \
        -artifact_prefix="$crashes/$target-" -print_final_stats=1 >"$log" 2>&1; then
        local runs covered
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        covered=$(grep -a -o 'cov: [0-9]*' "$log" | tail -1)
        [ "${runs:-0}" -gt 0 ] || { echo "FAILED $target: nothing was run; see $log" >&2; return 1; }
        printf 'ok   %-16s %9s inputs, %s branches, %s in the corpus\n' "$target" "$runs" "${covered#cov: }" "$(ls "$corpus" | wc -l)"
    else
        local input
        input=$(sed -n 's/^.*Test unit written to //p' "$log" | tail -1)
        echo "FAILED $target (FUZZ_SEED=$seed):" >&2
        grep -a -E -A3 'panicked at|ERROR: libFuzzer|SUMMARY' "$log" | head -20 >&2
        echo "the input is kept in ${input#"$PWD"/}; run it again with: scripts/fuzz.sh --repeat $target ${input#"$PWD"/}" >&2
        return 1
    fi
}

# The control: a bug that only an engine finds which sees the branches that are taken.
control() {
    local log=$work/planted.log
    if FUZZ_TARGET=planted "$fuzz" -max_total_time=$control_seconds -seed="$seed" -artifact_prefix="$work/planted-" >"$log" 2>&1 ||
        ! grep -a -q 'the planted bug was found' "$log"; then
        echo "FAILED: the planted bug was not found in $control_seconds s, so the engine is not guided by coverage; see $log" >&2
        return 1
    fi
    echo "ok   the planted bug was found, after $(grep -a -o '^#[0-9]*' "$log" | tail -1 | tr -d '#') inputs or more: coverage guides the engine"
}

targets=("$@")
all=$(FUZZ_TARGET=list "$fuzz" 2>/dev/null)
[ $# -gt 0 ] || mapfile -t targets <<<"$all"
for target in "${targets[@]}"; do
    grep -qx -- "$target" <<<"$all" || { printf "there is no target '%s'; there are:\n%s\n" "$target" "$all" >&2; exit 2; }
done
echo "FUZZ_SEED=$seed FUZZ_SECONDS=$seconds FUZZ_JOBS=$jobs"
control
failed=0
running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge "$jobs" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    run "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
exit $failed
