#!/usr/bin/env python3
"""Holds the crates' dependencies against the architecture (ARCHITECTURE.md, "Who may depend on whom").

A rule that is not enforced drifts: this runs in `make lint`, from `cargo metadata`. Each run also breaks rules on paper
and checks that it notices.
"""

import json
import subprocess
import sys

PROTOCOLS = {"cashu", "mdoc", "oblivious", "openid4vc", "privacypass", "sdjwt", "statuslist", "tlog"}
# Arithmetic below a protocol: the crates that call C.
ARITHMETIC = {"basepoint", "rsasp1"}
# Keys below a protocol: P-256 as credentials use it, and the two ways in which its signatures are written.
KEYS = {"es256", "cose", "jose"}
# How services keep things on disk: no type of ours in it.
STORAGE = {"storage"}
SERVICES = {"registry", "credential", "mint", "treasury", "transparency"}
CLIENTS = {"wallet", "terminal"}
BINARY = {"habeas"}
# Measures any mint from outside; fills our own store.
TOOLS = {"load"}
# Measures credentials, and what can be told from them.
IDENTITY_BENCH = {"identity-bench"}
# Measures the public log.
LOG_BENCH = {"log-bench"}
# Plays hostile bytes to every parser.
FUZZ = {"fuzz"}

ALLOWED = {
    **{crate: set() for crate in PROTOCOLS | ARITHMETIC | KEYS | STORAGE},
    "cashu": ARITHMETIC,
    "mdoc": KEYS,
    "openid4vc": {"es256", "jose"},
    "privacypass": {"es256", "rsasp1"},
    "cose": {"es256"},
    "jose": {"es256"},
    "sdjwt": {"jose", "es256"},
    "statuslist": {"jose", "cose", "es256"},
    **{crate: PROTOCOLS | STORAGE for crate in SERVICES},
    "credential": PROTOCOLS | KEYS | STORAGE,
    # The mint knows no person: not even the protocols that speak of one.
    "mint": {"cashu"} | STORAGE,
    "treasury": STORAGE,
    "registry": STORAGE,
    "wallet": PROTOCOLS | KEYS,
    "terminal": {"cashu", "wallet"},
    # Storage: the gateway, which passes requests to every service, is its own and has a key.
    "habeas": PROTOCOLS | KEYS | SERVICES | CLIENTS | STORAGE,
    **{tool: {"cashu", "mint"} | ARITHMETIC for tool in TOOLS},
    **{tool: PROTOCOLS | KEYS | {"credential"} for tool in IDENTITY_BENCH},
    **{tool: {"tlog", "transparency"} for tool in LOG_BENCH},
    **{tool: PROTOCOLS | KEYS | {"treasury", "wallet"} for tool in FUZZ},
}


def workspace_dependencies():
    """Crate name to the names of the workspace crates it depends on (not for its tests alone)."""
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--no-deps"]))
    names = {package["name"] for package in metadata["packages"]}
    return {
        package["name"]: {d["name"] for d in package["dependencies"] if d["name"] in names and d["kind"] != "dev"}
        for package in metadata["packages"]
    }


def violations(dependencies):
    """A sentence for each dependency that the architecture does not allow."""
    found = []
    for crate, used in sorted(dependencies.items()):
        if crate not in ALLOWED:
            found.append(f"{crate} is not in the architecture: name its room in scripts/architecture.py and ARCHITECTURE.md")
            continue
        for other in sorted(used - ALLOWED[crate]):
            found.append(f"{crate} must not depend on {other}: they meet through interfaces that habeas wires")
    return found


def controls():
    """Each rule broken on purpose; gives the breaks that went unnoticed."""
    real = workspace_dependencies()
    breaks = [("mint", "registry"), ("mint", "mdoc"), ("wallet", "mint"), ("registry", "treasury"), ("tlog", "transparency")]
    return [pair for pair in breaks if not violations({**real, pair[0]: real[pair[0]] | {pair[1]}})]


def main():
    problems = violations(workspace_dependencies()) + [f"a broken rule goes unnoticed: {pair}" for pair in controls()]
    for problem in problems:
        print(f"architecture: {problem}", file=sys.stderr)
    if not problems:
        print("architecture: the crates depend on one another as ARCHITECTURE.md says")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
