// Whatever is altered in a ledger's file, fsck finds it and names the first entry that it is about: a table of edits.
import { randomBytes } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { carrierDay } from '../../src/base/clock.ts'
import { act, challengeAt, damage, fill, fsck, session, size, undecided } from '../helpers/checked-ledger.ts'
import { noon } from '../helpers/ledger.ts'

/** SQL of a challenge of the same form and time, but of another batch. */
const another = 'cast(substr(challenge, 1, 8) || randomblob(8) || substr(challenge, 17) as blob)'
const hours = (count: number) => {
  const { challenge, expiresMs } = challengeAt(noon + count * 3_600_000)
  return `challenge = x'${challenge.toString('hex')}', expires = ${expiresMs}`
}
const withRows = (kind: number, rows: string) =>
  `update finds set rows = cast(${rows} as blob) where kind = ${kind} and part = 0 and span = 1`

type Damage = [what: string, edit: Parameters<typeof damage>[1], said: RegExp]

const entriesAndRows: Damage[] = [
  ['data', 'update entries set data = zeroblob(10) where idx = 300', /^Entry 300: its leaf is not the hash/],
  ['data as text', 'update entries set data = cast(data as text) where idx = 7', /^Entry 7: its data or its/],
  ['leaf', 'update entries set leaf = zeroblob(32) where idx = 0', /^Entry 0: its leaf is not the hash/],
  [
    'leaf as text',
    'update entries set leaf = cast(leaf as text) where idx = 9',
    /^Entry 9: its data or its leaf/,
  ],
  ['gone', 'delete from entries where idx = 411', /^Entry 411: there is no such entry/],
  [
    'the last gone',
    `delete from entries where idx = ${size - 1}`,
    /^Entry 4199: the signed checkpoint is of 4200 entries/,
  ],
  [
    'one before the first',
    'insert into entries select -1, data, leaf from entries where idx = 0',
    /^Entry -1: it is before entry 0/,
  ],
  [
    'another entry in its place',
    'update entries set data = (select data from entries where idx = 9), leaf = (select leaf from entries where idx = 9) where idx = 10',
    /^Entry 10: its private row was altered/,
  ],
  [
    'private row',
    'update private_rows set blob = zeroblob(40) where idx = 512',
    /^Entry 512: its private row was altered/,
  ],
  [
    'private row as text',
    'update private_rows set blob = cast(blob as text) where idx = 512',
    /^Entry 512: its private row is missing, or holds no bytes/,
  ],
  ['private row gone', 'delete from private_rows where idx = 5', /^Entry 5: its private row is missing/],
  [
    'private row of an act as a number',
    `update private_rows set blob = 7 where idx = ${act}`,
    /^Entry 660: its private row is missing, or holds no bytes/,
  ],
  [
    'private row too many',
    `insert into private_rows select ${size}, day, subject_tag, card_tag, blob from private_rows where idx = 1`,
    /^Entry 4200: there is a private row without an entry/,
  ],
  [
    'private row before the first',
    'insert into private_rows select -3, day, subject_tag, card_tag, blob from private_rows where idx = 1',
    /^Entry -3: there is a private row without an entry/,
  ],
  ['tag cut off', `update private_rows set card_tag = x'00' where idx = 30`, /^Entry 30: its tags are not/],
  [
    'tag as text',
    `update private_rows set subject_tag = '0123456789abcdef' where idx = ${act}`,
    /^Entry 660: its tags are not/,
  ],
  ['day', 'update private_rows set day = day + 1 where idx = 31', /^Entry 31: its private row is kept under/],
  [
    'day as text',
    `update private_rows set day = 'x' where idx = 4150`,
    /^Entry 4150: its private row is kept/,
  ],
  [
    'day as bytes',
    'update private_rows set day = cast(day as blob) where idx = 4150',
    /^Entry 4150: its private row is kept/,
  ],
]

const treeAndNotes: Damage[] = [
  ['tile', 'update tiles set hashes = zeroblob(64) where level = 1', /^Entry 0: tile 1\/0 differs/],
  ['tile as text', 'update tiles set hashes = cast(hashes as text)', /^Entry 0: tile 1\/0 differs/],
  ['tile gone', 'delete from tiles', /^Entry 0: tile 1\/0 differs/],
  [
    'note',
    "update checkpoints set note = replace(note, '4200', '4201')",
    /^the signed checkpoint is not signed by/,
  ],
  [
    'root',
    'update checkpoints set root = zeroblob(32)',
    /^the root that is kept beside the signed checkpoint is/,
  ],
  [
    'root as text',
    'update checkpoints set root = cast(root as text)',
    /^the root that is kept beside the signed/,
  ],
  ['size', 'update checkpoints set size = 4199', /^the signed checkpoint is of another size/],
  ['size as text', "update checkpoints set size = 'many'", /^the signed checkpoint is of another size/],
  [
    'size shown',
    'update checkpoints set published_size = 4199',
    /^the published checkpoint is of another size/,
  ],
  [
    'junk shown',
    "update checkpoints set published_size = 0, published = 'junk'",
    /^the published checkpoint is not signed by/,
  ],
  [
    'more shown than signed',
    "update checkpoints set size = 0, note = '', root = x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'; delete from tiles",
    /^the published checkpoint is newer than the signed one/,
  ],
  [
    'all of it set back to the start, the head file with it',
    (db, folder) => {
      const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
      db.exec(
        `update checkpoints set size = 0, note = '', root = x'${empty}', published_size = 0, published = ''`,
      )
      rmSync(join(folder, 'ledger-head.note'))
    },
    /^there are tiles of a checkpoint, and the checkpoint is gone/,
  ],
  ['row gone', 'delete from checkpoints', /^the row of the checkpoint is gone/],
  [
    'row and head file gone, most entries with them',
    (db, folder) => {
      for (const table of ['entries', 'private_rows', 'consumed', 'acts'])
        db.exec(`delete from ${table} where idx > 99`)
      db.exec('delete from checkpoints; delete from finds; delete from tiles')
      rmSync(join(folder, 'ledger-head.note'))
    },
    /^the row of the checkpoint is gone/,
  ],
  [
    'head file gone',
    (_, folder) => rmSync(join(folder, 'ledger-head.note')),
    /^the head file beside the ledger is missing/,
  ],
  [
    'head file of nobody',
    (_, folder) =>
      writeFileSync(
        join(folder, 'ledger-head.note'),
        `ledger.test\n900\n${randomBytes(32).toString('base64')}\n\nx`,
      ),
    /^the head file is not signed by ledger\.test/,
  ],
]

const challenges: Damage[] = [
  [
    'digest',
    'update consumed set digest = zeroblob(32) where idx = 77',
    /^Entry 77: a used challenge names it/,
  ],
  ['of nobody', 'update consumed set idx = 9999 where idx = 78', /^Entry 9999: a used challenge names it/],
  ['of another', 'update consumed set idx = 79 where idx = 78', /^Entry 79: a used challenge names it/],
  ['all gone', 'delete from consumed', /^Entry 0: the challenge that it used is missing/],
  ['one gone', 'delete from consumed where idx = 77', /^Entry 77: the challenge that it used is missing/],
  [
    'a session’s gone',
    `delete from consumed where idx = ${session}`,
    /^Entry 650: the challenge that it used is/,
  ],
  [
    'random in its place',
    'update consumed set challenge = randomblob(42) where idx = 80',
    /^Entry 80: its used challenge is not one/,
  ],
  [
    'a second one, random',
    'insert into consumed select randomblob(42), digest, idx, expires from consumed where idx = 81',
    /^Entry 81: its used challenge is not one/,
  ],
  [
    'a second one, of the right form',
    `insert into consumed select ${another}, digest, idx, expires from consumed where idx = 81`,
    /^Entry 81: two used challenges name it/,
  ],
  [
    'invented for a session',
    `insert into consumed select ${another}, randomblob(32), ${session}, expires from consumed where idx = 81`,
    /^Entry 650: two used challenges name it/,
  ],
  [
    'invented for an undecided one',
    `insert into consumed select ${another}, randomblob(32), ${undecided}, expires from consumed where idx = 81`,
    /^Entry 670: a used challenge names it, and it is not its answer/,
  ],
  [
    'a session’s digest',
    `update consumed set digest = zeroblob(32) where idx = ${session}`,
    /^Entry 650: its used challenge is kept without the digest/,
  ],
  [
    'a session’s digest as text',
    `update consumed set digest = 'x' where idx = ${session}`,
    /^Entry 650: its used challenge is kept without the digest/,
  ],
  [
    'end',
    'update consumed set expires = 0 where idx = 82',
    /^Entry 82: its used challenge is kept with another end/,
  ],
  [
    'end as text',
    "update consumed set expires = 'x' where idx = 82",
    /^Entry 82: its used challenge is kept with/,
  ],
  [
    'two hours old',
    `update consumed set ${hours(-2)} where idx = 83`,
    /^Entry 83: its used challenge is of another time/,
  ],
  [
    'of the afternoon',
    `update consumed set ${hours(2)} where idx = 83`,
    /^Entry 83: its used challenge is of another/,
  ],
  [
    'as text',
    'update consumed set challenge = cast(challenge as text) where idx = 84',
    /^a used challenge is not stored as bytes/,
  ],
  ['index as text', "update consumed set idx = 'x' where idx = 84", /^a used challenge names it/],
]

const actsOfChanges: Damage[] = [
  [
    'gone',
    'delete from acts where seq = 2',
    /^Entry 661: it is an act, and no change of the registry names it/,
  ],
  ['all gone', 'delete from acts', /^Entry 660: it is an act, and no change/],
  ['the last gone', 'delete from acts where seq = 3', /^Entry 662: it is an act, and no change/],
  [
    'of an answer',
    'update acts set idx = 5 where seq = 1',
    /^Entry 5: a change of the registry names it, and it is/,
  ],
  [
    'one act twice',
    'insert into acts values (4, 661)',
    /^Entry 661: a change of the registry names it, and it is not/,
  ],
  ['out of order', 'update acts set idx = 1322 - idx', /^Entry 660: it is an act|^Entry 66\d: a change/],
  [
    'of nobody',
    'insert into acts values (4, 5000)',
    /^change 4 of the registry is recorded as entry 5000, which is not/,
  ],
  ['number as text', "update acts set seq = 'x' where seq = 3", /^change x of the registry/],
]

const searchBlocks: Damage[] = [
  [
    'a row less',
    withRows(1, 'substr(rows, 11)'),
    /^Entry \d+: the search blocks leave it out by its token id/,
  ],
  [
    'another key',
    withRows(2, `zeroblob(8) || substr(rows, 9)`),
    /^Entry \d+: the search blocks have it by another person tag/,
  ],
  ['a row twice', withRows(3, 'rows || substr(rows, 1, 10)'), /^Entry \d+: the search blocks have it twice/],
  [
    'for an entry without a token',
    withRows(1, `rows || x'0000000000000000029e'`),
    /^Entry 670: the search blocks have it by a token id, and it has none/,
  ],
  [
    'in another part',
    'update finds set rows = (select o.rows from finds o where o.kind = 1 and o.span = 1 and o.part = 5) where kind = 1 and part = 4',
    /^Entry \d+: a search block has it in another part/,
  ],
  [
    'a part gone',
    'delete from finds where kind = 3 and part = 7',
    /^Entry \d+: the search blocks leave it out by its card/,
  ],
  [
    'as text',
    `update finds set rows = 'x' where kind = 2 and part = 2`,
    /^Entry 0: its search block does not hold/,
  ],
  ['half a row', withRows(1, 'substr(rows, 1, 15)'), /^Entry 0: its search block does not hold rows/],
  [
    'a place beyond',
    withRows(1, "substr(rows, 1, 8) || x'ffff' || substr(rows, 11)"),
    /^Entry 65535: a search block names a place beyond its end/,
  ],
  [
    'filed set back',
    `update finds set rows = zeroblob(8) where kind = 0`,
    /^there are search blocks of what is not filed/,
  ],
  [
    'filed too far',
    `update finds set rows = x'0000000000002000' where kind = 0`,
    /^Entry 4096: the search blocks leave/,
  ],
  [
    'nothing filed',
    `delete from finds; insert into finds values (0, 0, 0, 0, x'0000000000001001')`,
    /leave it out/,
  ],
  [
    'blocks of what is not filed',
    `insert into finds values (1, 1, 3, 7, zeroblob(10))`,
    /^there are search blocks of/,
  ],
  [
    'blocks of nothing',
    `insert into finds values (4, 1, 3, 0, zeroblob(10))`,
    /^there are search blocks of what is/,
  ],
  [
    'tags of another',
    'update private_rows set subject_tag = randomblob(16) where idx = 88',
    /^Entry 88: the search blocks/,
  ],
]

const counted = /^the answers counted for 2026-11-23 \(yes, no, undecided\) are /
const countedAnswers: Damage[] = [
  ['one yes more', 'update answered set yes = yes + 1', /are 4195, 0, 1, and its entries are 4194, 0, 1\.$/m],
  ['a yes called a no', 'update answered set yes = yes - 1, no = no + 1', counted],
  ['an undecided forgotten', 'update answered set undecided = 0', counted],
  ['gone', 'delete from answered', /are 0, 0, 0, and its entries are 4194, 0, 1/],
  [
    'another day',
    'update answered set day = day + 1',
    /^the answers counted for 2026-11-24 .* are 4194, 0, 1, and/,
  ],
  [
    'one outlet more',
    `insert into answered values ('swift-parcel', ${carrierDay(noon)}, 'X', 0, 2, 0)`,
    /are 4194, 2, 1, and its/,
  ],
  [
    'one less than none',
    `insert into answered values ('swift-parcel', ${carrierDay(noon)}, 'X', -1, 1, 0)`,
    /^a row of counted answers holds what is no count/,
  ],
  ['a count as text', `update answered set yes = 'many'`, /^a row of counted answers holds/],
  ['a carrier as bytes', 'update answered set carrier = cast(carrier as blob)', /^a row of counted answers/],
]

t.test('each damage is found, and the first entry that it is about is named', async (t) => {
  const whole = await fill(t)
  const tables = {
    ...{ entriesAndRows, treeAndNotes, challenges, actsOfChanges, countedAnswers, searchBlocks },
  }
  for (const [name, table] of Object.entries(tables)) {
    for (const [what, edit, said] of table) {
      const { code, text } = await fsck(damage(whole, edit))
      t.equal(code, 1, `${name}: ${what}`)
      t.match(text, said, `${name}: ${what}`)
      t.match(text, /NOT as it was signed/)
    }
  }
  t.equal(
    (await fsck(damage(whole, 'delete from finds'))).code,
    0,
    'search blocks may be lost: they are made again',
  )
  t.equal((await fsck(damage(whole, 'vacuum'))).code, 0, 'and the copy alone damages nothing')
})
