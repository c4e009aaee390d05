// Causes: the word for each code of node and OpenSSL, and a sentence for each word.
import t from 'tap'
import { causeOfHandshake, causes, causeWords } from '../../src/pki/causes.ts'

t.test('a verdict on the chain comes before the error that ended the connection', async (t) => {
  t.equal(causeOfHandshake('CERT_HAS_EXPIRED', 'ECONNRESET'), 'expired')
  t.equal(causeOfHandshake('CERT_REVOKED', 'ECONNRESET'), 'revoked')
  t.equal(causeOfHandshake('CERT_SIGNATURE_FAILURE', 'ERR_SSL_PROVIDER_SIGNATURE_FAILURE'), 'bad_signature')
  t.equal(causeOfHandshake('CRL_HAS_EXPIRED', undefined), 'revocation_list_stale')
  t.equal(causeOfHandshake('UNSPECIFIED', 'ECONNRESET'), 'not_accepted', 'what node has no name for')
  t.equal(causeOfHandshake('SOMETHING_NEW', 'ECONNRESET'), 'not_accepted')
})

t.test('without a verdict the error says it', async (t) => {
  t.equal(causeOfHandshake(null, 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE'), 'no_certificate')
  t.equal(causeOfHandshake(undefined, 'ECONNRESET'), 'broken_off')
  t.equal(causeOfHandshake('', 'ERR_SSL_HTTP_REQUEST'), 'not_tls')
  for (const alert of [
    'TLSV1_ALERT_UNKNOWN_CA',
    'SSLV3_ALERT_BAD_CERTIFICATE',
    'SSL/TLS_ALERT_CERTIFICATE_EXPIRED',
  ]) {
    t.equal(causeOfHandshake(null, `ERR_SSL_${alert}`), 'gateway_not_trusted', alert)
  }
  t.equal(causeOfHandshake(null, 'ERR_SSL_SOMETHING_NEW'), 'handshake_failed')
  t.equal(causeOfHandshake(null, undefined), 'handshake_failed')
})

t.test('each word has its own sentence, and who must act is told how', async (t) => {
  const sentences = causeWords.map((word) => causes[word].says)
  t.equal(new Set(sentences).size, causeWords.length)
  for (const word of causeWords) {
    t.match(word, /^[a-z]+(_[a-z]+)*$/)
    t.match(causes[word].says, /\.$/, word)
    if (causes[word].level === 'warn' && word !== 'key_not_proved') t.match(causes[word].says, 'Fix: ', word)
  }
})
