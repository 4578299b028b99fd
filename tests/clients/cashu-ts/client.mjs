// A wallet that we did not write (@cashu/cashu-ts) against a running `habeas up`.
//
// Reads one JSON object from standard input:
//   mint      the mint's address
//   unit      its unit
//   token     a token string that our wallet made
//   offer     an offer of a person who is owed an allowance
//   code      its transaction code
//   merchant  a merchant that takes settlements
// Prints a line per step; the first step that fails ends the run with a non-zero status.

import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  CheckStateEnum,
  Wallet,
  createHTLCHash,
  getDecodedToken,
  getEncodedToken,
  getPubKeyFromPrivKey,
  hasValidDleq,
  sumProofs,
} from '@cashu/cashu-ts';

const input = JSON.parse(readFileSync(0, 'utf8'));
const amountOf = (proofs) => Number(sumProofs(proofs).toString());
const step = (text) => console.log(`ok   ${text}`);

/** Expects a refusal with an error code of the NUTs. */
async function refused(code, promise, what) {
  try {
    await promise;
  } catch (error) {
    assert.equal(error.code, code, `${what}: refused with code ${error.code} (${error.message}), not ${code}`);
    step(`refused with ${code}: ${what}`);
    return;
  }
  assert.fail(`${what}: was not refused`);
}

// The library checks the DLEQ proof of every signature it gets.
const wallet = new Wallet(input.mint, { unit: input.unit, requireSigDleq: true });
await wallet.loadMint();
step(`loads the mint: keyset ${wallet.keysetId} (the library computes the id again)`);

const token = getDecodedToken(input.token, wallet.keyChain.getAllKeysetIds());
const received = await wallet.receive(input.token);
assert.equal(amountOf(received), amountOf(token.proofs));
const keyset = wallet.getKeyset();
assert.ok(received.every((proof) => hasValidDleq(proof, keyset)));
step(`receives a token made by our wallet: ${amountOf(received)} ${input.unit}, each DLEQ proof holds`);
await refused(11001, wallet.receive(input.token), 'the same token a second time');

const half = Math.floor(amountOf(received) / 2);
const { keep, send } = await wallet.send(half, received);
assert.equal(amountOf(send), half);
step(`swaps and sends ${half}`);

const sent = getEncodedToken({ mint: input.mint, proofs: send, unit: input.unit });
const other = new Wallet(input.mint, { unit: input.unit, requireSigDleq: true });
await other.loadMint();
const taken = await other.receive(sent);
assert.equal(amountOf(taken), half);
step('a second wallet of the library receives it');

const states = async (proofs) => (await wallet.checkProofsStates(proofs)).map((entry) => entry.state);
assert.ok((await states(send)).every((state) => state === CheckStateEnum.SPENT));
assert.ok((await states(keep)).every((state) => state === CheckStateEnum.UNSPENT));
step('checks states: what was sent is spent, what was kept is not');

// The holder before the issuer (OpenID4VCI by pre-authorized code, DPoP by RFC 9449) and the registry, which takes the same token.
const link = new URL(input.offer.trim());
const offer = JSON.parse(link.searchParams.get('credential_offer'));
const { services } = JSON.parse(Buffer.from(link.searchParams.get('habeas'), 'base64url'));
const holder = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const prove = (htu, token) => {
  const { kty, crv, x, y } = holder.publicKey.export({ format: 'jwk' });
  const claims = { jti: randomBytes(16).toString('hex'), htm: 'POST', htu, iat: Math.floor(Date.now() / 1000) };
  if (token) claims.ath = createHash('sha256').update(token).digest('base64url');
  const text = `${encoded({ typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } })}.${encoded(claims)}`;
  const key = { key: holder.privateKey, dsaEncoding: 'ieee-p1363' };
  return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
};
const post = async (url, body, token) => {
  const headers = { DPoP: prove(url, token), ...(token ? { Authorization: `DPoP ${token}` } : {}) };
  const answer = await fetch(url, { method: 'POST', headers, body });
  assert.ok(answer.ok, `${url}: ${await answer.clone().text()}`);
  return answer.json();
};
const issuer = new URL(offer.credential_issuer);
const server = await (await fetch(`${issuer.origin}/.well-known/oauth-authorization-server${issuer.pathname}`)).json();
const grant = 'urn:ietf:params:oauth:grant-type:pre-authorized_code';
const form = new URLSearchParams({ grant_type: grant, tx_code: input.code });
form.set('pre-authorized_code', offer.grants[grant]['pre-authorized_code']);
const { access_token: access } = await post(server.token_endpoint, form);
const ask = (path, body) => post(`${services.registry}/v1/${path}`, JSON.stringify(body), access);
const [entitlement] = await ask('entitlements', {});
const privkey = randomBytes(32).toString('hex');
const pubkey = Buffer.from(getPubKeyFromPrivKey(Buffer.from(privkey, 'hex'))).toString('hex');
const claimed = await ask('entitlements/claim', { entitlement: entitlement.id, pubkey });
const amount = entitlement.amount_minor;

const quote = await wallet.checkMintQuote('entitlement', claimed.quote);
assert.equal(quote.unit, input.unit);
assert.equal(quote.pubkey, pubkey);
await refused(20008, wallet.mintProofs('entitlement', amount, { quote: claimed.quote }), 'an entitlement without its key');
const minted = await wallet.mintProofs('entitlement', amount, quote, { privkey });
assert.equal(amountOf(minted), amount);
step(`mints ${amount} against an entitlement quote, signed with its key`);
await refused(20002, wallet.mintProofs('entitlement', amount, quote, { privkey }), 'the same entitlement again');

// Tokens locked to a key, with both kinds of signature, and to a hash (NUT-11, NUT-14).
const keyPair = () => {
  const secret = randomBytes(32);
  return [secret.toString('hex'), Buffer.from(getPubKeyFromPrivKey(secret)).toString('hex')];
};
const lock = async (proofs, options) => {
  const { send: locked } = await other.ops.send(amountOf(proofs), proofs).asP2PK(options).run();
  assert.equal(amountOf(locked), amountOf(proofs));
  return locked;
};
const take = (proofs, config) => other.receive(getEncodedToken({ mint: input.mint, proofs, unit: input.unit }), config);
const [mine, minePublic] = keyPair();
let held = taken;
for (const sigFlag of ['SIG_INPUTS', 'SIG_ALL']) {
  const locked = await lock(held, { pubkey: minePublic, sigFlag });
  await refused(10001, take(locked), `tokens locked with ${sigFlag}, without a signature`);
  held = await take(locked, { privkey: mine });
  assert.equal(amountOf(held), half);
  step(`spends tokens locked to its key with ${sigFlag}`);
}
const { hash, preimage } = createHTLCHash();
const hashed = await lock(held, { pubkey: minePublic, hashlock: hash });
await refused(10001, take(hashed, { privkey: mine }), 'tokens locked to a hash, without the preimage');
held = await take(hashed.map((proof) => ({ ...proof, witness: { preimage } })), { privkey: mine });
assert.equal(amountOf(held), half);
const [revealed] = await wallet.checkProofsStates(hashed);
assert.equal(JSON.parse(revealed.witness).preimage, preimage);
step('spends tokens locked to a hash; the mint shows the preimage to who asks for their state');

const melt = await wallet.createMeltQuote('settlement', { request: `${input.merchant}:${amount}`, unit: input.unit });
const paid = await wallet.meltProofs('settlement', melt, minted);
assert.equal(paid.quote.state, 'PAID');
step(`redeems ${amount} into a merchant's balance`);

console.log('cashu-ts: all steps passed; its last line is a token for our wallet');
console.log(getEncodedToken({ mint: input.mint, proofs: held, unit: input.unit }));
