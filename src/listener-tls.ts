// The gateway's own certificate and key, followed in their files: a good new pair is put into open listeners and
// no connection is dropped; of a bad one the log tells, and the old one stays. Whose listeners is not known here.
import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext, type Server } from 'node:tls'
import { sha256 } from './base/bytes.ts'
import type { Clock } from './base/clock.ts'
import { followFiles } from './followed-files.ts'
import { setTicketKeys } from './ticket-keys.ts'

/** PEM; the certificate may be followed by those above it. */
export type Pair = { cert: Buffer; key: Buffer }

export type FollowedPair = {
  current(): Pair
  /** Unix ms. */
  notAfterMs(): number
  /** Told of each new pair once it is in use. Returns the function that ends it. */
  onChange(listener: () => void): () => void
  close(): void
}

type Log = Record<'info' | 'error', (fields: unknown, message: string) => void>

/**
 * What every listener of ours has, and a renewed context must have again. Node lets clients of TLS 1.2 renegotiate:
 * in the middle of a connection, and with another certificate than the one that it was opened with.
 */
export const tlsFloor = {
  minVersion: 'TLSv1.2',
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
} as const

const faults = {
  unreadable: 'gateway.crt or gateway.key is no PEM certificate or key. Fix: put both there, whole.',
  key_of_another: 'gateway.key is not the key of gateway.crt. Fix: put both of one pair there.',
  not_yet_valid: 'gateway.crt begins later than now. Fix: put it there again when it has begun.',
  ended: 'gateway.crt has ended. Fix: put a new one there.',
  not_for_servers: 'gateway.crt is not for servers (extKeyUsage serverAuth). Fix: put one there that is.',
  weaker: 'gateway.crt has a weaker key or hash than the one in use. Fix: issue it for a key as strong.',
  names_lost: 'gateway.crt lacks a name of the one in use. Fix: issue it with all, or restart to drop one.',
  not_accepted: 'OpenSSL does not take gateway.crt with gateway.key. Fix: see "openssl x509 -text".',
} as const
export type PairFault = keyof typeof faults

type Read = Pair & { certificate: X509Certificate; privateKey: KeyObject }

/** A pair is written as two files: until both are there it does not fit, which is nobody's fault. */
const settleMs = 1000
const passing: readonly PairFault[] = ['unreadable', 'key_of_another']

/**
 * Follows `gateway.crt` and `gateway.key` in a folder.
 * @throws Error if there is no pair to begin with; one that has ended is taken, and told of by its warnings
 */
export function followPair(options: { directory: string; clock: Clock; log: Log }): FollowedPair {
  const { directory, clock, log } = options
  const files = [join(directory, 'gateway.crt'), join(directory, 'gateway.key')] as const
  const listeners = new Set<() => void>()
  const first = readPair(...files)
  const fault = typeof first === 'string' ? first : faultOfFit(first)
  if (typeof first === 'string' || fault) {
    throw new Error(`The pair in ${directory} is not accepted: ${faults[fault ?? 'unreadable']}`)
  }
  let current = first
  let told: string | undefined
  let settling: NodeJS.Timeout | undefined

  function look(): void {
    clearTimeout(settling)
    const found = readPair(...files)
    if (typeof found !== 'string' && isSame(found, current)) {
      told = undefined
      return
    }
    const fault = typeof found === 'string' ? found : faultOf(found, current, clock.now())
    if (typeof found !== 'string' && !fault) take(found)
    else if (fault && passing.includes(fault)) settling = setTimeout(() => tell(fault), settleMs).unref()
    else if (fault) tell(fault)
  }

  function tell(fault: PairFault): void {
    if (told !== fault) log.error({ reason: fault, says: faults[fault] }, 'gateway certificate not renewed')
    told = fault
  }

  function take(found: Read): void {
    current = found
    told = undefined
    const { serialNumber: serial, validToDate } = found.certificate
    log.info({ serial, notAfter: validToDate.toISOString() }, 'gateway certificate renewed')
    for (const listener of listeners) {
      try {
        listener()
      } catch (err) {
        log.error({ err }, 'gateway certificate not put in') // The other listener gets it all the same.
      }
    }
  }

  const stop = followFiles(files, look)
  return {
    current: () => ({ cert: current.cert, key: current.key }),
    notAfterMs: () => current.certificate.validToDate.getTime(),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {
      stop()
      clearTimeout(settling)
    },
  }
}

/** Puts each new pair into a listener that needs nothing more, and the one that came while it was built. */
export function renewWith(server: unknown, pair: FollowedPair, ticketSecret: Buffer): void {
  const renew = () => {
    const { cert, key } = pair.current()
    ;(server as Server).setSecureContext({ cert, key, ...tlsFloor })
    setTicketKeys(server, ticketSecret, 'device', [sha256(cert)])
  }
  renew()
  pair.onChange(renew)
}

function readPair(certFile: string, keyFile: string): Read | PairFault {
  try {
    const [cert, key] = [readFileSync(certFile), readFileSync(keyFile)]
    return { cert, key, certificate: new X509Certificate(cert), privateKey: createPrivateKey(key) }
  } catch {
    return 'unreadable' // Half written, or not what its name says: the fault says so, the error may quote a key.
  }
}

const isSame = (a: Pair, b: Pair) => a.cert.equals(b.cert) && a.key.equals(b.key)

/** Whether key, certificate and OpenSSL go together. */
function faultOfFit({ cert, key, certificate, privateKey }: Read): PairFault | undefined {
  if (!certificate.checkPrivateKey(privateKey)) return 'key_of_another'
  try {
    createSecureContext({ cert, key, ...tlsFloor })
    return undefined
  } catch {
    return 'not_accepted' // Too weak for its security level, or a chain that cannot be read.
  }
}

const serverAuth = '1.3.6.1.5.5.7.3.1'

function faultOf(found: Read, before: Read, nowMs: number): PairFault | undefined {
  const fault = faultOfFit(found)
  if (fault) return fault
  const { certificate } = found
  if (certificate.validFromDate.getTime() > nowMs) return 'not_yet_valid'
  if (certificate.validToDate.getTime() <= nowMs) return 'ended'
  // What node calls the key usage of a certificate is its extKeyUsage.
  if (certificate.keyUsage && !certificate.keyUsage.includes(serverAuth)) return 'not_for_servers'
  if (strengthOf(certificate) < strengthOf(before.certificate)) return 'weaker'
  const names = namesOf(certificate)
  return namesOf(before.certificate).every((name) => names.includes(name)) ? undefined : 'names_lost'
}

const namesOf = ({ subjectAltName }: X509Certificate) => subjectAltName?.split(', ') ?? []

const curveBits: Record<string, number> = { prime256v1: 128, secp384r1: 192, secp521r1: 256 }
/** Bits of security of RSA moduli (NIST SP 800-57 part 1, table 2), the largest first. */
const rsaBits = [
  [15_360, 256],
  [7680, 192],
  [3072, 128],
  [2048, 112],
] as const

/** Bits of security of the key; 0 for what is not known to be strong, and for signatures over SHA-1 or MD5. */
function strengthOf({ publicKey, signatureAlgorithm = '' }: X509Certificate): number {
  if (/sha-?1(?!\d)|md5/i.test(signatureAlgorithm)) return 0
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = publicKey
  if (type === 'ed25519') return 128
  if (type === 'ec') return curveBits[details?.namedCurve ?? ''] ?? 0
  if (type !== 'rsa' && type !== 'rsa-pss') return 0
  return rsaBits.find(([modulus]) => (details?.modulusLength ?? 0) >= modulus)?.[1] ?? 0
}
