"""Checks our log with nothing of ours: PyPI's cryptography for the signatures, and what C2SP and RFC 6962 say for the rest.

    client.py LOG_URL LOG_KEY INDEX [WITNESS_KEY …]   a checkpoint, its cosignatures, and the entry at INDEX in it
    client.py --evidence FILE LOG_KEY                 a file of evidence, of whichever kind
"""

import base64
import hashlib
import json
import sys
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG, COSIGNATURE = 1, 4
WIDTH = 256


class Wrong(Exception):
    """What was shown does not hold."""


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf_hash(entry):
    return sha256(b"\x00" + entry)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


class Key:
    """A verifier key of C2SP signed-note: name+hash+base64(type, key)."""

    def __init__(self, text, kind):
        self.name, told, encoded = text.strip().split("+", 2)
        data = base64.b64decode(encoded)
        if data[0] != kind:
            raise Wrong("a key of another type")
        self.id = sha256(self.name.encode() + b"\n" + data)[:4]
        if self.id.hex() != told:
            raise Wrong("a key whose hash is another")
        self.key = Ed25519PublicKey.from_public_bytes(data[1:])

    def verifies(self, signature, message):
        try:
            self.key.verify(signature, message)
            return True
        except InvalidSignature:
            return False


class Checkpoint:
    """A note that the log has signed."""

    def __init__(self, note, log):
        text, _, lines = note.rpartition("\n\n")
        self.text = text + "\n"
        self.signatures = []
        for line in lines.splitlines():
            dash, name, encoded = line.split(" ")
            if dash != "\u2014":
                raise Wrong("no signature line")
            data = base64.b64decode(encoded)
            self.signatures.append((name, data[:4], data[4:]))
        if not any(log.verifies(signature, self.text.encode()) for signature in self.of(log)):
            raise Wrong("not signed by the log")
        origin, size, root = self.text.split("\n")[:3]
        if origin != log.name:
            raise Wrong("of another log")
        self.size, self.root = int(size), base64.b64decode(root)

    def of(self, key):
        return [signature for name, id, signature in self.signatures if name == key.name and id == key.id]

    def cosigned_at(self, witness):
        for signature in self.of(witness):
            at = int.from_bytes(signature[:8], "big")
            if witness.verifies(signature[8:], f"cosignature/v1\ntime {at}\n{self.text}".encode()):
                return at
        return None


def holds(entry, index, proof, checkpoint):
    """RFC 9162 section 2.1.3.2."""
    fn, sn, r = index, checkpoint.size - 1, leaf_hash(entry)
    if index >= checkpoint.size:
        return False
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == checkpoint.root


def continues(first, first_root, second, second_root, proof):
    """RFC 9162 section 2.1.4.2."""
    if first == second:
        return not proof and first_root == second_root
    if not proof or not 0 < first < second:
        return False
    proof = list(proof)
    if first & (first - 1) == 0:
        proof.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root


class Log:
    """The files of C2SP tlog-tiles at an address."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def get(self, path):
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=10) as answer:
            return answer.read()

    @staticmethod
    def path(level, number, width):
        digits = f"{number:03d}"
        digits = digits.zfill((len(digits) + 2) // 3 * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])
        return f"tile/{level}/{name}" + (f".p/{width}" if width < WIDTH else "")

    def tile(self, level, number, count):
        """The part of a row of `count` hashes or entries that a tile holds."""
        return self.get(self.path(level, number, min(WIDTH, count - number * WIDTH)))

    def entry(self, index, size):
        data = self.tile("entries", index // WIDTH, size)
        for _ in range(index % WIDTH):
            data = data[2 + int.from_bytes(data[:2], "big") :]
        length = int.from_bytes(data[:2], "big")
        return data[2 : 2 + length]

    def hashes(self, size):
        """All hashes of entries: enough for a log that a test makes, and the least that can go wrong."""
        row = b"".join(self.tile(0, number, size) for number in range((size + WIDTH - 1) // WIDTH))
        return [row[at : at + 32] for at in range(0, len(row), 32)]


def split(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def root_of(hashes):
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return node_hash(root_of(hashes[:k]), root_of(hashes[k:]))


def inclusion_proof(index, hashes):
    """RFC 6962 section 2.1.1."""
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if index < k:
        return inclusion_proof(index, hashes[:k]) + [root_of(hashes[k:])]
    return inclusion_proof(index - k, hashes[k:]) + [root_of(hashes[:k])]


def check_log(url, log_key, index, witnesses):
    log = Log(url)
    checkpoint = Checkpoint(log.get("checkpoint").decode(), Key(log_key, LOG))
    print(f"ok   the checkpoint of {checkpoint.size} entries is signed by the log")
    for key in witnesses:
        witness = Key(key, COSIGNATURE)
        if checkpoint.cosigned_at(witness) is None:
            raise Wrong(f"not cosigned by {witness.name}")
        print(f"ok   it is cosigned by {witness.name}")
    hashes = log.hashes(checkpoint.size)
    entry = log.entry(index, checkpoint.size)
    proof = inclusion_proof(index, hashes)
    if not holds(entry, index, proof, checkpoint):
        raise Wrong("the entry is not in the tree")
    print(f"ok   entry {index} ({json.loads(entry)['type']}) is in the tree, by a proof of {len(proof)} hashes")
    for what, broken in [
        ("a changed entry", holds(entry + b" ", index, proof, checkpoint)),
        ("another place", holds(entry, (index + 1) % checkpoint.size, proof, checkpoint)),
        ("a changed proof", holds(entry, index, [sha256(proof[0])] + proof[1:], checkpoint)),
    ]:
        if broken:
            raise Wrong(f"{what} is taken")
    print("ok   refused: a changed entry, another place, a changed proof")
    changed = log.get("checkpoint").decode().replace(f"\n{checkpoint.size}\n", f"\n{checkpoint.size + 1}\n", 1)
    try:
        Checkpoint(changed, Key(log_key, LOG))
    except Wrong:
        print("ok   refused: a checkpoint of another size")
        return
    raise Wrong("a changed checkpoint is taken")


def check_evidence(path, log_key):
    with open(path, encoding="utf-8") as file:
        evidence = json.load(file)
    log = Key(log_key, LOG)
    kind = evidence["kind"]
    if kind == "fork":
        one, other = Checkpoint(evidence["one"], log), Checkpoint(evidence["other"], log)
        if one.size != other.size or one.root == other.root:
            raise Wrong("the checkpoints don't contradict each other")
    elif kind == "rewritten":
        older, newer = Checkpoint(evidence["older"], log), Checkpoint(evidence["newer"], log)
        beginning, proof = bytes.fromhex(evidence["beginning"]), [bytes.fromhex(hash) for hash in evidence["proof"]]
        if not continues(older.size, beginning, newer.size, newer.root, proof) or beginning == older.root:
            raise Wrong("the log was not rewritten")
    elif kind == "entries":
        checkpoint = Checkpoint(evidence["checkpoint"], log)
        for proven in evidence["entries"]:
            proof = [bytes.fromhex(hash) for hash in proven["proof"]]
            if not holds(proven["entry"].encode(), proven["index"], proof, checkpoint):
                raise Wrong("an entry is not in the log")
    else:
        raise Wrong("evidence of an unknown kind")
    print(f"ok   the evidence ({kind}) holds")


def main(arguments):
    try:
        if arguments[0] == "--evidence":
            check_evidence(arguments[1], arguments[2])
        else:
            check_log(arguments[0], arguments[1], int(arguments[2]), arguments[3:])
    except Wrong as wrong:
        sys.exit(f"wrong: {wrong}")


main(sys.argv[1:])
