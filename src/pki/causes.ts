// Why a client certificate, or a handshake without one, is turned away: a closed set of words for the log and the
// metric, each with a sentence for the operator. It holds nothing of a certificate (RFC 5280; PROTOCOL section 2).

/** `warn`: a certificate was shown, and somebody must act. `info`: none was, and it is mostly noise. */
type Row = { level: 'warn' | 'info'; says: string }
const act = (says: string): Row => ({ level: 'warn', says })
const note = (says: string): Row => ({ level: 'info', says })

const anew = 'Fix: have the carrier CA issue a new one'

export const causes = {
  expired: act(`The certificate has ended. ${anew}.`),
  not_yet_valid: act('The certificate begins later than now. Fix: wait, or set the clock that is wrong.'),
  revoked: act(`The certificate is revoked. ${anew}, for a new key.`),
  revocation_list_stale: act(
    'The revocation list of the carrier CA is not current, so nobody is let in. ' +
      'Fix: put the current one at carrier-ca.crl.',
  ),
  wrong_ca: act(
    'The certificate is not issued by the carrier CA itself, but by another, by one below it, or by its own ' +
      `key. ${anew}.`,
  ),
  name_collision: act(
    'The certificate uses the name of the carrier CA: as its own, or for a CA with another key that came with ' +
      'it. Fix: find out who made it.',
  ),
  bad_signature: act(
    'The certificate names the carrier CA and its key did not sign it: it was altered or forged. ' +
      'Fix: find out who made it.',
  ),
  is_ca: act(`The certificate may sign others (CA=true or keyCertSign). ${anew} that may not.`),
  not_for_clients: act(
    `The certificate is not for clients: extKeyUsage lacks clientAuth, or keyUsage forbids it. ${anew} with it.`,
  ),
  wrong_key_usage: act(`The keyUsage of the certificate lacks digitalSignature. ${anew} with it.`),
  weak_key: act(`The key is neither P-256 nor RSA of 3072 bits or more. ${anew} for such a key.`),
  weak_signature: act(`The certificate is signed over a hash weaker than SHA-256. ${anew}.`),
  wrong_name: act(`The subjectAltName is not URI:urn:vouchsafe:carrier:ID, or absent. ${anew} with it.`),
  several_names: act(`The certificate has more than one subjectAltName. ${anew} with the carrier's alone.`),
  unknown_extension: act(`A critical extension is none that the gateway knows. ${anew} without it.`),
  malformed: act(`The certificate is not X.509 version 3 in strict DER with a usual serial. ${anew}.`),
  not_accepted: act(
    'OpenSSL does not take the certificate: too weak a key or hash, a critical extension that it does not know, ' +
      'or an issuer that is no CA. Fix: see which with "openssl verify -verbose -auth_level 2 -purpose ' +
      'sslclient -CAfile carrier-ca.crt FILE".',
  ),
  key_not_proved: act('The client did not prove that it has the key of the certificate.'),
  no_certificate: note('The client sent no certificate, or has only one for a key that is not allowed.'),
  old_protocol: note('The client speaks no TLS 1.2 or newer.'),
  no_common_cipher: note('The client has no cipher, group or signature scheme in common with the gateway.'),
  gateway_not_trusted: note(
    'The client refuses the certificate of the gateway. Fix: give it gateway-ca.crt.',
  ),
  not_tls: note('What came is not TLS.'),
  broken_off: note('The client broke off or was too slow.'),
  handshake_failed: note('The handshake failed for a reason that is not in this list.'),
} as const satisfies Record<string, Row>

export type CertificateCause = keyof typeof causes
export const causeWords = Object.keys(causes) as readonly CertificateCause[]

/**
 * Node's names of X509_V_ERR codes. OpenSSL goes through all its checks and keeps the last fault: with a foreign
 * issuer that is most often the list that it does not find, because only the carrier CA's is there.
 */
const ofChain: Record<string, CertificateCause> = {
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'not_yet_valid',
  CERT_REVOKED: 'revoked',
  CRL_HAS_EXPIRED: 'revocation_list_stale',
  CRL_NOT_YET_VALID: 'revocation_list_stale',
  UNABLE_TO_GET_CRL: 'wrong_ca',
  UNABLE_TO_GET_ISSUER_CERT: 'wrong_ca',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'wrong_ca',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'wrong_ca',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'wrong_ca',
  SELF_SIGNED_CERT_IN_CHAIN: 'wrong_ca',
  CERT_UNTRUSTED: 'wrong_ca',
  INVALID_CA: 'wrong_ca',
  PATH_LENGTH_EXCEEDED: 'wrong_ca',
  CERT_CHAIN_TOO_LONG: 'wrong_ca',
  // Our own list was checked when it was read: the key that does not fit is of a CA that came with the client.
  CRL_SIGNATURE_FAILURE: 'name_collision',
  CERT_SIGNATURE_FAILURE: 'bad_signature',
  INVALID_PURPOSE: 'not_for_clients',
}

/** Codes of a handshake that failed without a verdict on a chain. */
const ofHandshake: Record<string, CertificateCause> = {
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'no_certificate',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'old_protocol',
  ERR_SSL_VERSION_TOO_LOW: 'old_protocol',
  ERR_SSL_NO_SHARED_CIPHER: 'no_common_cipher',
  ERR_SSL_NO_SUITABLE_KEY_SHARE: 'no_common_cipher',
  ERR_SSL_NO_SUITABLE_GROUPS: 'no_common_cipher',
  ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM: 'no_common_cipher',
  ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS: 'no_common_cipher',
  ERR_SSL_HTTP_REQUEST: 'not_tls',
  ERR_SSL_HTTPS_PROXY_REQUEST: 'not_tls',
  ERR_SSL_WRONG_VERSION_NUMBER: 'not_tls',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'not_tls',
  ERR_SSL_WRONG_CURVE: 'weak_key',
  ERR_SSL_BAD_SIGNATURE: 'key_not_proved',
  ERR_SSL_WRONG_SIGNATURE_TYPE: 'key_not_proved',
  ECONNRESET: 'broken_off',
  EPIPE: 'broken_off',
  ERR_TLS_HANDSHAKE_TIMEOUT: 'broken_off',
}

/** Alerts by which a client turns the gateway's certificate away (RFC 8446 section 6.2). */
const alertOfClient = /_ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_\w+)$/

/**
 * The word for a handshake that failed.
 * @param verdict node's code for the chain, if it came to one
 * @param code code of the error
 */
export function causeOfHandshake(verdict: unknown, code: unknown): CertificateCause {
  if (typeof verdict === 'string' && verdict !== '') return ofChain[verdict] ?? 'not_accepted'
  if (typeof code !== 'string') return 'handshake_failed'
  return alertOfClient.test(code) ? 'gateway_not_trusted' : (ofHandshake[code] ?? 'handshake_failed')
}
