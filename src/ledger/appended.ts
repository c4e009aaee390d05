// What an append came to, and what stands for a challenge, as the serving thread is told.
import type { Committed } from './message.ts'

export type Appended =
  | { index: number; leaf: Buffer; timeMs: number }
  /** The claim was taken: the winner's digest (empty for an act) and its entry. */
  | { lost: Buffer; index: number }

/** What stands for a challenge that was consumed; answer 0 is a session. */
export type Consumed = { digest: Buffer; index: number; answer: 0 | 1 | 2 | 3; leaf: Buffer; timeMs: number }

/** A result of the worker, in Buffers of its own. */
export function toAppended(result: Committed): Appended {
  if ('lost' in result) return { lost: Buffer.from(result.lost), index: result.index }
  return { index: result.index, leaf: Buffer.from(result.leaf), timeMs: result.timeMs }
}
