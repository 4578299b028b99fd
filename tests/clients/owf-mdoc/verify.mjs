// A verifier that we did not write (@owf/mdoc) reads a device response.
//
// Reads one JSON object from standard input: root and response (base64url, DER and CBOR), client_id, response_uri, nonce, now
// (Unix time). Prints {"accepted": {element: value}} or {"refused": "why"}. Only the primitives below are ours, on node:crypto;
// every rule of ISO/IEC 18013-5 is the library's.

import { X509Certificate, createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CoseKey, DeviceResponse, SessionTranscript } from '@owf/mdoc';

const input = JSON.parse(readFileSync(0, 'utf8'));
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64url'));
const certificate = (der) => new X509Certificate(Buffer.from(der));
const unused = () => {
  throw new Error('not used when verifying signatures');
};

const context = {
  crypto: {
    random: (length) => new Uint8Array(randomBytes(length)),
    digest: ({ digestAlgorithm, bytes }) =>
      new Uint8Array(createHash(digestAlgorithm.replace('-', '').toLowerCase()).update(bytes).digest()),
    calculateEphemeralMacKey: unused,
  },
  cose: {
    sign1: {
      sign: unused,
      verify: ({ key, sign1 }) => {
        const { kty, crv, x, y } = key.jwk;
        const publicKey = createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' });
        return verify('sha256', sign1.toBeSigned, { key: publicKey, dsaEncoding: 'ieee-p1363' }, sign1.signature);
      },
    },
    mac0: { sign: unused, verify: unused },
  },
  x509: {
    getIssuerNameField: ({ certificate: der, field }) =>
      certificate(der).issuer.split('\n').filter((part) => part.startsWith(`${field}=`)).map((part) => part.slice(field.length + 1)),
    getPublicKey: ({ certificate: der }) => CoseKey.fromJwk(certificate(der).publicKey.export({ format: 'jwk' })),
    verifyCertificateChain: ({ trustedCertificates, x5chain, now }) => {
      const [leaf] = x5chain.map(certificate);
      const time = (now ?? new Date()).getTime();
      const current = (one) => Date.parse(one.validFrom) <= time && time < Date.parse(one.validTo);
      const root = trustedCertificates.map(certificate).find((one) => leaf.checkIssued(one) && leaf.verify(one.publicKey));
      if (!root || !current(root) || !current(leaf)) throw new Error('the chain does not lead to a trusted root');
    },
    getCertificateData: ({ certificate: der }) => {
      const one = certificate(der);
      return {
        issuerName: one.issuer,
        subjectName: one.subject,
        serialNumber: one.serialNumber,
        thumbprint: one.fingerprint256,
        notBefore: new Date(one.validFrom),
        notAfter: new Date(one.validTo),
        pem: one.toString(),
      };
    },
  },
};

try {
  const response = DeviceResponse.decode(bytes(input.response));
  const sessionTranscript = await SessionTranscript.forOid4Vp(
    { clientId: input.client_id, nonce: input.nonce, responseUri: input.response_uri },
    context,
  );
  await response.verify(
    {
      sessionTranscript,
      trustedCertificates: [bytes(input.root)],
      now: new Date(input.now * 1000),
      onCheck: ({ status, check, reason }) => {
        if (status === 'FAILED') throw new Error(`${check} ${reason ?? ''}`);
      },
    },
    context,
  );
  const accepted = {};
  for (const document of response.documents) {
    for (const [, items] of document.issuerSigned.issuerNamespaces.issuerNamespaces) {
      for (const item of items) accepted[item.elementIdentifier] = item.elementValue;
    }
  }
  process.stdout.write(JSON.stringify({ accepted }));
} catch (error) {
  process.stdout.write(JSON.stringify({ refused: String(error.message) }));
}
