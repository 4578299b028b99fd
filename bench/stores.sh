#!/usr/bin/env bash
# Embedded stores for the mint, side by side: fjall (what we link) and RocksDB (Debian's). Needs librocksdb-dev and libclang-dev.
# stores.sh [KEYS …]; default 2 and 20 million.
set -euo pipefail
cd "$(dirname "$0")/stores"
export ROCKSDB_LIB_DIR=${ROCKSDB_LIB_DIR:-/usr/lib/$(gcc -dumpmachine)}
cargo build --release --quiet --target-dir ../../target/stores
work=$(mktemp -d ../../target/stores/run-XXXXXX)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- 2000000 20000000
for store in fjall rocksdb; do
    ../../target/stores/release/stores "$store" "$work/$store" "$@"
done
