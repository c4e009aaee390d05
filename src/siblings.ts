// What one worker of a gateway knows of the others: a secret that they share, and how they are. Messages go through
// the primary process, which serves nothing itself (src/primary.ts).
import type { Others, Report } from './routes/health.ts'

export type Siblings = {
  /** 32 bytes that the workers share, new with each start of the gateway. */
  secret: Buffer
  /** None where the primary does not answer in time: this worker serves all the same. */
  reports: Others
  /** Says what is told of this worker. */
  reportWith(report: () => Promise<Report>): void
}

export type Ports = { device: number; carrier: number; operator: number }

/** From the primary to a worker. */
export type ToWorker =
  | { kind: 'start'; secret: Uint8Array }
  | { kind: 'report'; id: number }
  | { kind: 'reports'; id: number; reports: Report[] }

/** From a worker to the primary. */
export type FromWorker =
  | { kind: 'ready'; ports: Ports; warnings: readonly string[]; ledgerVkey: string }
  | { kind: 'failed'; message: string }
  | { kind: 'report'; id: number; report: Report }
  /** With how the asker is itself: the next to ask may be another. */
  | { kind: 'ask'; id: number; report: Report }
