#!/usr/bin/env bash
# Installs what Habeas builds and tests with. `setup.sh build` stops after what a build needs.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { command -v "$1" >/dev/null 2>&1; }

# Debian packages: a C compiler for the bundled SQLite and AWS-LC, Python for the checks and two of the clients, PostgreSQL and SoftHSM
# for the tests, a C++ compiler for the fuzzer's engine.
missing=()
need cc || missing+=(gcc libc6-dev)
need make || missing+=(make)
need python3 || missing+=(python3)
if [ "${1:-}" != build ]; then
    # The tests start their own PostgreSQL, and keep keys in a token of software.
    [ -d /usr/lib/postgresql ] || missing+=(postgresql)
    need softhsm2-util || missing+=(softhsm2)
    need c++ || missing+=(g++)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
fi
if [ ${#missing[@]} -gt 0 ]; then
    echo "== installing Debian packages: ${missing[*]}"
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then
        need sudo || { echo "run as root, or install them by hand: apt-get install ${missing[*]}" >&2; exit 1; }
        sudo=sudo
    fi
    $sudo apt-get update -q
    $sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
fi
need cargo || { echo "Habeas needs Rust (cargo) 1.95 or newer: install it with rustup, then run this again" >&2; exit 1; }
[ "${1:-}" = build ] && exit 0

# Licences, bans and sources of the crates: compiled once, from its lock file.
if ! cargo deny --version >/dev/null 2>&1; then
    echo "== compiling cargo-deny (once; some four minutes on two cores)"
    cargo install --locked --quiet cargo-deny@0.20.2
fi

scripts/venv.sh nutshell
scripts/venv.sh pymdoccbor

need node || { echo "the third-party clients need Node 20 or newer: install Debian's nodejs and npm, then run this again" >&2; exit 1; }
for client in tests/clients/*/package.json; do
    folder=$(dirname "$client")
    if [ ! -e "$folder/node_modules/.package-lock.json" ] || [ "$folder/package-lock.json" -nt "$folder/node_modules/.package-lock.json" ]; then
        echo "== installing npm packages of $folder"
        npm ci --prefix "$folder" --no-audit --no-fund --ignore-scripts --loglevel=error
    fi
done
