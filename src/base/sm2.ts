// SM2 signatures with SM3 as GB/T 32918.2 and GM/T 0009 have them, by node:crypto. Only an imported key, signing over
// ZA and the message in pieces, does what the standard says; so each start checks it against the standard's example.
import {
  createPrivateKey,
  createPublicKey,
  createSign,
  createVerify,
  generateKeyPairSync,
  hash,
  type KeyObject,
} from 'node:crypto'

/** SubjectPublicKeyInfo of an uncompressed point of the SM2 curve, up to the 04 of the point (GB/T 35276). */
export const sm2SpkiPrefix = Buffer.from('3059301306072a8648ce3d020106082a811ccf5501822d03420004', 'hex')
export const sm2SpkiBytes = 91
/** The user id of GM/T 0009 section 10, where nobody agreed on another. */
export const defaultUserId = Buffer.from('1234567812345678')

/** a, b and the base point of the curve (GB/T 32918.5 section A). */
const curve = Buffer.from(
  'fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc' +
    '28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93' +
    '32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7' +
    'bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0',
  'hex',
)

/** SM3 of the parts, one after the other; 32 bytes (GB/T 32905). */
export function sm3(...parts: Uint8Array[]): Buffer {
  const whole = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts)
  return Buffer.from(hash('sm3', whole, 'latin1'), 'latin1') // As sha256 in bytes.ts, and for the same reason.
}

/** ZA of GB/T 32918.2 section 5.5: what binds user id and public key into every signature. */
function printZa(spki: Buffer, userId: Buffer): Buffer {
  const bits = Buffer.alloc(2)
  bits.writeUInt16BE(userId.length * 8)
  return sm3(bits, userId, curve, spki.subarray(sm2SpkiPrefix.length))
}

export type Sm2PublicKey = { key: KeyObject; za: Buffer }

/** Imports a key only in the one accepted form: 91 bytes with the exact prefix and a point on the curve. */
export function importSm2Spki(spki: Buffer, userId = defaultUserId): Sm2PublicKey | undefined {
  if (spki.length !== sm2SpkiBytes || !spki.subarray(0, sm2SpkiPrefix.length).equals(sm2SpkiPrefix)) {
    return undefined
  }
  try {
    return {
      key: createPublicKey({ key: spki, format: 'der', type: 'spki' }),
      za: printZa(spki, userId),
    }
  } catch {
    return undefined // The point is not on the curve: a key that does not exist.
  }
}

/** Checks a signature in DER; OpenSSL refuses r or s outside 1..n-1, and r + s = n. */
export const checkSm2 = ({ key, za }: Sm2PublicKey, message: Uint8Array, signature: Buffer): boolean =>
  createVerify('sm3').update(za).update(message).verify(key, signature)

/** A new key, already imported: node signs something else with one that it has just generated. */
export function generateSm2Key(): KeyObject {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'SM2' })
  return createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' }))
}

/** Signs; DER. The key must be an imported one. */
export function signSm2(privateKey: KeyObject, message: Uint8Array, userId = defaultUserId): Buffer {
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return createSign('sm3').update(printZa(spki, userId)).update(message).sign(privateKey)
}

/** GB/T 32918.5 section A.2: the public key, the message and its signature, in DER. */
const example = {
  spki: Buffer.concat([
    sm2SpkiPrefix,
    Buffer.from('09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020', 'hex'),
    Buffer.from('ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13', 'hex'),
  ]),
  message: Buffer.from('message digest'),
  signature: Buffer.from(
    '3046022100f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3' +
      '022100b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa',
    'hex',
  ),
}

/**
 * Checks this Node against the standard's example: its signature is right, and with any of its parts altered is not.
 * @throws Error that says what to do, if Node's SM2 is not the standard's
 */
export function assertSm2(check = checkSm2): void {
  const key = importSm2Spki(example.spki)
  const other = importSm2Spki(example.spki, Buffer.from('another user id!'))
  const altered = Buffer.from(example.signature)
  altered.writeUInt8(altered.readUInt8(altered.length - 1) ^ 1, altered.length - 1)
  const works =
    key !== undefined &&
    other !== undefined &&
    check(key, example.message, example.signature) &&
    !check(other, example.message, example.signature) &&
    !check(key, Buffer.from('message digesT'), example.signature) &&
    !check(key, example.message, altered)
  if (works) return
  throw new Error(
    `SM2 of this Node (${process.version}, OpenSSL ${process.versions.openssl}) fails the example of ` +
      'GB/T 32918.5: cards of suite 2 cannot be checked. Fix: run the Node that package.json names.',
  )
}
