// What the registry refuses, as problems: on listeners whose askers are known and may be told why.
import { GatewayError } from '../base/errors.ts'
import { RegistryError, type RegistryReason } from '../registry/schema.ts'

const absent: ReadonlySet<RegistryReason> = new Set<RegistryReason>([
  'carrier unknown',
  'device unknown',
  'outlet unknown',
  'application unknown',
  'certificate unknown',
])

/** A reason as a word of JSON: `key already used` is `key_already_used`. */
export const wordOfReason = (reason: RegistryReason) => reason.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_')

/** Does `work`; what the registry refuses becomes `404 not_found` or `422 refused`, with its sentence. */
export async function orRefused<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error
    const code = absent.has(error.reason) ? 'not_found' : 'refused'
    throw new GatewayError(code, wordOfReason(error.reason), { detail: error.message })
  }
}
