// The two hashes of the tree, against the vectors of Certificate Transparency's own tests (RFC 6962).
import t from 'tap'
import { leafHash, nodeHash } from '../../src/ledger/hash.ts'

const inputs = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
]
/** Roots of the trees over the first 1, 2, 4 and 8 inputs. */
const roots: Record<number, string> = {
  1: '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  2: 'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  4: 'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  8: '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
}

t.test('complete trees have the roots that Certificate Transparency publishes', (t) => {
  for (const [size, root] of Object.entries(roots)) {
    let level = inputs.slice(0, Number(size)).map((hex) => leafHash(Buffer.from(hex, 'hex')))
    while (level.length > 1) {
      level = level.flatMap((left, i) => (i % 2 === 0 ? [nodeHash(left, level[i + 1] as Buffer)] : []))
    }
    t.equal(level[0]?.toString('hex'), root, `${size} leaves`)
  }
  t.end()
})
