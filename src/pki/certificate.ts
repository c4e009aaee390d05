// X.509 certificates as this gateway's card side reads them (RFC 5280): parsed strictly, nothing believed yet.
import {
  certificateTimeMs,
  childrenOf,
  context,
  type Der,
  DerError,
  generalizedTimeMs,
  integerBytes,
  octets,
  oidHex,
  onlyChild,
  readDer,
  smallInteger,
  tags,
  wholeBits,
} from '../base/der.ts'

export type Extension = { critical: boolean; value: Buffer }

export type UnverifiedCertificate = {
  raw: Buffer
  /** The signed bytes. */
  tbs: Buffer
  serial: Buffer
  /** Name with its head, compared as bytes. */
  issuer: Buffer
  subject: Buffer
  notBeforeMs: number
  notAfterMs: number
  spki: Buffer
  /** What `ReadAlgorithm` made of the signature's algorithm; the same inside and outside. */
  algorithm: string
  signature: Buffer
  extensions: ReadonlyMap<string, Extension>
}

/** OIDs as the hex of their bodies. */
export const oids = {
  ecdsaSha256: '2a8648ce3d040302', // 1.2.840.10045.4.3.2
  basicConstraints: '551d13',
  keyUsage: '551d0f',
  extKeyUsage: '551d25',
  privateKeyUsagePeriod: '551d10',
  subjectKeyId: '551d0e',
  authorityKeyId: '551d23',
  crlNumber: '551d14',
} as const

/** Reads an AlgorithmIdentifier: text that is equal for those that are to count as one. */
export type ReadAlgorithm = (element: Der | undefined) => string

/** OID, hex, of an AlgorithmIdentifier whose parameters must be absent. */
export function algorithmOid(element: Der | undefined): string {
  if (!element) throw new DerError('algorithm missing')
  return oidHex(onlyChild(element, tags.sequence))
}

export function parseExtensions(list: Der): Map<string, Extension> {
  const extensions = new Map<string, Extension>()
  for (const item of childrenOf(list, tags.sequence)) {
    const parts = childrenOf(item, tags.sequence)
    const oid = oidHex(parts[0])
    const critical = parts.length === 3
    if (critical && (parts[1]?.tag !== tags.boolean || parts[1].body.toString('hex') !== 'ff')) {
      throw new DerError('critical must be TRUE or absent')
    }
    if (parts.length < 2 || parts.length > 3 || extensions.has(oid)) throw new DerError('extension malformed')
    extensions.set(oid, { critical, value: octets(parts.at(-1)) })
  }
  return extensions
}

/**
 * Parses a version 3 certificate.
 * @param readAlgorithm by default the strict form of cards
 * @throws DerError
 */
export const parseCertificate = (der: Buffer, readAlgorithm?: ReadAlgorithm): UnverifiedCertificate =>
  parseCertificateIn(readDer(der), readAlgorithm)

/** Parses one that lies within what was read as strict DER. Throws DerError. */
export function parseCertificateIn(
  element: Der,
  readAlgorithm: ReadAlgorithm = algorithmOid,
): UnverifiedCertificate {
  const [tbs, outer, bits, ...rest] = childrenOf(element, tags.sequence)
  if (!tbs || rest.length > 0) throw new DerError('certificate malformed')
  const parts = childrenOf(tbs, tags.sequence)
  const [version, serial, inner, issuer, validity, subject, spki, extensions, ...more] = parts
  if (!version || !issuer || !validity || !subject || !spki || !extensions || more.length > 0) {
    throw new DerError('certificate malformed')
  }
  if (smallInteger(onlyChild(version, context(0))) !== 2) throw new DerError('not version 3')
  const algorithm = readAlgorithm(inner)
  if (readAlgorithm(outer) !== algorithm) throw new DerError('two signature algorithms')
  const [notBefore, notAfter, ...times] = childrenOf(validity, tags.sequence)
  if (times.length > 0) throw new DerError('validity malformed')
  return {
    raw: element.raw,
    tbs: tbs.raw,
    serial: integerBytes(serial),
    issuer: issuer.raw,
    subject: subject.raw,
    notBeforeMs: certificateTimeMs(notBefore),
    notAfterMs: certificateTimeMs(notAfter),
    spki: spki.raw,
    algorithm,
    signature: wholeBits(bits),
    extensions: parseExtensions(onlyChild(extensions, context(3))),
  }
}

/** Whether the certificate may sign certificates; undefined without basicConstraints. */
export function isCa(certificate: UnverifiedCertificate): boolean | undefined {
  const extension = certificate.extensions.get(oids.basicConstraints)
  if (!extension) return undefined
  const [first] = childrenOf(readDer(extension.value), tags.sequence)
  return first?.tag === tags.boolean && first.body[0] === 0xff
}

/** Hex of the keyUsage BIT STRING's body: unused bits, then bits (RFC 5280 section 4.2.1.3). */
export function keyUsageHex(certificate: UnverifiedCertificate): string | undefined {
  const extension = certificate.extensions.get(oids.keyUsage)
  const element = extension && readDer(extension.value)
  return element?.tag === tags.bitString ? element.body.toString('hex') : undefined
}

/** When the private key may sign (RFC 3280 section 4.2.1.4), Unix ms; both ends must be there. */
export function usagePeriodMs(certificate: UnverifiedCertificate) {
  const extension = certificate.extensions.get(oids.privateKeyUsagePeriod)
  if (!extension) return undefined
  const [from, to, ...rest] = childrenOf(readDer(extension.value), tags.sequence)
  if (from?.tag !== 0x80 || to?.tag !== 0x81 || rest.length > 0) return undefined
  return { fromMs: generalizedTimeMs(from.body), toMs: generalizedTimeMs(to.body) }
}
