// Rows by name, held against a Map and a list of uses.
import { hash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { NameRows } from '../../src/base/name-rows.ts'

const named = (i: number) => hash('sha256', `${i}`, 'latin1')

t.test('a set of eight holds the last eight that were used, as a list does', async (t) => {
  const use = fc.record({ name: fc.nat(12), isSet: fc.boolean() })
  fc.assert(
    fc.property(fc.array(use, { maxLength: 200 }), (uses) => {
      const rows = new NameRows({ rowsMax: 8, rowBytes: 4 })
      let recent: { name: number; value: number }[] = []
      for (const [value, { name, isSet }] of uses.entries()) {
        const known = recent.find((one) => one.name === name)
        if (isSet) {
          rows.set(named(name)).writeUInt32LE(value)
          recent = [{ name, value }, ...recent.filter((one) => one !== known)].slice(0, 8)
        } else {
          const found = rows.get(named(name))?.readUInt32LE()
          if (found !== known?.value) throw new Error(`${found} under ${name}, not ${known?.value}`)
          if (known) recent = [known, ...recent.filter((one) => one !== known)]
        }
        if (rows.size !== recent.length) throw new Error(`${rows.size} held, not ${recent.length}`)
      }
    }),
  )
  t.pass('in 100 series of uses')
})

t.test('a name is held whole: one bit of difference is another', async (t) => {
  const rows = new NameRows({ rowsMax: 8, rowBytes: 1 })
  const name = Buffer.alloc(32, 7)
  rows.set(name.toString('latin1'))[0] = 1
  for (let bit = 0; bit < 256; bit++) {
    const other = Buffer.from(name)
    other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    t.equal(rows.get(other.toString('latin1')), undefined)
  }
  t.same(rows.get(name.toString('latin1')), Buffer.of(1))
})

t.test('cleared, it holds nothing', async (t) => {
  const rows = new NameRows({ rowsMax: 64, rowBytes: 1 })
  for (let i = 0; i < 64; i++) rows.set(named(i))
  t.ok(rows.size > 40)
  rows.clear()
  t.equal(rows.size, 0)
  t.equal(rows.get(named(1)), undefined)
})

t.test('what is no name, and a number of rows that makes no sets, is refused', async (t) => {
  const rows = new NameRows({ rowsMax: 8, rowBytes: 1 })
  t.throws(() => rows.get('short'), /5 characters, not 32/)
  t.throws(() => rows.set('x'.repeat(33)), /33 characters, not 32/)
  t.throws(() => new NameRows({ rowsMax: 12, rowBytes: 1 }), /rowsMax is 12, no multiple of 8/)
})
