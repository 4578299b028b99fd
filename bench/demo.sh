#!/usr/bin/env bash
# The demonstration on the 5,000 rows of FEBRL dataset 3 (or the shipped sample): wall time and peak memory.
set -euo pipefail
cd "$(dirname "$0")/.."
people=../shared/data/febrl/dataset3.csv
[ -e "$people" ] || people=examples/people.csv
cargo build --release --quiet -p habeas
python3 - target/release/habeas demo --people "$people" --json <<'PY'
import json, resource, subprocess, sys
answer = json.loads(subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE).stdout)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{answer['people_enrolled']} people, {answer['payments']} payments: {answer['seconds']} s, peak memory {peak:.0f} MiB")
PY
