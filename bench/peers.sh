#!/usr/bin/env bash
# Installs the mints that ours is measured beside, cdk-mintd (compiled; some ten minutes) below target/peers, and nutshell (scripts/venv.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/target/peers
command -v protoc >/dev/null || { echo "cdk-mintd needs Debian's protobuf-compiler" >&2; exit 1; }
CARGO_TARGET_DIR=$peers/build cargo install --locked --root "$peers" cdk-mintd@0.18.3 --no-default-features --features fakewallet,sqlite
scripts/venv.sh nutshell
ln -sfn ../nutshell "$peers/nutshell"
