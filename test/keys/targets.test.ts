// What a destruction names: keys past their life as runs of epochs, never one that is still needed.
import { join } from 'node:path'
import t from 'tap'
import { dayMs } from '../../src/base/clock.ts'
import { endOfLife } from '../../src/keys/kinds.ts'
import { openKeyringFile } from '../../src/keys/store.ts'
import { countTargets, findDue, isTarget, printTargets } from '../../src/keys/targets.ts'

t.test('due are record, tag and recipient keys past their life, as runs', (t) => {
  const db = openKeyringFile(join(t.testdir(), 'keyring.db'))
  const insert = db.prepare('insert into keyring values (?, ?, 1, ?, 0)')
  const put = (kind: string, ...epochs: number[]) => {
    for (const epoch of epochs) insert.run(kind, epoch, Buffer.alloc(1))
  }
  put('record', 100, 101, 102, 104, 106, 107, 108)
  put('tag', 103)
  put('recipient', 2, 3)
  put('token', 0)
  put('cache', 1)
  const at = (nowMs: number) => findDue(db, { nowMs, retentionMs: 3 * dayMs })
  const targets = at(110 * dayMs)
  t.same(targets, {
    ...{ record: [[100, 102], ...[[104, 104]], [106, 106]], tag: [[103, 103]], recipient: [[2, 2]] },
  })
  t.equal(countTargets(targets), 7)
  t.equal(printTargets(targets), 'record 100-102, 104, 106 · tag 103 · recipient 2')
  t.same(at(104 * dayMs - 1).record, undefined, 'day 100 ended at 101 and is kept for 3 more')
  t.same(at(104 * dayMs).record, [[100, 100]])
  t.same(at(91 * dayMs).recipient, [[2, 2]])
  t.same(at(91 * dayMs - 1), {})
  t.ok(isTarget(targets, 'record', 101) && isTarget(targets, 'record', 104))
  t.notOk(isTarget(targets, 'record', 103) || isTarget(targets, 'tag', 101) || isTarget(targets, 'token', 0))
  db.close()
  t.end()
})

t.test('lives end as PROTOCOL section 3 says', (t) => {
  const ends = (kind: Parameters<typeof endOfLife>[0]) => endOfLife(kind, 10, 5 * dayMs) / dayMs
  t.equal(ends('cache'), 12)
  t.equal(ends('record'), 16)
  t.equal(ends('tag'), 16)
  t.equal(ends('recipient'), 331)
  t.equal(ends('token'), 332)
  t.end()
})
