"""A wallet that we did not write (nutshell, by its command line) against a running `habeas up`.

Reads one JSON object from standard input:
  mint    the mint's address
  unit    its unit, `usd`
  token   a token string of 20.00 that our wallet made
Prints a line per step; the first step that fails ends the run with a non-zero status. The last line is a token of 20.00 for our wallet.

Its command line has no HTLC, and mints and melts through Lightning alone, which this mint does not do. The subscription is played
with its library's own class, since its command line watches Lightning invoices only.
"""

import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

WORTH = "$20.00 USD"


def step(text):
    print(f"ok   {text}", flush=True)


class Wallet:
    """One wallet of nutshell; each act is a process of its own, as its users run it."""

    def __init__(self, name, mint, unit, folder):
        self.name, self.mint, self.unit, self.folder = name, mint, unit, folder

    def run(self, *arguments, answer=""):
        """An act's exit status and all that it said."""
        command = [Path(sys.executable).parent / "cashu", "--host", self.mint, "--unit", self.unit, "--wallet", self.name, "--yes"]
        environment = {**os.environ, "CASHU_DIR": str(self.folder), "HOME": str(self.folder)}
        done = subprocess.run(
            [*command, *arguments],
            input=answer,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            cwd=self.folder,
            env=environment,
            check=False,
        )
        return done.returncode, done.stdout

    def act(self, *arguments, answer=""):
        """What an act said; it has to succeed."""
        status, said = self.run(*arguments, answer=answer)
        # It goes on after a mint that it could not load, so its own log is held against it too.
        if status != 0 or "ERROR" in said or "Could not" in said:
            raise SystemExit(f"nutshell: {' '.join(arguments)[:60]}: status {status}\n{said}")
        return said

    def expect_balance(self, balance):
        said = self.act("balance")
        assert f"Balance: {balance}" in said, f"the wallet {self.name} does not hold {balance}:\n{said}"

    def send(self, amount, *options):
        """A token string."""
        said = self.act("send", amount, *options)
        return re.search(r"^cashu[AB]\S+$", said, re.MULTILINE).group()

    def receive(self, token, amount):
        said = self.act("receive", token)
        assert f"Received {amount}" in said, said

    def refused(self, token, sign, what):
        """Expects that a token is not taken, with a sign of why in what is said."""
        status, said = self.run("receive", token)
        assert status != 0 and sign in said, f"{what}: status {status}\n{said}"
        step(f"refused ({sign}): {what}")


class Watching:
    """Subscribes to a token's state (NUT-17) with nutshell's own class; what it tells comes in order."""

    def __init__(self, mint, y):
        from cashu.core.json_rpc.base import JSONRPCSubscriptionKinds
        from cashu.wallet.subscriptions import SubscriptionManager

        self.told = queue.Queue()
        self.manager = SubscriptionManager(mint)
        threading.Thread(target=self.manager.connect, daemon=True).start()
        kind = JSONRPCSubscriptionKinds.PROOF_STATE
        self.manager.subscribe(kind=kind, filters=[y], callback=lambda told: self.told.put(told.payload))

    def expect(self, y, state):
        told = self.told.get(timeout=60)
        assert (told["Y"], told["state"]) == (y, state), told


def y_of(secret):
    from cashu.core.crypto.b_dhke import hash_to_curve

    return hash_to_curve(secret.encode()).format().hex()


def main():
    given = json.load(sys.stdin)
    mint, unit = given["mint"], given["unit"]
    with tempfile.TemporaryDirectory() as folder:
        one, two, three = (Wallet(name, mint, unit, folder) for name in ("one", "two", "three"))

        one.receive(given["token"], WORTH)
        one.expect_balance(WORTH)
        step(f"receives a token made by our wallet: {WORTH}")
        one.refused(given["token"], "11001", "the same token a second time")
        said = one.act("info", "--mint")
        assert "Mint name: Habeas mint" in said and re.search(rf"ID: 01[0-9a-f]{{64}}  unit: {unit}  active: True", said), said
        step("is satisfied with the mint's information and keysets")

        sent = one.send("7", "--memo", "half")
        two.receive(sent, "$7.00 USD")
        two.refused(sent, "11001", "a token that was received")
        one.act("burn", "--all")
        one.expect_balance("$13.00 USD")
        step("sends and splits: a second wallet holds the rest; the states of what was sent are right")

        legacy = one.send("1", "--legacy")
        assert legacy.startswith("cashuA")
        two.receive(legacy, "$1.00 USD")
        with_proof = one.send("1", "--dleq", "--force-swap")
        two.receive(with_proof, "$1.00 USD")
        step("sends a version 3 token, and one with DLEQ proofs, which the receiver checks")

        lock = re.search(r"P2PK:(0[23][0-9a-f]{64})", two.act("lock", "p2pk")).group(1)
        for kind in ("P2PK", "P2PK-SIGALL", "P2BK"):
            locked = one.send("2", "--lock", f"{kind}:{lock}")
            assert "2.00" in one.act("pending"), "what is sent is pending"
            three.refused(locked, "10001", f"a token locked with {kind} to another wallet's key")
            two.receive(locked, "$2.00 USD")
            two.refused(locked, "11001", f"a token locked with {kind} that was received")
            step(f"locks tokens with {kind}, and spends them with the key")
        one.expect_balance("$5.00 USD")
        two.expect_balance("$15.00 USD")

        watched = one.send("1")
        decoded = json.loads(one.act("decode", watched))
        ys = [y_of(proof["s"]) for group in decoded["t"] for proof in group["p"]]
        watching = [Watching(mint, y) for y in ys]
        for y, watch in zip(ys, watching):
            watch.expect(y, "UNSPENT")
        two.receive(watched, "$1.00 USD")
        for y, watch in zip(ys, watching):
            watch.expect(y, "SPENT")
        step("its WebSocket subscription is told that a token is unspent, and when it is spent")

        words = re.search(r"Mnemonic:\s*-?\s*((?:[a-z]+ ){11}[a-z]+)", two.act("info", "--mnemonic")).group(1)
        again = Wallet("again", mint, unit, folder)
        again.act("restore", "--to", "1", answer=f"{words}\n")
        again.expect_balance("$16.00 USD")
        step("restores a wallet from its words alone")

        # From here on the lost wallet is not used: two that count on from the same words would make the same outputs.
        again.receive(one.send("4"), "$4.00 USD")
        one.expect_balance("$0.00 USD")
        print("nutshell: all steps passed; its last line is a token for our wallet")
        print(again.send("20", "--force-swap"))


main()
