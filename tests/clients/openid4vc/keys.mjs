// What the libraries leave to whoever uses them: keys, signatures and certificates. Signatures are node:crypto's, JWS and JWE jose's.

import { X509Certificate, createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { CompactEncrypt, calculateJwkThumbprint, compactVerify, importJWK } from 'jose';

const P256 = { dsaEncoding: 'ieee-p1363' };
const secrets = new Map();

/** A fresh P-256 key: its public JWK. The secret one stays here. */
export function newKey() {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = publicKey.export({ format: 'jwk' });
  secrets.set(jwk.x, privateKey);
  return jwk;
}

/** Signs with the secret key of a public JWK. */
export const signWith = (jwk, data) => sign('sha256', data, { key: secrets.get(jwk.x), ...P256 });

/** Whether a signature is that of a public JWK. */
export const isSignedBy = ({ kty, crv, x, y }, data, signature) =>
  verify('sha256', data, { key: createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' }), ...P256 }, signature);

/** The public key of the first certificate of a chain (DER, without the root) that leads to a root and is in time. */
export function certifiedKey(chain, roots, now = new Date()) {
  const [leaf] = chain.map((der) => new X509Certificate(Buffer.from(der)));
  const isInTime = (one) => Date.parse(one.validFrom) <= now.getTime() && now.getTime() < Date.parse(one.validTo);
  const root = roots
    .map((der) => new X509Certificate(Buffer.from(der)))
    .find((one) => leaf.checkIssued(one) && leaf.verify(one.publicKey));
  if (!root || !isInTime(root) || !isInTime(leaf)) throw new Error('the chain does not lead to a trusted root');
  return leaf.publicKey;
}

/** The signer that a JWT's header names by x5c, held against the roots. */
export const certifiedSigner = (x5c, roots) => certifiedKey(x5c.map((text) => Buffer.from(text, 'base64')), roots);

/** The callbacks of @openid4vc for a wallet that trusts some roots (DER). */
export const callbacks = (roots, clientAuthentication) => ({
  fetch,
  hash: (data, algorithm) => createHash(algorithm.replace('-', '')).update(data).digest(),
  generateRandom: (length) => randomBytes(length),
  clientAuthentication,
  signJwt: ({ publicJwk }, { header, payload }) => {
    const text = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    return { jwt: `${text}.${signWith(publicJwk, Buffer.from(text)).toString('base64url')}`, signerJwk: publicJwk };
  },
  verifyJwt: async (signer, { compact }) => {
    if (signer.method !== 'x5c') return { verified: false };
    const key = certifiedSigner(signer.x5c, roots);
    await compactVerify(compact, key, { algorithms: ['ES256'] });
    return { verified: true, signerJwk: key.export({ format: 'jwk' }) };
  },
  encryptJwe: async ({ publicJwk, alg, enc, apu, apv }, data) => {
    const parameters = Object.fromEntries(
      Object.entries({ apu, apv }).filter(([, text]) => text).map(([name, text]) => [name, Buffer.from(text, 'base64url')]),
    );
    const jwe = new CompactEncrypt(Buffer.from(data))
      .setProtectedHeader({ alg, enc, ...(publicJwk.kid ? { kid: publicJwk.kid } : {}) })
      .setKeyManagementParameters(parameters);
    return { encryptionJwk: publicJwk, jwe: await jwe.encrypt(await importJWK(publicJwk, alg)) };
  },
  decryptJwe: () => ({ decrypted: false }),
  // The certificate's hash is the client id here: no name of it is looked at.
  getX509CertificateMetadata: () => ({ sanDnsNames: [], sanUriNames: [] }),
});

/** SHA-256 thumbprint (RFC 7638) of a JWK. */
export const thumbprint = async (jwk) => new Uint8Array(Buffer.from(await calculateJwkThumbprint(jwk, 'sha256'), 'base64url'));
