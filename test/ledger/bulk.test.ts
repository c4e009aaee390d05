// Frames: what SQLite joins is what was in the rows, nulls and empty values kept apart.
import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { frameOf, joinedBy, parseFrames } from '../../src/ledger/bulk.ts'

const rows: [number, Buffer | null, Buffer | null][] = [
  [9, Buffer.alloc(0), null],
  [4, randomBytes(300), Buffer.from('00ff00', 'hex')],
  [1, Buffer.from('a\0b'), Buffer.from([0xc3, 0x28])], // Bytes that end a string, and that are no UTF-8.
  [2 ** 40, null, null],
]

function read(where: string): (Buffer | undefined)[][] {
  const db = new DatabaseSync(':memory:')
  db.exec('create table r (id integer primary key, a blob, b blob)')
  for (const row of rows) db.prepare('insert into r values (?, ?, ?)').run(...row)
  const inner = `select id, ${frameOf(['id', 'a', 'b'])} as frame from r where ${where}`
  const joined = db.prepare(`select ${joinedBy('frame', 'id')} as frames from (${inner})`).get()?.['frames']
  db.close()
  return parseFrames((joined ?? Buffer.alloc(0)) as Uint8Array, 3)
}

t.test('rows come in the order that was asked for, each value as it was', (t) => {
  const sorted = rows.toSorted(([a], [b]) => a - b)
  t.same(
    read('true'),
    sorted.map(([id, a, b]) => [Buffer.from(String(id)), a ?? undefined, b ?? undefined]),
  )
  t.same(read('false'), [])
  t.end()
})

t.test('bytes that are not whole frames are refused', (t) => {
  const frame = Buffer.concat([Buffer.from('0000000300000000', 'hex'), Buffer.from('ab')])
  t.same(parseFrames(frame, 2), [[Buffer.from('ab'), undefined]])
  for (let end = 1; end < frame.length; end++)
    t.throws(() => parseFrames(frame.subarray(0, end), 2), `${end}`)
  t.end()
})
