#!/usr/bin/env bash
# Installs the mints that ours is measured beside, below target/peers: cdk-mintd (compiled; some ten minutes) and nutshell.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/target/peers
command -v protoc >/dev/null || { echo "cdk-mintd needs Debian's protobuf-compiler" >&2; exit 1; }
CARGO_TARGET_DIR=$peers/build cargo install --locked --root "$peers" cdk-mintd@0.18.3 --no-default-features --features fakewallet,sqlite
python3 -m venv "$peers/nutshell"
pip="$peers/nutshell/bin/pip install --quiet"
# The version of one dependency that nutshell 0.21.0 asks for is not published any more; it is not needed for a fake wallet.
$pip --no-deps cashu==0.21.0 breez-sdk-spark==0.18.0
"$peers/nutshell/bin/python" - <<'PY' >"$peers/requirements.txt"
from importlib.metadata import requires
for line in requires("cashu"):
    if "extra ==" not in line and not line.startswith("breez"):
        print(line.split(";")[0])
print("marshmallow<4\nlimits<3.14")
PY
$pip -r "$peers/requirements.txt"
