#!/usr/bin/env bash
# Every reader of what comes from outside, given what libFuzzer thinks of: deploy/check/fuzz.sh [SECONDS] [TARGET...]
#
# SECONDS is how long each target runs, 8 without it; without a TARGET all of them run, two at a time. An input that breaks a
# promise is kept under target/fuzz/broken/ and named; copied into deploy/ctl/tests/fuzz/corpus/TARGET/ it is replayed by every
# `cargo test` from then on. What a run finds on its way is kept under target/fuzz/found/, where the next run begins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-8}
# Of libFuzzer's choices; 0 is another every time.
seed=${FUZZ_SEED:-0}
shift || true
corpus=deploy/ctl/tests/fuzz/corpus
folder=target/fuzz

RUSTC_WORKSPACE_WRAPPER=$PWD/deploy/check/fuzz-rustc.sh ${CARGO:-cargo} build --quiet --workspace --locked \
    --example fuzz --features talkfleet/fuzz
fuzzer=target/debug/examples/fuzz
# A hostile PDF may ask for any amount of time and memory, which the process that reads it bounds: only by name.
read -ra targets <<<"${*:-$("$fuzzer" | sed 's/ pdf\b//')}"

# one TARGET: runs it and prints a line of figures; what broke goes to its log.
one() {
    local target=$1 found=$folder/found/$1 log=$folder/$1.log seeds=()
    mkdir -p "$found" "$folder/broken"
    seeds=("$corpus/$target")
    [[ $target != envelope ]] || seeds+=(schemas/wire/golden/v1)
    # A limit of 10 s and 2 GiB for one input; errors of a reader are told by panicking, so what it prints is not wanted.
    if TALKFLEET_FUZZ=$target RUST_BACKTRACE=0 "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -seed="$seed" -print_final_stats=1 -artifact_prefix="$folder/broken/$target-" "$found" "${seeds[@]}" >"$log" 2>&1; then
        awk -v target="$target" '
            /INITED +cov:/ { for (i = 1; i < NF; i++) if ($i == "cov:") first = $(i + 1) }
            /DONE +cov:/ { for (i = 1; i < NF; i++) if ($i == "cov:") last = $(i + 1) }
            /number_of_executed_units:/ { units = $2 }
            /average_exec_per_sec:/     { rate = $2 }
            END { printf "%-13s %9d inputs, %6d a second; edges covered %5d, by the corpus alone %5d\n", target, units, rate, last, first }
        ' "$log"
        return
    fi
    printf '%-13s BROKEN; %s says why\n' "$target" "$log"
    grep -E "panicked at|^[^#].*assert|ERROR: libFuzzer|Test unit written" -A 3 "$log" | head -n 20
    return 1
}

export -f one
export seconds corpus folder fuzzer seed
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'one {}'
