// A process that destroys keys and kills itself after the step it is told: FILE KEKS ACTS NOW-MS STEP.
import { manualClock } from '../../src/base/clock.ts'
import { destroyKeys } from '../../src/keys/destruction.ts'
import { actsIn } from './acts.ts'

const [file = '', kekDirectory = '', acts = '', nowMs = '', step = ''] = process.argv.slice(2)
await destroyKeys({
  ...{ file, kekDirectory, clock: manualClock(Number(nowMs)), retentionDays: 2, waitMs: 0 },
  acts: actsIn(acts),
  say: () => {},
  onStep(reached) {
    if (reached === step) process.kill(process.pid, 'SIGKILL')
  },
})
