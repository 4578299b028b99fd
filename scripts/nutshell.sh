#!/usr/bin/env bash
# Installs nutshell into target/nutshell, a virtual environment of its own: its wallet is one of the third-party clients, and its mint
# a peer in the measurements. Does nothing when the requirements have not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/nutshell
wanted=tests/clients/nutshell/requirements.txt
cmp -s "$wanted" "$venv/installed.txt" && exit 0
echo "== installing nutshell and what it needs into $venv (Python packages; some 250 MB)"
rm -rf "$venv"
python3 -m venv "$venv" || { echo "the virtual environment can't be made: install Debian's python3-venv" >&2; exit 1; }
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$wanted"
cp "$wanted" "$venv/installed.txt"
