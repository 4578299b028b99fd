// @sd-jwt/sd-jwt-vc as holder and as verifier, with @sd-jwt/jwt-status-list.

import { createHash } from 'node:crypto';
import { getListFromStatusListJWT, getStatusListFromJWT } from '@sd-jwt/jwt-status-list';
import { SDJwtVcInstance } from '@sd-jwt/sd-jwt-vc';
import { compactVerify, decodeProtectedHeader } from 'jose';
import { certifiedSigner, isSignedBy, signWith } from './keys.mjs';

const hasher = (data, algorithm) => new Uint8Array(createHash(algorithm.replace('-', '')).update(data).digest());
const signatureOf = (text) => Buffer.from(text, 'base64url');

/** Verifies an SD-JWT VC against a root: signature, time, status and type metadata, and with a nonce its holder's signature. */
export function verify(credential, root, keyBindingNonce) {
  const verifier = (data, signature) => {
    const key = certifiedSigner(decodeProtectedHeader(`${data}.${signature}`).x5c, [root]).export({ format: 'jwk' });
    return isSignedBy(key, Buffer.from(data), signatureOf(signature));
  };
  const instance = new SDJwtVcInstance({
    hasher,
    verifier,
    kbVerifier: (data, signature, payload) => isSignedBy(payload.cnf.jwk, Buffer.from(data), signatureOf(signature)),
    loadTypeMetadataFormat: true,
  });
  return instance.verify(credential, { keyBindingNonce });
}

/** Shows claims by name to whoever asked. */
export function present(credential, key, names, { clientId, nonce }) {
  const instance = new SDJwtVcInstance({
    hasher,
    kbSignAlg: 'ES256',
    kbSigner: (data) => signWith(key, Buffer.from(data)).toString('base64url'),
  });
  const payload = { iat: Math.floor(Date.now() / 1000), aud: clientId, nonce };
  return instance.present(credential, Object.fromEntries(names.map((name) => [name, true])), { kb: { payload } });
}

/** What the list that a credential names says of it, as a number; the list is verified against a root. */
export async function statusOf(credential, root) {
  const { uri, idx } = getStatusListFromJWT(credential.split('~')[0]);
  const answer = await fetch(uri, { headers: { Accept: 'application/statuslist+jwt' } });
  const jwt = await answer.text();
  const { protectedHeader } = await compactVerify(jwt, ({ x5c }) => certifiedSigner(x5c, [root]));
  if (protectedHeader.typ !== 'statuslist+jwt') throw new Error(`the list's type is ${protectedHeader.typ}`);
  return getListFromStatusListJWT(jwt).getStatus(idx);
}
