import { readDer, tags } from '../../src/base/der.ts'
import { readForward } from '../../src/base/der-cursor.ts'
import { limits } from '../../src/base/limits.ts'
import { refusal } from '../../src/card/refusal.ts'
import { parseSod } from '../../src/card/sod.ts'
import { bytesOf, octets, sequence } from '../../src/simulator/sod.ts'
import { der, type Kit, numbersOf, rawOf } from './attack-kit.ts'

export function addEncodings(kit: Kit): void {
  const { suite, good, planned, read, withSod, sodWith, add } = kit
  const laxDer = 'BER read as DER, as CVE-2014-1568 (BERserk) and CVE-2024-42461 (elliptic)'
  const [head] = [good.sod.subarray(0, 4)]
  const length = good.sod.length - 4
  const body = good.sod.subarray(4)
  add(
    'a length that is not minimal',
    laxDer,
    refusal.sodParse,
    withSod(Buffer.concat([Buffer.of(0x30, 0x83, 0, length >> 8, length & 255), body])),
  )
  add(
    'an indefinite length',
    laxDer,
    refusal.sodParse,
    withSod(Buffer.concat([Buffer.of(0x30, 0x80), body, Buffer.alloc(2)])),
  )
  add(
    'a length of 4 GB',
    laxDer,
    refusal.sodParse,
    withSod(Buffer.concat([Buffer.from('3084ffffffff', 'hex'), body])),
  )
  add(
    'a length of 16 MB',
    laxDer,
    refusal.sodParse,
    withSod(Buffer.concat([Buffer.from('3083ffffff', 'hex'), body])),
  )
  const trailing = 'garbage behind what is signed, as CVE-2022-24772 (node-forge)'
  add('a byte behind the SOD', trailing, refusal.sodParse, withSod(Buffer.concat([good.sod, Buffer.of(0)])))
  const { signature, content } = parseSod(readForward(good.sod), suite)
  add(
    'a byte behind the signature, within its octets',
    trailing,
    refusal.sodSignature,
    read(planned(({ sign }) => ({ sign: (message) => Buffer.concat([sign(message), Buffer.of(0)]) }))),
  )
  add(
    'an element behind s, within the signature',
    trailing,
    refusal.sodSignature,
    read(
      planned(({ sign }) => ({
        sign: (message) => der(tags.sequence, readDer(sign(message)).body, Buffer.of(5, 0)),
      })),
    ),
  )
  add(
    'a byte behind the LDS, within its octets and signed for',
    trailing,
    refusal.sodParse === 1 ? refusal.sodProfile : 0,
    read(
      planned((plan) => ({
        encapsulate: (given) => octets(Buffer.concat([given, Buffer.of(0)])),
        sign: plan.sign,
      })),
    ),
  )
  add(
    'a signature in r||s where DER is due',
    laxDer,
    refusal.sodSignature,
    read(planned(({ sign }) => ({ sign: (message) => rawOf(...numbersOf(sign(message))) }))),
  )
  const nested = (levels: number) => {
    let inner: Buffer = Buffer.of(5, 0)
    for (let i = 0; i < levels; i++) inner = der(tags.sequence, inner)
    return inner
  }
  add(
    '400 levels deep',
    'recursion without end, as CVE-2018-0739 (OpenSSL)',
    refusal.sodParse,
    withSod(nested(400)),
  )
  add(
    'deep only within the SOD',
    'recursion without end, as CVE-2018-0739 (OpenSSL)',
    refusal.sodParse,
    withSod(sodWith(der(tags.octetString, content), nested(60))),
  )
  add(
    'cut in the middle of the signature',
    'a length trusted before the bytes are there',
    refusal.sodParse,
    withSod(good.sod.subarray(0, good.sod.length - (signature.length >> 1))),
  )
  add('nothing at all', 'empty input', refusal.sodParse, withSod(Buffer.alloc(0)))
  add('its own head alone', 'a length trusted before the bytes are there', refusal.sodParse, withSod(head))
}

export function addFloods(kit: Kit): void {
  const { planned, read, withSod, add } = kit
  const flood = 'work without bound, as CVE-2018-16875 (Go crypto/x509)'
  add(
    '1,000 certificates',
    flood,
    refusal.sodProfile,
    read(
      planned(({ certificates }) => ({
        certificates: Array.from({ length: 1000 }, () => certificates[0] as Buffer),
      })),
    ),
  )
  add(
    'as many certificates as a reading takes',
    flood,
    refusal.sodProfile,
    read(planned(() => ({ certificates: Array.from({ length: 300 }, () => bytesOf(sequence())) }))),
  )
  add('1,000 SignerInfos', flood, refusal.sodProfile, read(planned(() => ({ signers: 1000 }))))
  add(
    `a SOD of ${limits.readingBytes} empty elements`,
    flood,
    refusal.sodProfile,
    withSod(der(tags.sequence, ...Array.from({ length: 700 }, () => Buffer.of(0x30, 0)))),
  )
}
