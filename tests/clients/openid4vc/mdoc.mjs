// @owf/mdoc as holder and as verifier. Only the primitives are ours; every rule of ISO/IEC 18013-5 is the library's.

import { X509Certificate, createHash, randomBytes } from 'node:crypto';
import {
  CoseKey,
  DeviceRequest,
  DeviceResponse,
  DocRequest,
  Holder,
  IssuerSigned,
  ItemsRequest,
  SessionTranscript,
} from '@owf/mdoc';
import { certifiedKey, isSignedBy, signWith } from './keys.mjs';

const certificate = (der) => new X509Certificate(Buffer.from(der));
const unused = () => {
  throw new Error('devices sign here, they make no MAC');
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
      sign: ({ toBeSigned, key }) => new Uint8Array(signWith(key.jwk, toBeSigned)),
      verify: ({ key, sign1 }) => isSignedBy(key.jwk, sign1.toBeSigned, sign1.signature),
    },
    mac0: { sign: unused, verify: unused },
  },
  x509: {
    getIssuerNameField: ({ certificate: der, field }) =>
      certificate(der)
        .issuer.split('\n')
        .filter((part) => part.startsWith(`${field}=`))
        .map((part) => part.slice(field.length + 1)),
    getPublicKey: ({ certificate: der }) => CoseKey.fromJwk(certificate(der).publicKey.export({ format: 'jwk' })),
    verifyCertificateChain: ({ trustedCertificates, x5chain, now }) => {
      certifiedKey(x5chain, trustedCertificates, now);
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

const onCheck = ({ status, check, reason }) => {
  if (status === 'FAILED') throw new Error(`${check} ${reason ?? ''}`);
};

/** Verifies a credential as it is issued (`IssuerSigned`, base64url), and gives its attributes and its key. */
export async function verifyIssued(credential, root) {
  const issued = IssuerSigned.fromEncodedForOid4Vci(credential);
  await Holder.verifyIssuerSigned({ issuerSigned: issued, trustedCertificates: [root], verificationCallback: onCheck }, context);
  const attributes = {};
  for (const [, items] of issued.issuerNamespaces.issuerNamespaces) {
    for (const item of items) attributes[item.elementIdentifier] = item.elementValue;
  }
  const object = issued.issuerAuth.mobileSecurityObject;
  return { attributes, key: object.deviceKeyInfo.deviceKey.jwk, docType: object.docType };
}

const transcriptOf = (session) => SessionTranscript.forOid4Vp(session, context);

/** A device response (base64url) that shows elements, [namespace, name], to whoever a session is with. */
export async function present(credential, key, elements, session) {
  const issued = IssuerSigned.fromEncodedForOid4Vci(credential);
  const namespaces = {};
  for (const [namespace, name] of elements) (namespaces[namespace] ??= {})[name] = false;
  const docType = issued.issuerAuth.mobileSecurityObject.docType;
  const signingKey = CoseKey.fromJwk({ ...key, alg: 'ES256' });
  const response = await Holder.createDeviceResponseForDeviceRequest(
    {
      deviceRequest: DeviceRequest.create({
        docRequests: [DocRequest.create({ itemsRequest: ItemsRequest.create({ docType, namespaces }) })],
      }),
      sessionTranscript: await transcriptOf(session),
      issuerSigned: [issued],
      signature: { signingKey },
    },
    context,
  );
  return response.encodedForOid4Vp;
}

/** Verifies a device response of a session, and gives the attributes that it shows. */
export async function verifyPresented(response, root, session) {
  const read = DeviceResponse.fromEncodedForOid4Vp(response);
  await read.verify({ sessionTranscript: await transcriptOf(session), trustedCertificates: [root], onCheck }, context);
  const attributes = {};
  for (const document of read.documents) {
    for (const [, items] of document.issuerSigned.issuerNamespaces.issuerNamespaces) {
      for (const item of items) attributes[item.elementIdentifier] = item.elementValue;
    }
  }
  return attributes;
}
