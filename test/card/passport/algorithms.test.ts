// The table of algorithms: which identifiers are read as what, and that no parameter is passed over.
import t from 'tap'
import { DerError, readDer } from '../../../src/base/der.ts'
import {
  checkSigned,
  findDigest,
  parseScheme,
  type Scheme,
  sha256,
  sha512,
} from '../../../src/card/passport/algorithms.ts'
import { importPassportKey, type PassportKey } from '../../../src/card/passport/keys.ts'
import {
  digestAlgorithm,
  digestIds,
  makeKey,
  type Signature,
  signatureAlgorithm,
  signWith,
  spkiOf,
} from '../../../src/simulator/csca.ts'
import * as der from '../../../src/simulator/der.ts'

const ids = {
  rsaEncryption: '1.2.840.113549.1.1.1',
  rsaSha256: '1.2.840.113549.1.1.11',
  pss: '1.2.840.113549.1.1.10',
  mgf1: '1.2.840.113549.1.1.8',
  ecdsaSha256: '1.2.840.10045.4.3.2',
}
const scheme = (printed: Buffer, digest?: typeof sha256): Scheme | undefined => {
  try {
    return parseScheme(readDer(printed), digest)
  } catch (error) {
    if (error instanceof DerError) return undefined
    throw error
  }
}

t.test('parameters may be absent or NULL where they say nothing', async (t) => {
  for (const parameters of [[], [der.nothing]]) {
    const plain = (id: string) => der.sequence(der.oid(id), ...parameters)
    t.same(scheme(plain(ids.rsaSha256)), { kind: 'pkcs1', digest: sha256 })
    t.same(scheme(plain(ids.ecdsaSha256)), { kind: 'ecdsa', digest: sha256 })
    t.same(scheme(plain(ids.rsaEncryption), sha512), { kind: 'pkcs1', digest: sha512 })
    t.equal(findDigest(readDer(plain(digestIds.sha512))), sha512)
  }
  t.equal(findDigest(readDer(der.sequence(der.oid('1.3.14.3.2.26')))), undefined, 'SHA-1')
})

t.test('what is no signature of passports', async (t) => {
  const plain = (id: string, ...more: Buffer[]) => der.sequence(der.oid(id), ...more)
  const cases: [string, Buffer, typeof sha256 | undefined][] = [
    ['rsaEncryption in a certificate', plain(ids.rsaEncryption, der.nothing), undefined],
    ['a digest beside that is another', plain(ids.rsaSha256, der.nothing), sha512],
    ['RSA with SHA-1', plain('1.2.840.113549.1.1.5', der.nothing), undefined],
    ['RSA with MD5', plain('1.2.840.113549.1.1.4', der.nothing), undefined],
    ['RSA with SHA-224', plain('1.2.840.113549.1.1.14', der.nothing), undefined],
    ['ECDSA with SHA-1', plain('1.2.840.10045.4.1'), undefined],
    ['ECDSA with SHA-224', plain('1.2.840.10045.4.3.1'), undefined],
    ['DSA', plain('2.16.840.1.101.3.4.3.2'), undefined],
    ['parameters that are a number', plain(ids.rsaSha256, der.integer(1)), undefined],
    ['parameters twice', plain(ids.rsaSha256, der.nothing, der.nothing), undefined],
    ['a digest where a signature is due', digestAlgorithm('sha256'), undefined],
  ]
  for (const [about, printed, digest] of cases) t.equal(scheme(printed, digest), undefined, about)
})

t.test('each parameter of PSS is read', async (t) => {
  const digest = (id: string) => der.sequence(der.oid(id), der.nothing)
  const hashed = (id = digestIds.sha256) => der.explicit(0, digest(id))
  const masked = (id = digestIds.sha256, mgf = ids.mgf1) =>
    der.explicit(1, der.sequence(der.oid(mgf), digest(id)))
  const salt = (bytes: number) => der.explicit(2, der.integer(bytes))
  const pss = (...parameters: Buffer[]) => der.sequence(der.oid(ids.pss), der.sequence(...parameters))
  const good = (saltBytes: number): Scheme => ({ kind: 'pss', digest: sha256, saltBytes })
  t.same(scheme(pss(hashed(), masked(), salt(32))), good(32))
  t.same(scheme(pss(hashed(), masked(), salt(0))), good(0))
  t.same(scheme(pss(hashed(), masked())), good(20), 'the default of RFC 4055')
  const cases: [string, Buffer][] = [
    ['no parameters', der.sequence(der.oid(ids.pss))],
    ['NULL', der.sequence(der.oid(ids.pss), der.nothing)],
    ['none within, which is SHA-1', pss()],
    ['no digest', pss(masked(), salt(32))],
    ['no mask', pss(hashed(), salt(32))],
    ['a mask of another digest', pss(hashed(), masked(digestIds.sha512), salt(32))],
    ['a mask that is not MGF1', pss(hashed(), masked(digestIds.sha256, ids.pss), salt(32))],
    ['a salt longer than the digest', pss(hashed(), masked(), salt(33))],
    ['a negative salt', pss(hashed(), masked(), der.explicit(2, Buffer.of(2, 1, 0xe0)))],
    ['the trailer, which DER leaves out', pss(hashed(), masked(), salt(32), der.explicit(3, der.integer(1)))],
    ['another trailer', pss(hashed(), masked(), salt(32), der.explicit(3, der.integer(2)))],
    ['out of order', pss(masked(), hashed(), salt(32))],
    ['SHA-1', pss(hashed('1.3.14.3.2.26'), masked('1.3.14.3.2.26'), salt(20))],
  ]
  for (const [about, printed] of cases) t.equal(scheme(printed), undefined, about)
  t.equal(scheme(pss(hashed(), masked(), salt(32)), sha512), undefined, 'the digest beside is another')
})

t.test('a signature is right for one scheme, key and message alone', async (t) => {
  const [rsa, ec, other] = [makeKey({ bits: 2048 }), makeKey({ curve: 'P-256' }), makeKey({ curve: 'P-384' })]
  const signatures: Signature[] = [
    { padding: 'pkcs1', hash: 'sha256' },
    { padding: 'pss', hash: 'sha256' },
    { padding: 'pss', hash: 'sha512' },
    { padding: 'ecdsa', hash: 'sha256' },
    { padding: 'ecdsa', hash: 'sha384' },
  ]
  const message = Buffer.from('what is signed')
  for (const made of signatures) {
    const signed = signWith({ key: made.padding === 'ecdsa' ? ec : rsa, signature: made }, message)
    for (const checked of signatures) {
      for (const key of [rsa, ec, other]) {
        const given = {
          scheme: scheme(signatureAlgorithm(checked)) as Scheme,
          key: importPassportKey(spkiOf(key)) as PassportKey,
        }
        const right = made === checked && (key === rsa) === (made.padding !== 'ecdsa') && key !== other
        t.equal(
          checkSigned(message, signed, given),
          right,
          `${Object.values(made)} as ${Object.values(checked)}`,
        )
        t.notOk(checkSigned(Buffer.from('another'), signed, given))
        t.notOk(checkSigned(message, Buffer.concat([signed, Buffer.of(0)]), given))
        t.notOk(checkSigned(message, signed.subarray(0, -1), given))
      }
    }
  }
})

t.test('an ECDSA signature has one form', async (t) => {
  const key = makeKey({ curve: 'P-256' })
  const given = {
    scheme: { kind: 'ecdsa', digest: sha256 } as const,
    key: importPassportKey(spkiOf(key)) as PassportKey,
  }
  const message = Buffer.from('what is signed')
  const signed = signWith({ key, signature: { padding: 'ecdsa', hash: 'sha256' } }, message)
  t.ok(checkSigned(message, signed, given))
  const cases: [string, Buffer][] = [
    ['zeros', der.sequence(der.integer(0), der.integer(0))],
    ['r and s of one', der.sequence(der.integer(1), der.integer(1))],
    ['three numbers', der.sequence(der.integer(1), der.integer(1), der.integer(1))],
    ['a negative number', der.sequence(Buffer.of(2, 1, 0xff), der.integer(1))],
    ['a number too long', der.sequence(der.unsigned(Buffer.alloc(33, 1)), der.integer(1))],
    ['a length not minimal', Buffer.concat([Buffer.of(0x30, 0x81), signed.subarray(1)])],
    ['r||s', Buffer.alloc(64, 1)],
    ['nothing', Buffer.alloc(0)],
  ]
  for (const [about, bytes] of cases) t.notOk(checkSigned(message, bytes, given), about)
})
