// Frames: what SQLite joins is what was in the rows, nulls and empty values kept apart, and nothing that is stored as
// something else than it should be.
import { randomBytes } from 'node:crypto'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import t from 'tap'
import { frameOf, joinedBy, parseFrames } from '../../src/ledger/bulk.ts'

const columns = { blobs: ['a', 'b'], integers: ['id', 'n'] }
type Row = [id: number, a: SQLInputValue, b: SQLInputValue, n: SQLInputValue]

const rows: Row[] = [
  [9, Buffer.alloc(0), null, 0],
  [4, randomBytes(300), Buffer.from('00ff00', 'hex'), 1_795_000_000_000],
  [1, Buffer.from('a\0b'), Buffer.from([0xc3, 0x28]), 2 ** 48 - 1], // Bytes that end a string, and that are no UTF-8.
  [2 ** 40, null, null, null],
]

function read(given: readonly Row[], where = 'true') {
  const db = new DatabaseSync(':memory:')
  db.exec('create table r (id integer primary key, a blob, b blob, n bigint)')
  for (const row of given) db.prepare('insert into r values (?, ?, ?, ?)').run(...row)
  const inner = `select id, ${frameOf(columns)} as frame from r where ${where}`
  const joined = db.prepare(`select ${joinedBy('frame', 'id')} as frames from (${inner})`).get()?.['frames']
  db.close()
  return parseFrames((joined ?? Buffer.alloc(0)) as Uint8Array, columns)
}

t.test('rows come in the order that was asked for, each value as it was', (t) => {
  const sorted = rows.toSorted(([a], [b]) => a - b)
  t.same(
    read(rows),
    sorted.map(([id, a, b, n]) => ({
      blobs: [a ?? undefined, b ?? undefined],
      integers: [id, n ?? undefined],
    })),
  )
  t.same(read(rows, 'false'), [])
  t.end()
})

t.test('what is stored as something else is no value, and moves none of the others', (t) => {
  const [good, other] = [Buffer.from('good'), Buffer.from('other')]
  const table: [what: string, a: SQLInputValue, b: SQLInputValue, n: SQLInputValue, expected: unknown][] = [
    ['text for bytes', 'text', other, 5, { blobs: [undefined, other], integers: [1, 5] }],
    ['a number for bytes', 77, other, 5, { blobs: [undefined, other], integers: [1, 5] }],
    ['a fraction for bytes', good, 1.5, 5, { blobs: [good, undefined], integers: [1, 5] }],
    ['text for a number', good, other, 'x', { blobs: [good, other], integers: [1, undefined] }],
    ['bytes for a number', good, other, Buffer.from('5'), { blobs: [good, other], integers: [1, undefined] }],
    ['a fraction for a number', good, other, 5.5, { blobs: [good, other], integers: [1, undefined] }],
    ['a number below 0', good, other, -5, { blobs: [good, other], integers: [1, undefined] }],
    ['a number beyond any', good, other, 2 ** 48, { blobs: [good, other], integers: [1, undefined] }],
    ['nothing right', 'a', 'b', 'c', { blobs: [undefined, undefined], integers: [1, undefined] }],
  ]
  const next: Row = [2, good, good, 2]
  for (const [what, a, b, n, expected] of table)
    t.same(read([[1, a, b, n], next]), [expected, { blobs: [good, good], integers: [2, 2] }], what)
  t.end()
})

t.test('bytes that are not whole frames are refused', (t) => {
  const frame = Buffer.concat([Buffer.from('00000003000000000000000000000007', 'hex'), Buffer.from('ab')])
  const of = { blobs: ['a', 'b'], integers: ['n'] }
  t.same(parseFrames(frame, of), [{ blobs: [Buffer.from('ab'), undefined], integers: [7] }])
  for (let end = 1; end < frame.length; end++)
    t.throws(() => parseFrames(frame.subarray(0, end), of), /a frame is cut off/, `${end}`)
  t.end()
})
