#!/bin/sh
# rustc for our own crates with libFuzzer's counters of edges: what cargo-fuzz asks of rustc, on a stable toolchain. As cargo's
# workspace wrapper it leaves the crates of others as `cargo test` has built them.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
