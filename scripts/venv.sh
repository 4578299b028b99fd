#!/usr/bin/env bash
# Installs a third-party client in Python, tests/clients/NAME, into target/NAME, a virtual environment of its own: nutshell, whose wallet
# is a client and whose mint is a peer in the measurements, and pymdoccbor. Does nothing when the requirements have not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/$1
wanted=tests/clients/$1/requirements.txt
cmp -s "$wanted" "$venv/installed.txt" && exit 0
echo "== installing $1 and what it needs into $venv (Python packages)"
rm -rf "$venv"
python3 -m venv "$venv" || { echo "the virtual environment can't be made: install Debian's python3-venv" >&2; exit 1; }
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$wanted"
cp "$wanted" "$venv/installed.txt"
