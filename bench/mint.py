#!/usr/bin/env python3
"""Measures our mint beside its peers: one run, one machine, each server on its durable default, the load generator beside it.

Writes bench/results/mint.json and two plots beside it. Peers are measured where they are installed (bench/peers.sh).

    bench/mint.py             all of it; some forty minutes, most of it for filling the store with 50 million spent tokens
    bench/mint.py --quick     swaps only, shorter, up to one million spent tokens
    bench/mint.py --only nutshell    one part again (habeas, postgres, cdk, nutshell, growth); the others stay as they were measured
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HABEAS = ROOT / "target/release/habeas"
LOAD = ROOT / "target/release/load"
PEERS = Path(os.environ.get("HABEAS_PEERS", ROOT / "target/peers"))
RESULTS = ROOT / "bench/results"
CONNECTIONS = [1, 16, 64, 256]
# One load on one server, at most: the longest takes a third of it.
LOAD_SECONDS = 180


class LoadFailed(Exception):
    """A server refused or stopped answering."""


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)


class Server:
    """A mint in a fresh folder on the same disk; stopped at the end."""

    def __init__(self, name, folder, command, url, method, unit, environment=None):
        self.name, self.folder, self.command, self.url = name, folder, command, url
        self.method, self.unit, self.environment = method, unit, environment or {}
        self.process = None

    def __enter__(self):
        log = open(self.folder / "server.log", "w")
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=log, env=environment)
        deadline = time.time() + 60
        while True:
            try:
                urllib.request.urlopen(self.url + "/v1/keysets", timeout=2).read()
                return self
            except OSError:
                if time.time() > deadline or self.process.poll() is not None:
                    raise SystemExit(f"{self.name} does not start: {(self.folder / 'server.log').read_text()[-2000:]}")
                time.sleep(0.2)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def load(self, *arguments, profiled=None):
        command = [LOAD, "--mint", self.url, "--method", self.method, "--unit", self.unit]
        # Ours must not refuse a single one; cdk-mintd answers "database is locked" at 256 connections.
        command += [] if self.method == "sandbox" else ["--tolerate-refusals"]
        command += map(str, arguments)
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # A server that stops answering ends the measurement, not the patience of who waits for it.
        bound = threading.Timer(LOAD_SECONDS, load.kill)
        bound.start()
        for line in load.stderr:
            # Requests are ready, the clock starts.
            if line.startswith("clock") and profiled:
                profiled.start(self)
            elif not line.startswith("clock"):
                print(line, end="", file=sys.stderr, flush=True)
        printed = load.stdout.read()
        failed = load.wait() != 0
        bound.cancel()
        if failed:
            raise LoadFailed(f"the load on {self.name} failed, or took more than {LOAD_SECONDS} s")
        return json.loads(printed)["levels"]

    def processor_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_until_idle(self, patience=600):
        """Until the server takes less than a twentieth of a core, three seconds on end."""
        quiet, deadline = 0, time.time() + patience
        while quiet < 3 and time.time() < deadline:
            before = self.processor_seconds()
            time.sleep(1)
            quiet = quiet + 1 if self.processor_seconds() - before < 0.05 else 0

    def peak_memory_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


def ours(folder, *options):
    port = 14281
    command = [HABEAS, "up", "--sandbox", "--data", folder / "data", "--listen", f"127.0.0.1:{port}", *options]
    return Server("habeas, embedded", folder, command, f"http://127.0.0.1:{port}", "sandbox", "sandbox")


def cdk(folder):
    program = PEERS / "bin/cdk-mintd"
    if not program.exists():
        return None
    words = " ".join(["abandon"] * 11 + ["about"])
    environment = {"CDK_MINTD_MNEMONIC": words, "RUST_BACKTRACE": "0"}
    (folder / "work").mkdir()
    (folder / "config.toml").write_text(
        """
[info]
url = "http://127.0.0.1:14282/"
listen_host = "127.0.0.1"
listen_port = 14282
mnemonic = "env:CDK_MINTD_MNEMONIC"
[info.logging]
output = "stderr"
console_level = "warn"
[database]
engine = "sqlite"
[payment_backend]
backend = "fakewallet"
max_mint = 500000
[limits]
max_inputs = 1000
max_outputs = 1000
[fake_wallet]
supported_units = ["sat"]
fee_percent = 0.0
reserve_fee_min = 0
min_delay_time = 0
max_delay_time = 0
"""
    )
    subprocess.run(
        [program, "-w", folder / "work", "config", "init", "--new-mint", "--file", folder / "config.toml"],
        env={**os.environ, **environment}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    command = [program, "-w", folder / "work"]
    return Server("cdk-mintd 0.18.3, SQLite", folder, command, "http://127.0.0.1:14282", "bolt11", "sat", environment)


def nutshell(folder):
    program = PEERS / "nutshell/bin/mint"
    if not program.exists():
        return None
    environment = {
        "MINT_BACKEND_BOLT11_SAT": "FakeWallet", "MINT_PRIVATE_KEY": "bench", "MINT_DATABASE": str(folder / "database"),
        "MINT_LISTEN_HOST": "127.0.0.1", "MINT_LISTEN_PORT": "14283", "FAKEWALLET_BRR": "TRUE", "DEBUG": "FALSE",
        "FAKEWALLET_DELAY_INCOMING_PAYMENT": "0", "MINT_INPUT_FEE_PPK": "0", "MINT_RATE_LIMIT": "FALSE", "CASHU_DIR": str(folder / "cashu"),
    }
    return Server(
        "nutshell 0.21.0, SQLite", folder, [program], "http://127.0.0.1:14283", "bolt11", "sat", environment
    )


def postgres(folder):
    """A PostgreSQL of our own; gives its address and what stops it."""
    binaries = max(Path("/usr/lib/postgresql").iterdir()) / "bin"
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
        os.chmod(folder, 0o755)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/tmp"}
    data = folder / "pg"
    subprocess.run([*user, binaries / "initdb", "-A", "trust", "-U", "postgres", "-D", data], check=True, **quiet)
    socket = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    if user:
        shutil.chown(socket, "postgres")
    server = subprocess.Popen([*user, binaries / "postgres", "-D", data, "-k", socket, "-c", "listen_addresses="], **quiet)
    time.sleep(3)
    stop = [*user, binaries / "pg_ctl", "-D", data, "-m", "fast", "stop"]

    def end():
        subprocess.run(stop, **quiet)
        server.wait()

    return f"postgres://postgres@{str(socket).replace('/', '%2F')}/postgres", end


def folder_for(work, name):
    folder = work / name
    folder.mkdir()
    # PostgreSQL's user must get through.
    os.chmod(work, 0o755)
    return folder


def swaps(server, seconds, rate, connections=CONNECTIONS, profiled=None):
    say(f"{server.name}: swaps")
    arguments = ["swaps", "--seconds", seconds, "--rate", rate, "--connections", ",".join(map(str, connections))]
    levels = server.load(*arguments, profiled=profiled)
    for level in levels:
        say(f"   {level['connections']:>4} connections: {level['per_second']:>8} a second, p50 {level['p50_ms']} ms, p99 {level['p99_ms']} ms, {level['refused']} refused")
    return levels


class Profile:
    """The share of processor time by kind while swaps run and nothing else, from perf."""

    KINDS = {
        "arithmetic": ("secp256k1", "sha256", "sha2::", "cashu::msm", "cashu::bdhke", "cashu::dleq", "hmac"),
        "store": ("mint-committer", "fjall", "lsm_tree", "skiplist", "flush", "compact"),
        "json": ("serde", "itoa", "hex::", "cashu::"),
    }

    def __init__(self, folder, seconds):
        self.data, self.seconds, self.recorder = folder / "perf.data", seconds, None

    def start(self, server):
        if shutil.which("perf"):
            command = ["perf", "record", "-q", "-F", "499", "-o", self.data, "-p", str(server.process.pid), "--", "sleep", str(self.seconds)]
            self.recorder = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def shares(self):
        """Percent by kind; empty without perf."""
        if self.recorder is None:
            return {}
        self.recorder.wait()
        command = ["perf", "report", "-i", self.data, "--stdio", "-F", "overhead,comm,symbol", "--percent-limit", "0"]
        report = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        shares = {**{kind: 0.0 for kind in self.KINDS}, "kernel": 0.0, "http and the rest": 0.0}
        for line in report.splitlines():
            match = re.match(r"\s*([\d.]+)%\s+(.*)", line)
            if not match:
                continue
            share, rest = float(match[1]), match[2]
            if "[k]" in rest:
                kind = "kernel"
            else:
                kind = next((kind for kind, names in self.KINDS.items() if any(name in rest for name in names)), "http and the rest")
            shares[kind] += share
        return {kind: round(share, 1) for kind, share in shares.items()}


def disk_bytes(folder):
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def save(results):
    """Written after each part: what was measured stays when a later part fails."""
    (RESULTS / "mint.json").write_text(json.dumps(results, indent=1) + "\n")


def grown(work, sizes):
    """A folder for each size of the spent set: filled once, and copied on the way."""
    folder = folder_for(work, "growth")
    with ours(folder):
        pass
    for size in sizes:
        say(f"growth: filling to {size:,} spent tokens")
        subprocess.run([LOAD, "fill", "--data", folder / "data", "--spent", str(size)], check=True)
        with ours(folder) as server:
            # Compaction ends between two paydays, so it ends here, too.
            server.wait_until_idle()
        copied = work / f"growth-{size}"
        shutil.copytree(folder, copied)
        yield size, copied


def growth(folders, seconds, rate, rounds):
    """Swaps a second, bytes on disk and memory as the spent set grows; a row for each size, measured in rounds."""
    bytes_each = {size: round(disk_bytes(folder / "data/mint/store") / size, 1) for size, folder in folders}
    levels, memory = {}, {}
    for _ in range(rounds):
        for size, folder in folders:
            with ours(folder) as server:
                server.wait_until_idle()
                levels.setdefault(size, []).append(swaps(server, seconds, rate, [64])[0])
                memory[size] = max(memory.get(size, 0), server.peak_memory_mib())
    for size, _ in folders:
        level = median_level(levels[size])
        row = {"spent": size, "per_second": level["per_second"], "rounds": level["rounds"], "p99_ms": level["p99_ms"]}
        yield {**row, "bytes_per_spent": bytes_each[size], "peak_memory_mib": memory[size]}


def median_level(rounds):
    """A level as in the round of the median rate, with the rates of all rounds beside it."""
    ordered = sorted(rounds, key=lambda level: level["per_second"])
    return {**ordered[len(ordered) // 2], "rounds": [level["per_second"] for level in rounds]}


@contextmanager
def started(server):
    """A server that runs; None for a peer that is not installed."""
    if server is None:
        yield None
    else:
        with server:
            yield server


@contextmanager
def ours_on_postgres(folder):
    if not Path("/usr/lib/postgresql").exists():
        yield None
        return
    address, end = postgres(folder)
    try:
        own = folder / "habeas"
        own.mkdir()
        with ours(own, "--mint-store", address) as server:
            server.name = "habeas, PostgreSQL 15"
            yield server
    finally:
        end()


# Name, how it is started, and the highest rate that swaps are prepared for.
SERVERS = {
    "habeas": (lambda folder: started(ours(folder)), 7000),
    "postgres": (ours_on_postgres, 7000),
    "cdk": (lambda folder: started(cdk(folder)), 1_100),
    "nutshell": (lambda folder: started(nutshell(folder)), 60),
}


def extras(name, server, folder, seconds, results):
    """What is measured once: where the time of ours goes, and paydays."""
    if name == "habeas":
        profile = Profile(folder, seconds)
        swaps(server, seconds, SERVERS[name][1], [64], profile)
        results["profile"] = profile.shares()
        say(f"   processor time by kind, in percent: {results['profile']}")
        results["payday"]["habeas, embedded"] = server.load("payday", "--quotes", 100_000)
    elif name in ("cdk", "nutshell"):
        # Few connections: at 64 cdk-mintd's database is locked, and it stops answering.
        quotes = {"cdk": 3_000, "nutshell": 150}[name]
        results["payday"][server.name] = server.load("payday", "--quotes", quotes, "--connections", 4)


def plot(path, title, x_label, series):
    """A small SVG: lines over a logarithmic x axis."""
    from math import log10
    width, height, left, bottom, top, right = 640, 400, 70, 50, 40, 170
    xs = [x for points in series.values() for x, _ in points]
    most = max(y for points in series.values() for _, y in points) * 1.1
    low, high = log10(max(min(xs), 1)), log10(max(xs))
    place_x = lambda x: left + (log10(max(x, 1)) - low) / max(high - low, 1e-9) * (width - left - right)
    place_y = lambda y: height - bottom - y / most * (height - bottom - top)
    colours = ["#0b6", "#06c", "#c60", "#909"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22" font-size="15">{title}</text>',
        f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">{x_label}</text>',
    ]
    for step in range(6):
        y = most * step / 5
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{place_y(y)}" y2="{place_y(y)}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{place_y(y) + 4}" text-anchor="end">{y:,.0f}</text>')
    for x in sorted(set(xs)):
        parts.append(f'<text x="{place_x(x)}" y="{height - bottom + 18}" text-anchor="middle">{x:,}</text>')
    for number, (name, points) in enumerate(series.items()):
        colour = colours[number % len(colours)]
        path_points = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path_points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(f'<text x="{width - right + 10}" y="{top + 20 * number + 10}" fill="{colour}">{name}</text>')
    path.write_text("\n".join(parts + ["</svg>"]) + "\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--growth", default="1000000,10000000,50000000")
    arguments.add_argument("--only", choices=["habeas", "postgres", "cdk", "nutshell", "growth"])
    arguments = arguments.parse_args()
    # Rounds, with the servers one after the other in each: a machine that is slow for a while is slow for all of them.
    seconds, rounds = (3, 1) if arguments.quick else (6, 3)
    sizes = [1_000_000] if arguments.quick else [int(size) for size in arguments.growth.split(",")]
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "habeas", "-p", "load"], cwd=ROOT, check=True)
    RESULTS.mkdir(exist_ok=True)
    # On the disk of the repository: a memory disk would make every server's commits free.
    (ROOT / "target").mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "target"))
    results = {"machine": {"cores": os.cpu_count()}, "swaps": {}, "payday": {}, "growth": []}
    if arguments.only:
        results = json.loads((RESULTS / "mint.json").read_text())
    wanted = lambda part: arguments.only in (None, part)
    try:
        if not arguments.only:
            results["arithmetic"] = json.loads(subprocess.check_output([LOAD, "arithmetic"]))
            for name, figure in [("plain", "swap_plain_us"), ("ours", "swap_us")]:
                ceiling = 1e6 / results["arithmetic"][figure] * os.cpu_count()
                results[f"ceiling_{name}_per_second"] = round(ceiling)
                say(f"curve arithmetic of a swap, {name}: {results['arithmetic'][figure]} µs, so at most {ceiling:,.0f} a second")
        measured = {}
        for number in range(rounds):
            for name, (start, rate) in SERVERS.items():
                if not wanted(name):
                    continue
                folder = folder_for(work, f"{name}-{number}")
                with start(folder) as server:
                    if server is None:
                        say(f"NOT MEASURED: {name} is not installed (bench/peers.sh)")
                        continue
                    try:
                        measured.setdefault(server.name, []).append(swaps(server, seconds, rate))
                        if number == 0 and not arguments.quick:
                            extras(name, server, folder, seconds, results)
                    except LoadFailed as failed:
                        # A peer that gives up loses this round; ours must not.
                        if name in ("habeas", "postgres"):
                            raise
                        say(f"NOT MEASURED: {failed}")
                shutil.rmtree(folder, ignore_errors=True)
        for name, levels in measured.items():
            if levels:
                results["swaps"][name] = [median_level(of_level) for of_level in zip(*levels)]
        save(results)
        if wanted("growth"):
            folders = list(grown(work, sizes))
            results["growth"] = list(growth(folders, seconds, SERVERS["habeas"][1], rounds))
            save(results)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    draw(results)
    table(results)


def draw(results):
    """The plots beside the numbers; a server that refused everything has no line."""
    answered = {name: levels for name, levels in results["swaps"].items() if any(level["answered"] for level in levels)}
    lines = {name: [(level["connections"], level["per_second"]) for level in levels] for name, levels in answered.items()}
    plot(RESULTS / "swaps.svg", "Swaps a second (2 in, 2 out), 2 cores", "connections", lines)
    grown = [(row["spent"], row["per_second"]) for row in results["growth"]]
    plot(RESULTS / "growth.svg", "Swaps a second at 64 connections", "spent tokens", {"habeas, embedded": grown})


def table(results):
    print(f"\n{'swaps a second':<28}" + "".join(f"{c:>8}" for c in CONNECTIONS) + "   p99 at 64")
    for name, levels in results["swaps"].items():
        by = {level["connections"]: level for level in levels}
        print(f"{name:<28}" + "".join(f"{by[c]['per_second']:>8.0f}" for c in CONNECTIONS) + f"{by[64]['p99_ms']:>9.0f} ms")
    for name, title in [("plain", "arithmetic alone, plain"), ("ours", "arithmetic alone, ours")]:
        print(f"{title:<28}{'':>24}{results[f'ceiling_{name}_per_second']:>8}")
    for name, levels in results["payday"].items():
        print(f"payday, {name}: {levels[0]['per_second'] * 8:,.0f} tokens a second")
    for name in ["output_plain_us", "output_us"]:
        print(f"payday, arithmetic alone, {name}: {1e6 / results['arithmetic'][name] * os.cpu_count():,.0f} tokens a second")
    for row in results["growth"]:
        print(f"{row['spent']:>12,} spent: {row['per_second']:>7.0f} a second, {row['bytes_per_spent']} bytes each, {row['peak_memory_mib']} MiB")


if __name__ == "__main__":
    main()
