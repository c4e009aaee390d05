// Main of one worker: a whole gateway on ports that it shares with its siblings (src/primary.ts). It ends with its
// primary.
import closeWithGrace from 'close-with-grace'
import { systemClock } from './base/clock.ts'
import { readConfig } from './base/config.ts'
import { limits } from './base/limits.ts'
import { createLog } from './base/log.ts'
import { endWith } from './base/parent.ts'
import { type Gateway, openGateway } from './gateway.ts'
import type { Report } from './routes/health.ts'
import type { FromWorker, Siblings, ToWorker } from './siblings.ts'

const post = (message: FromWorker) => process.connected && process.send?.(message)

const config = readConfig()
const log = createLog(config.LOG_LEVEL)
let gateway: Gateway | undefined
const { close } = closeWithGrace({ delay: 10_000, logger: false }, async ({ err }) => {
  if (err) log.fatal({ err }, 'worker failed')
  await gateway?.close()
})
endWith(async () => close())

let ownReport: (() => Promise<Report>) | undefined
let lastId = 0
const waiting = new Map<number, (reports: Report[]) => void>()

const siblingsOf = (secret: Buffer): Siblings => ({
  secret,
  async reports() {
    const report = await ownReport?.()
    if (!report) return []
    const id = ++lastId
    return new Promise((resolve) => {
      const done = (reports: Report[]) => {
        clearTimeout(late)
        waiting.delete(id)
        resolve(reports)
      }
      const late = setTimeout(done, 2 * limits.workerReportMsMax, [])
      waiting.set(id, done)
      post({ kind: 'ask', id, report })
    })
  },
  reportWith(report) {
    ownReport = report
  },
})

process.on('message', async (message: ToWorker) => {
  if (message.kind === 'start') await start(Buffer.from(message.secret))
  else if (message.kind === 'report' && ownReport)
    post({ kind: 'report', id: message.id, report: await ownReport() })
  else if (message.kind === 'reports') waiting.get(message.id)?.(message.reports)
})

async function start(secret: Buffer): Promise<void> {
  try {
    gateway = await openGateway({ config, clock: systemClock, log, siblings: siblingsOf(secret) })
    const { warnings, ledgerVkey } = gateway
    post({ kind: 'ready', ports: await gateway.listen(), warnings, ledgerVkey })
  } catch (error) {
    post({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
    close()
  }
}
