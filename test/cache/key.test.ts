// Cache keys against PROTOCOL section 8 written out by hand, and what must and must not change them.
import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { deriveCacheKey, printWho, storageKey, type Who } from '../../src/cache/key.ts'

const who: Who = {
  docType: 'ID',
  state: 'CHN',
  number: '78000119900101001X',
  name: '欧阳春晓',
  serial: Buffer.alloc(16, 0xa5),
  validTo: '20360101',
}
const secretBytes = Buffer.alloc(32, 1)
const secret = createSecretKey(secretBytes)

/** PROTOCOL sections 1 and 8 written out by hand, apart from our own T2L. */
const byHand = (...values: Buffer[]) =>
  Buffer.concat(
    values.map((value, i) => Buffer.concat([Buffer.of(i + 1, value.length >> 8, value.length & 255), value])),
  )

t.test('who is the six fields in order', async (t) => {
  const texts = ['ID', 'CHN', '78000119900101001X', '欧阳春晓'].map((text) => Buffer.from(text))
  t.same(printWho(who), byHand(...texts, who.serial, Buffer.from('20360101')))
})

t.test('keys are the HMACs of PROTOCOL section 8', async (t) => {
  const printed = printWho(who)
  const mac = (purpose: string) =>
    createHmac('sha256', secretBytes)
      .update(`vouchsafe/${purpose}/v1\0`)
      .update(byHand(Buffer.from('carrier-one'), printed))
      .digest()
  const { ck, vk } = deriveCacheKey(secret, 'carrier-one', printed)
  t.same(ck, mac('ck').subarray(0, 16))
  t.same(vk(), mac('vk'))
  t.equal(storageKey(20_780, ck), `v1:c:20780:${ck.toString('base64url')}`)
  t.match(storageKey(20_780, ck), /^v1:c:20780:[\w-]{22}$/)
})

t.test('equal spellings of one person give one key', async (t) => {
  const same: [string, Partial<Who>][] = [
    ['a small x as check character', { number: '78000119900101001x' }],
    ['spaces after the name', { name: '欧阳春晓   ' }],
  ]
  for (const [what, change] of same) t.same(printWho({ ...who, ...change }), printWho(who), what)
  t.same(printWho({ ...who, name: 'Ame\u0301lie  ' }), printWho({ ...who, name: 'Amélie' }), 'NFD')
})

t.test('any other difference gives another key', async (t) => {
  const base = printWho(who)
  const other: [string, Partial<Who>][] = [
    ['document', { docType: 'P' }],
    ['state', { state: 'TWN' }],
    ['number', { number: '780001199001010028' }],
    ['name', { name: '欧阳春曉' }],
    ['space before the name', { name: ' 欧阳春晓' }],
    ['ideographic space after the name', { name: '欧阳春晓\u3000' }],
    ['tab after the name', { name: '欧阳春晓\t' }],
    ['serial', { serial: Buffer.alloc(16, 0xa4) }],
    ['end', { validTo: '99991231' }],
  ]
  const keys = new Set([deriveCacheKey(secret, 'carrier-one', base).ck.toString('hex')])
  for (const [, change] of other) {
    keys.add(deriveCacheKey(secret, 'carrier-one', printWho({ ...who, ...change })).ck.toString('hex'))
  }
  keys.add(deriveCacheKey(secret, 'carrier-two', base).ck.toString('hex'))
  keys.add(deriveCacheKey(createSecretKey(randomBytes(32)), 'carrier-one', base).ck.toString('hex'))
  t.equal(keys.size, other.length + 3)
})

t.test('a name may not flow into the field beside it', async (t) => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (a, b) => {
      const [one, two] = [
        printWho({ ...who, number: a + b, name: '' }),
        printWho({ ...who, number: a, name: b }),
      ]
      return b.trimEnd() === '' || !one.equals(two)
    }),
  )
  t.pass('for random splits')
})

t.test('a serial of another length is a defect of ours', async (t) => {
  t.throws(() => printWho({ ...who, serial: Buffer.alloc(15) }), /defect/)
})
