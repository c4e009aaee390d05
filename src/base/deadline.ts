// A deadline for what is waited for, with one timer and one promise.

/**
 * What `work` comes to, or the error that `late` makes after `ms`. Work that is late goes on: what comes of it then is
 * heard by nobody.
 * @param told.fault what the caller is told in place of an error of the work; by default that error
 */
export function within<T>(
  ms: number,
  work: Promise<T>,
  told: { late: () => Error; fault?: (error: unknown) => unknown },
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(told.late()), ms)
    work.then(
      (value) => {
        clearTimeout(timer)
        resolve(value)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(told.fault ? told.fault(error) : error)
      },
    )
  })
}
