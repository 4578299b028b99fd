#!/usr/bin/env bash
# The compiler for our own crates in a fuzzing build (RUSTC_WORKSPACE_WRAPPER): it counts which branches are taken, for libFuzzer.
# Dependencies stay as every other build has them, so that they are not compiled again; what is generic in them is compiled here and
# counted as well.
exec "$@" -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
