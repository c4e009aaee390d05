// A process that a load run starts for one job: it is told what to do, says what came of it, and ends.

/** Takes one job; what `work` resolves to is told to the parent, or why it failed. */
export function takeJob<Job>(work: (job: Job) => Promise<object>): void {
  process.once('message', async (job: Job) => {
    let told: object
    try {
      told = await work(job)
    } catch (error) {
      told = { failed: error instanceof Error ? (error.stack ?? error.message) : String(error) }
    }
    // Whatever a failure left open must not keep it.
    process.send?.(told, () => process.exit('failed' in told ? 1 : 0))
  })
}
