#!/usr/bin/env python3
"""Measures what credentials cost, beside bare signatures and @owf/mdoc on Node, and what can be told from them: one run, one machine.

Writes bench/results/credential.json.

    bench/credential.py             all of it; some three minutes
    bench/credential.py --quick     shorter, with fewer holders
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/identity-bench"
NODE_CLIENT = ROOT / "tests/clients/openid4vc"
RESULTS = ROOT / "bench/results/credential.json"


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)


def ours(*arguments):
    say(" ".join(map(str, arguments)))
    return json.loads(subprocess.check_output([PROGRAM, *map(str, arguments)]))


def node(seconds, processes):
    """The same presentation verified by @owf/mdoc, in as many processes as ours had threads."""
    if not (NODE_CLIENT / "node_modules").exists():
        say("NOT MEASURED: @owf/mdoc is not installed (make setup)")
        return None
    sample = subprocess.check_output([PROGRAM, "sample"])
    say("@owf/mdoc on Node")
    running = [
        subprocess.Popen(["node", "rate.mjs", str(seconds)], cwd=NODE_CLIENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    for process in running:
        process.stdin.write(sample)
        process.stdin.close()
    rates = [json.loads(process.stdout.read()) for process in running]
    if any(process.wait() for process in running):
        raise SystemExit("@owf/mdoc did not verify the sample")
    return {"verified": sum(rate["verified"] for rate in rates)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "identity-bench"], cwd=ROOT, check=True)
    threads, seconds = 2, 1 if quick else 4
    rates = ours("rates", "--seconds", seconds, "--threads", threads)
    rates["owf_mdoc"] = node(seconds, threads)
    linking = ours("linking", "--holders", 200 if quick else 1_000, "--showings", 10)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rates": rates, "linking": linking}, indent=1) + "\n")
    table(rates, linking)


def table(rates, linking):
    percent = lambda share: f"{100 * share:.0f} %"
    print(f"\nbare P-256: {rates['p256_signs']:,.0f} signatures and {rates['p256_verifies']:,.0f} verifications a second")
    for name, label in [("mdoc", "mdoc"), ("sd_jwt", "SD-JWT VC")]:
        row = rates[name]
        print(f"{label:<10} {row['signed']:>8,.0f} signed ({percent(row['signed_of_limit'])} of the bare signatures)"
              f"  {row['issued']:>8,.0f} issued in batches ({percent(row['issued_of_limit'])})"
              f"  {row['verified']:>8,.0f} verified ({percent(row['verified_of_limit'])})")
    if rates["owf_mdoc"]:
        print(f"@owf/mdoc  {rates['owf_mdoc']['verified']:>8,.0f} verified: ours does {rates['mdoc']['verified'] / rates['owf_mdoc']['verified']:.0f} times as many")
    row = rates["predicates"]
    print(f"predicates {row['issued']:>8,.0f} issued ({percent(row['issued_of_limit'])} of bare RSA)  {row['tokens_verified']:>8,.0f} tokens verified ({percent(row['tokens_of_limit'])})"
          f"  {row['showings_verified']:>8,.0f} showings verified")
    print(f"a thousand open questions take {rates['bytes_per_1000_sessions'] / 2**20:.1f} MiB")
    row = rates["status_list"]
    print(f"status list of {row['places']:,}: built in {row['build_ms']:.0f} ms, signed in {row['sign_ms']:.0f} ms, {row['bytes'] / 2**20:.2f} MiB,"
          f" verified in {row['verify_ms']:.0f} ms, a look-up takes {row['look_up_ns']:.0f} ns")
    print("\narea under the curve (0.5 is guessing)")
    for row in linking:
        print(f"  {row['area']:.4f} ± {row['plus_minus']:.4f}  {row['name']}")


if __name__ == "__main__":
    main()
