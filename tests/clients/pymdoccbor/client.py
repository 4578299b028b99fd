"""A verifier that we did not write (pymdoccbor) reads a device response that shows one of our credentials.

Reads one JSON object from standard input:
  root      the issuer's root, DER in base64url
  response  the device response, CBOR in base64url
Prints a line per step; the first step that fails ends the run with a non-zero status.

It checks the issuer's certificate and signature and the digests of what is shown; the device's signature it does not look at.
"""

import base64
import datetime
import json
import logging
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymdoccbor.mdoc.verifier import MdocCbor

NAMESPACE = "org.habeas.id.1"
# What it logs of a refusal is expected here.
logging.disable(logging.CRITICAL)


def step(text):
    print(f"ok   {text}", flush=True)


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(response, root):
    """The attributes that a response shows, or None when it is not accepted."""
    mdoc = MdocCbor()
    try:
        mdoc.loads(response)
        accepted = mdoc.verify(trusted_root_certs=[root])
    except Exception:  # Whatever it raises on changed bytes is a refusal.
        return None
    return mdoc.disclosure_map[NAMESPACE] if accepted and mdoc.documents else None


def another_root(like):
    """A root of the same name with another key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(like.subject, like.subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256())


def main():
    given = json.load(sys.stdin)
    root, response = x509.load_der_x509_certificate(decode(given["root"])), decode(given["response"])
    assert root.subject.get_attributes_for_oid(NameOID.COUNTRY_NAME), "the root names its country"
    shown = verified(response, root)
    assert shown and set(shown) == {"given_name", "age_over_18"}, shown
    step(f"pymdoccbor verifies an mdoc against our root: {', '.join(sorted(shown))}")

    name = shown["given_name"].encode()
    assert response.count(name) == 1
    assert verified(response.replace(name, name[:-1] + bytes([name[-1] ^ 1])), root) is None
    step("refused: an mdoc with one changed byte in a name")
    # The digests come before the issuer's signature: a changed digest breaks the signature alone.
    at = response.index(b"valueDigests") + 60
    assert verified(response[:at] + bytes([response[at] ^ 1]) + response[at + 1 :], root) is None
    step("refused: an mdoc with one changed byte in what the issuer signed")
    assert verified(response, another_root(root)) is None
    step("refused: an mdoc against another root of the same name")
    print("pymdoccbor: all steps passed")


main()
