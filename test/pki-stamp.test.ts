// The PKI is looked after once a day, and whenever a file of it was touched.
import { rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dayMs } from '../src/base/clock.ts'
import { isChecked, markChecked } from '../src/pki-stamp.ts'

const nowMs = Date.UTC(2026, 10, 24)

t.test('a check counts for a day and for the files that there were', (t) => {
  const folder = t.testdir({ 'a.key': 'x', 'a.crt': 'y' })
  t.equal(isChecked(folder, nowMs), false, 'never checked')
  markChecked(folder, nowMs)
  t.equal(isChecked(folder, nowMs), true)
  t.equal(isChecked(folder, nowMs + dayMs - 1), true)
  t.equal(isChecked(folder, nowMs + dayMs), false, 'a day later')
  t.equal(isChecked(folder, nowMs - 1), false, 'a clock that went back')
  rmSync(join(folder, 'a.crt'))
  t.equal(isChecked(folder, nowMs), false, 'a file was deleted')
  markChecked(folder, nowMs)
  writeFileSync(join(folder, 'b.crt'), 'z')
  t.equal(isChecked(folder, nowMs), false, 'a file was added')
  markChecked(folder, nowMs)
  utimesSync(join(folder, 'a.key'), 1, 1)
  t.equal(isChecked(folder, nowMs), false, 'a file was replaced')
  writeFileSync(join(folder, '.checked'), 'not ours')
  t.equal(isChecked(folder, nowMs), false)
  t.equal(isChecked(join(folder, 'absent'), nowMs), false)
  t.end()
})
