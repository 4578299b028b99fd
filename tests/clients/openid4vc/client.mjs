// Wallet and verifier libraries that we did not write, against a running `habeas up`: @openid4vc gets credentials from our issuer and
// answers our verifier, @owf/mdoc and @sd-jwt verify the credentials and show them, dcql reads our query.
//
// Reads one JSON object from standard input:
//   habeas    our binary; it plays the verifier (`habeas verifier`) and the desk (`habeas revoke`)
//   data      the data folder of the running server
//   registrar an officer who may revoke
//   offers    two offers, {link, code}, of different people
//   party     the file of a relying party that may ask for given_name and age_over_18
// Prints a line per step; the first step that fails ends the run with a non-zero status. The last line is JSON for the client of
// pymdoccbor: root and response, base64url.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { X509Certificate, createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Oauth2Client, clientAuthenticationNone, setGlobalConfig } from '@openid4vc/oauth2';
import { Openid4vciClient } from '@openid4vc/openid4vci';
import { Openid4vpClient } from '@openid4vc/openid4vp';
import { validateLoTE } from '@owf/eudi-lote';
import { DcqlQuery } from 'dcql';
import { compactVerify } from 'jose';
import { callbacks, newKey, thumbprint } from './keys.mjs';
import * as mdoc from './mdoc.mjs';
import * as sdjwt from './sdjwt.mjs';

const MDOC = 'org.habeas.id.mdoc';
const SD_JWT = 'org.habeas.id.sd-jwt';
const BATCH = 5;
const CLIENT_ID = 'a-wallet-of-others';
const REDIRECT_URI = 'https://wallet.example/callback';

// The server is on this machine, without TLS.
setGlobalConfig({ allowInsecureUrls: true });

const input = JSON.parse(readFileSync(0, 'utf8'));
const step = (text) => console.log(`ok   ${text}`);
const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64url'));
const party = JSON.parse(readFileSync(input.party, 'utf8'));
const [issuerRoot, registerRoot] = [party.issuer_roots[0], party.register_root].map(bytes);

/** Expects a refusal that says something. */
async function refused(sign, promise, what) {
  try {
    await promise;
  } catch (error) {
    const told = `${error.message} ${JSON.stringify(error.errorResponse ?? error.response?.credentialErrorResponseResult ?? {})}`;
    assert.ok(told.includes(sign), `${what}: the refusal does not say ${sign}: ${told}`);
    step(`refused (${sign}): ${what}`);
    return;
  }
  assert.fail(`${what}: was not refused`);
}

/** The text with one character changed. */
const changed = (text, at) => `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;

// 0.4.6 verifies signed metadata but sends no Accept header that asks for it.
const askingForSigned = (url, options) =>
  fetch(url, String(url).includes('/openid-credential-issuer') ? { ...options, headers: { Accept: 'application/jwt' } } : options);
// The issuer signs its metadata, the register signs for those who ask.
const wallet = {
  ...callbacks([issuerRoot, registerRoot], clientAuthenticationNone({ clientId: CLIENT_ID })),
  fetch: askingForSigned,
};
const issuing = new Openid4vciClient({ callbacks: wallet });
const oauth = new Oauth2Client({ callbacks: wallet });
const showing = new Openid4vpClient({ callbacks: wallet });

const dpopWith = (publicJwk) => ({ signer: { method: 'jwk', alg: 'ES256', publicJwk } });

/** A batch of a configuration for fresh keys: [{credential, key}]. */
async function fetchBatch(metadata, configuration, accessToken, dpop, count = BATCH) {
  const { c_nonce: nonce } = await issuing.requestNonce({ issuerMetadata: metadata });
  const keys = Array.from({ length: count }, newKey);
  const prove = (publicJwk) =>
    issuing.createCredentialRequestJwtProof({
      issuerMetadata: metadata,
      credentialConfigurationId: configuration,
      nonce,
      signer: { method: 'jwk', alg: 'ES256', publicJwk },
    });
  const proofs = { jwt: (await Promise.all(keys.map(prove))).map(({ jwt }) => jwt) };
  const request = { issuerMetadata: metadata, credentialConfigurationId: configuration, accessToken, dpop, proofs };
  const { credentialResponse } = await issuing.retrieveCredentials(request);
  assert.equal(credentialResponse.credentials.length, count);
  await issuing.sendNotification({
    issuerMetadata: metadata,
    accessToken,
    dpop,
    notification: { notificationId: credentialResponse.notification_id, event: 'credential_accepted' },
  });
  const batch = credentialResponse.credentials.map(({ credential }, at) => ({ credential, key: keys[at] }));
  return { batch, again: () => issuing.retrieveCredentials(request) };
}

// By pre-authorized code.
const [byCode, byConsent] = input.offers;
const offer = await issuing.resolveCredentialOffer(byCode.link);
const metadata = await issuing.resolveIssuerMetadata(offer.credential_issuer);
assert.ok(metadata.signedCredentialIssuer, 'the metadata is signed');
assert.deepEqual(Object.keys(metadata.knownCredentialConfigurations).sort(), [...offer.credential_configuration_ids].sort());
const unsigned = new Openid4vciClient({ callbacks: { ...wallet, fetch, verifyJwt: undefined } });
const plain = await unsigned.resolveIssuerMetadata(offer.credential_issuer);
assert.equal(plain.signedCredentialIssuer, undefined);
assert.deepEqual(plain.knownCredentialConfigurations, metadata.knownCredentialConfigurations);
step('resolves the offer and the metadata, signed (application/jwt, against our root) and unsigned: the same');
const distrusting = new Openid4vciClient({ callbacks: { ...wallet, verifyJwt: callbacks([registerRoot]).verifyJwt } });
await refused('verification failed', distrusting.resolveIssuerMetadata(offer.credential_issuer), 'metadata that another root vouches for');

// Whom to trust: the list in the form of ETSI TS 119 602, signed by who it says.
const listAddress = `${metadata.credentialIssuer.credential_issuer}/trusted-list`;
const list = await (await fetch(listAddress)).text();
const [operator] = JSON.parse(Buffer.from(list.split('.')[0], 'base64url')).x5c.map((text) => new X509Certificate(Buffer.from(text, 'base64')));
assert.ok(operator.verify(operator.publicKey) && operator.keyUsage.includes('0.4.0.2231.3.0'), "the operator's certificate");
const { payload } = await compactVerify(list, operator.publicKey, { algorithms: ['ES256'] });
const trusted = JSON.parse(Buffer.from(payload));
const { valid, errors } = validateLoTE(trusted);
assert.ok(valid, JSON.stringify(errors));
const without = structuredClone(trusted);
delete without.LoTE.TrustedEntitiesList[0].TrustedEntityServices[0].ServiceInformation.ServiceName;
assert.ok(!validateLoTE(without).valid, 'the control: a service without a name');
const anchor = Object.fromEntries(
  trusted.LoTE.TrustedEntitiesList.flatMap(({ TrustedEntityServices }) => TrustedEntityServices)
    .map(({ ServiceInformation: { ServiceTypeIdentifier: type, ServiceDigitalIdentity: { X509Certificates } } }) => [type.split('/SvcType/')[1], X509Certificates[0].val]),
);
assert.equal(anchor['PID/Issuance'], Buffer.from(issuerRoot).toString('base64'));
assert.equal(anchor['WRPAC/Issuance'], Buffer.from(registerRoot).toString('base64'));
const logged = await (await fetch(`${listAddress}/log-entry`)).json();
assert.equal(logged.sha256, createHash('sha256').update(list).digest('hex'));
step('@owf/eudi-lote validates the list of trusted entities, jose its signature: it names the roots that are trusted here');

const [server] = metadata.authorizationServers;
const holder = newKey();
const takeOffer = (txCode, publicJwk = holder) =>
  issuing.retrievePreAuthorizedCodeAccessTokenFromOffer({
    credentialOffer: offer,
    issuerMetadata: metadata,
    txCode,
    dpop: dpopWith(publicJwk),
  });
await refused('invalid_grant', takeOffer(byCode.code === '000000' ? '000001' : '000000'), 'a wrong transaction code');
const { accessTokenResponse: token } = await takeOffer(byCode.code);
assert.equal(token.token_type, 'DPoP');
step('gets a token by pre-authorized code, with the transaction code and DPoP');
await refused('invalid_grant', takeOffer(byCode.code, newKey()), 'the same code, for the key of another');
const held = {};
for (const configuration of [MDOC, SD_JWT]) {
  const { batch, again } = await fetchBatch(metadata, configuration, token.access_token, dpopWith(holder));
  held[configuration] = batch;
  step(`gets ${BATCH} credentials ${configuration}, each for a key of its own, and says that it keeps them`);
  await refused('invalid_nonce', again(), 'the same proofs of keys again');
}
await refused(
  'invalid_token',
  fetchBatch(metadata, MDOC, token.access_token, dpopWith(newKey())),
  "the access token with another's DPoP key",
);

// By refresh token.
const refresh = (refreshToken, publicJwk) =>
  oauth.retrieveRefreshTokenAccessToken({ authorizationServerMetadata: server, refreshToken, dpop: dpopWith(publicJwk) });
await refused('invalid_grant', refresh(token.refresh_token, newKey()), "the refresh token with another's DPoP key");
const { accessTokenResponse: refreshed } = await refresh(token.refresh_token, holder);
await fetchBatch(metadata, SD_JWT, refreshed.access_token, dpopWith(holder), 1);
step('gets a credential with a refreshed token');
await refused('invalid_grant', refresh(token.refresh_token, holder), 'a refresh token that was used');

// By authorization code.
const consentOffer = await issuing.resolveCredentialOffer(byConsent.link);
const consentHolder = newKey();
const state = randomBytes(16).toString('base64url');
// Openid4vciClient.initiateAuthorization passes no `state` on, so its OAuth client is asked.
const begun = await oauth.initiateAuthorization({
  authorizationServerMetadata: server,
  clientId: CLIENT_ID,
  redirectUri: REDIRECT_URI,
  scope: MDOC,
  resource: metadata.credentialIssuer.credential_issuer,
  state,
  additionalRequestPayload: { issuer_state: consentOffer.grants.authorization_code.issuer_state },
  dpop: dpopWith(consentHolder),
});
const page = await fetch(begun.authorizationRequestUrl);
const html = await page.text();
assert.equal(page.status, 200, html);
assert.match(page.headers.get('content-security-policy'), /default-src 'none'/);
const [, action] = /<form method="post" action="([^"]+)">/.exec(html);
const [, requestUri] = /name="request_uri" value="([^"]+)"/.exec(html);
const consent = (code) =>
  fetch(action, { method: 'POST', body: new URLSearchParams({ request_uri: requestUri, tx_code: code }), redirect: 'manual' });
const wrong = await consent(byConsent.code === '000000' ? '000001' : '000000');
assert.equal(wrong.status, 400);
assert.match(await wrong.text(), /role="alert"/);
step('pushes its request, opens the page of consent; a wrong transaction code is told there');
const agreed = await consent(byConsent.code);
assert.equal(agreed.status, 302);
const answer = issuing.parseAndVerifyAuthorizationResponseRedirectUrl({
  url: agreed.headers.get('location'),
  authorizationServerMetadata: server,
});
assert.equal(answer.state, state);
const exchange = () =>
  issuing.retrieveAuthorizationCodeAccessTokenFromOffer({
    credentialOffer: consentOffer,
    issuerMetadata: metadata,
    authorizationCode: answer.code,
    pkceCodeVerifier: begun.pkce.codeVerifier,
    redirectUri: REDIRECT_URI,
    dpop: dpopWith(consentHolder),
  });
const { accessTokenResponse: consented } = await exchange();
for (const configuration of [MDOC, SD_JWT]) {
  await fetchBatch(metadata, configuration, consented.access_token, dpopWith(consentHolder));
}
step('gets a token by authorization code with PKCE, and both batches with it');
await refused('invalid_grant', exchange(), 'an authorization code that was used');

// Other verifiers judge the credentials.
for (const { credential, key } of held[MDOC]) {
  const issued = await mdoc.verifyIssued(credential, issuerRoot);
  assert.deepEqual([issued.docType, issued.key.x, issued.key.y], ['org.habeas.id.1', key.x, key.y]);
}
const person = (await mdoc.verifyIssued(held[MDOC][0].credential, issuerRoot)).attributes;
step(`@owf/mdoc verifies ${BATCH} mdocs, each bound to the key that asked for it`);
const [oneMdoc] = held[MDOC];
await refused('trusted root', mdoc.verifyIssued(oneMdoc.credential, registerRoot), 'an mdoc against another root');
const renamed = Buffer.from(oneMdoc.credential, 'base64url');
renamed[renamed.indexOf(person.given_name)] ^= 1;
await refused('digest', mdoc.verifyIssued(renamed.toString('base64url'), issuerRoot), 'an mdoc with one changed byte in a name');

const identifiers = new Set();
for (const { credential, key } of held[SD_JWT]) {
  const { payload, typeMetadata } = await sdjwt.verify(credential, issuerRoot);
  assert.deepEqual([payload.cnf.jwk.x, payload.given_name, typeMetadata.vctValues], [key.x, person.given_name, [payload.vct]]);
  identifiers.add(payload.status.status_list.idx);
}
assert.equal(identifiers.size, BATCH);
step(`@sd-jwt verifies ${BATCH} SD-JWT VCs with their type metadata and their status; each has a place of its own`);
const [oneSdJwt] = held[SD_JWT];
assert.equal(await sdjwt.statusOf(oneSdJwt.credential, issuerRoot), 0);
step('@sd-jwt/jwt-status-list reads our list: valid');
await refused('trusted root', sdjwt.verify(oneSdJwt.credential, registerRoot), 'an SD-JWT VC against another root');
await refused('trusted root', sdjwt.statusOf(oneSdJwt.credential, registerRoot), 'a status list against another root');
await refused('ignature', sdjwt.verify(changed(oneSdJwt.credential, oneSdJwt.credential.indexOf('~') - 9), issuerRoot), 'an SD-JWT VC with a changed signature');
const [signed, ...disclosures] = oneSdJwt.credential.split('~');
const lie = Buffer.from(JSON.stringify(['c2FsdA', 'given_name', 'Mallory'])).toString('base64url');
const lying = await sdjwt.verify([signed, lie, ...disclosures.slice(1)].join('~'), issuerRoot).then(({ payload }) => payload, () => ({}));
assert.notEqual(lying.given_name, 'Mallory');
step('a disclosure that the issuer did not sign is not believed');

/** Our verifier, as a process of its own: what it knew of status lists dies with it. */
async function startVerifier() {
  const secret = randomBytes(16).toString('hex');
  const process_ = spawn(input.habeas, ['verifier', '--relying-party', input.party, '--listen', '127.0.0.1:0', '--token', secret], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.on('exit', () => process_.kill());
  for await (const line of createInterface({ input: process_.stdout })) {
    const [, url] = /^verifier: (.*)$/.exec(line) ?? [];
    if (!url) continue;
    const call = async (path, options) => {
      const told = await fetch(`${url}${path}`, { ...options, headers: { Authorization: `Bearer ${secret}` } });
      return { status: told.status, body: await told.json() };
    };
    const ask = (question) => call('/presentations', { method: 'POST', body: JSON.stringify(question) });
    return { ask, outcome: (id) => call(`/presentations/${id}`), stop: () => process_.kill() };
  }
  assert.fail('habeas verifier did not start');
}

/** Resolves a link, and holds its query against a held credential of one format with dcql. */
async function resolve(link, { payload: claims }) {
  const { params } = showing.parseOpenid4vpAuthorizationRequest({ authorizationRequest: link });
  // 0.4.6 sends no wallet_nonce with its POST (it builds that body and drops it), so none is asked for.
  const resolved = await showing.resolveOpenId4vpAuthorizationRequest({
    authorizationRequestPayload: params,
    responseMode: { type: 'direct_post' },
  });
  assert.deepEqual([resolved.client.prefix, resolved.jar.signer.method], ['x509_hash', 'x5c']);
  const query = DcqlQuery.parse(resolved.dcql.query);
  DcqlQuery.validate(query);
  const { vct, ...attributes } = claims;
  const credentials = [
    { credential_format: 'mso_mdoc', doctype: 'org.habeas.id.1', namespaces: { 'org.habeas.id.1': attributes }, cryptographic_holder_binding: true },
    { credential_format: 'dc+sd-jwt', vct, claims: attributes, cryptographic_holder_binding: true },
  ];
  const found = DcqlQuery.query(query, credentials);
  assert.ok(found.can_be_satisfied, JSON.stringify(found));
  const request = resolved.authorizationRequestPayload;
  const [encryptionKey] = request.client_metadata.jwks.keys;
  const session = {
    clientId: request.client_id,
    nonce: request.nonce,
    responseUri: request.response_uri,
    jwkThumbprint: await thumbprint(encryptionKey),
  };
  return { request, query, session };
}

/** Shows a credential as the query asks for it. */
async function build(format, { query, session }, { credential, key }) {
  const asked = query.credentials.find((one) => one.format === format);
  const paths = asked.claims.map(({ path }) => path);
  const presentation =
    format === 'mso_mdoc'
      ? await mdoc.present(credential, key, paths, session)
      : await sdjwt.present(credential, key, paths.map(([name]) => name), session);
  return { id: asked.id, presentation };
}

async function send({ request }, { id, presentation }) {
  const { jarm, authorizationResponsePayload } = await showing.createOpenid4vpAuthorizationResponse({
    authorizationRequestPayload: request,
    authorizationResponsePayload: { vp_token: { [id]: [presentation] } },
    jarm: {
      encryption: { nonce: randomBytes(16).toString('base64url') },
      serverMetadata: {
        authorization_signing_alg_values_supported: [],
        authorization_encryption_alg_values_supported: ['ECDH-ES'],
        authorization_encryption_enc_values_supported: ['A256GCM', 'A128GCM'],
      },
    },
  });
  const { response } = await showing.submitOpenid4vpAuthorizationResponse({
    authorizationRequestPayload: request,
    authorizationResponsePayload,
    jarm,
  });
  return { status: response.status, body: await response.json() };
}

const verifier = await startVerifier();
const question = { attributes: ['given_name', 'age_over_18'] };
const claims = await sdjwt.verify(oneSdJwt.credential, issuerRoot);
const expected = { given_name: person.given_name, age_over_18: person.age_over_18 };
let forPymdoccbor;
for (const [format, [, one, other]] of [['mso_mdoc', held[MDOC]], ['dc+sd-jwt', held[SD_JWT]]]) {
  const { status, body: asked } = await verifier.ask(question);
  assert.equal(status, 201, JSON.stringify(asked));
  assert.equal((await verifier.outcome(asked.id)).body.state, 'waiting');
  const resolved = await resolve(asked.link, claims);
  const answered = await build(format, resolved, one);
  if (format === 'mso_mdoc') {
    assert.deepEqual(await mdoc.verifyPresented(answered.presentation, issuerRoot, resolved.session), expected);
    const replayed = { ...resolved.session, nonce: 'of another question' };
    await refused('ignature', mdoc.verifyPresented(answered.presentation, issuerRoot, replayed), 'by @owf/mdoc, an mdoc for another nonce');
    forPymdoccbor = answered.presentation;
  } else {
    const { payload, kb } = await sdjwt.verify(answered.presentation, issuerRoot, resolved.session.nonce);
    assert.deepEqual([payload.given_name, payload.family_name, kb.payload.aud], [person.given_name, undefined, resolved.session.clientId]);
    await refused('Nonce', sdjwt.verify(answered.presentation, issuerRoot, 'of another question'), 'by @sd-jwt, an SD-JWT VC for another nonce');
  }
  const sent = await send(resolved, answered);
  assert.equal(sent.status, 200, JSON.stringify(sent.body));
  const { body: outcome } = await verifier.outcome(asked.id);
  assert.equal(outcome.state, 'verified', JSON.stringify(outcome));
  assert.deepEqual(outcome.presentations, { [answered.id]: { format, attributes: expected } });
  step(`our verifier takes ${format} from @openid4vc, encrypted, and shows what was asked for and no more`);
  assert.notEqual((await send(resolved, answered)).status, 200);
  const { body: second } = await verifier.ask(question);
  const newer = await resolve(second.link, claims);
  const stale = await build(format, { ...newer, session: { ...newer.session, nonce: resolved.session.nonce } }, other);
  assert.equal((await send(newer, stale)).status, 400);
  assert.equal((await verifier.outcome(second.id)).body.state, 'refused');
  step(`our verifier refuses the same answer twice, and ${format} for the nonce of another question`);
}
const { status: overAsking } = await verifier.ask({ attributes: ['family_name'] });
assert.equal(overAsking, 403);
step('our verifier does not ask for what is not registered');
// Asked for one age by name, our verifier offers an anonymous predicate too, whose format is ours. dcql 3.0.0 knows the standard's formats
// only and refuses such a query whole, so whoever wants the answer of any wallet asks in DCQL.
const age = { path: ['org.habeas.id.1', 'age_over_18'], intent_to_retain: false };
const inDcql = { id: 'id', format: 'mso_mdoc', meta: { doctype_value: 'org.habeas.id.1' }, claims: [age] };
const { body: byQuery } = await verifier.ask({ dcql_query: { credentials: [inDcql] } });
const theQuery = await resolve(byQuery.link, claims);
assert.equal((await send(theQuery, await build('mso_mdoc', theQuery, held[MDOC][4]))).status, 200);
assert.deepEqual((await verifier.outcome(byQuery.id)).body.presentations.id.attributes, { age_over_18: person.age_over_18 });
step('our verifier asks by a DCQL query of the relying party, too');
verifier.stop();

const revoke = ['revoke', person.document_number, '--as', input.registrar, '--data', input.data];
execFileSync(input.habeas, revoke, { stdio: ['ignore', 'ignore', 'inherit'] });
assert.equal(await sdjwt.statusOf(oneSdJwt.credential, issuerRoot), 1);
await refused('Status is not valid', sdjwt.verify(oneSdJwt.credential, issuerRoot), 'by @sd-jwt, an SD-JWT VC that was revoked');
step('@sd-jwt/jwt-status-list reads our list after `habeas revoke`: revoked');
const later = await startVerifier();
for (const [format, [, , , one]] of [['mso_mdoc', held[MDOC]], ['dc+sd-jwt', held[SD_JWT]]]) {
  const { body: asked } = await later.ask(question);
  const resolved = await resolve(asked.link, claims);
  const sent = await send(resolved, await build(format, resolved, one));
  assert.equal(sent.status, 400);
  assert.match((await later.outcome(asked.id)).body.reason, /revoked/);
  step(`our verifier refuses ${format} that was revoked`);
}
later.stop();
await refused('invalid_grant', refresh(refreshed.refresh_token, holder), 'a refresh token of a device that was revoked');

console.log('openid4vc: all steps passed; its last line is a device response for pymdoccbor');
console.log(JSON.stringify({ root: party.issuer_roots[0], response: forPymdoccbor }));
process.exit(0);
