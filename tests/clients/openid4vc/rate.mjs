// How many presentations a second @owf/mdoc verifies in this process: for bench/credential.py.
//
// Reads one JSON object from standard input: root and response (base64url), client_id, nonce and response_uri; the argument is how many
// seconds it may take.

import { readFileSync } from 'node:fs';
import { verifyPresented } from './mdoc.mjs';

const { root, response, client_id: clientId, nonce, response_uri: responseUri } = JSON.parse(readFileSync(0, 'utf8'));
const rootBytes = new Uint8Array(Buffer.from(root, 'base64url'));
const verify = () => verifyPresented(response, rootBytes, { clientId, nonce, responseUri });
const seconds = Number(process.argv[2] ?? 2);
await verify();
const begin = performance.now();
let verified = 0;
while (performance.now() - begin < seconds * 1000) {
  await verify();
  verified += 1;
}
process.stdout.write(JSON.stringify({ verified: (verified * 1000) / (performance.now() - begin) }));
