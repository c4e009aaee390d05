// Keys of TLS session tickets, derived: workers that know the same secret and the same state of revocation accept
// each other's tickets, and a ticket from before a change opens nothing. No message is sent for it.
import { hkdfSync } from 'node:crypto'
import type { Server } from 'node:tls'
import { bind } from './base/t2l.ts'

/** As node:tls wants them: name, HMAC key and AES key of 16 bytes each (RFC 5077 section 4). */
const ticketKeyBytes = 48

/**
 * @param secret 32 bytes that the workers share
 * @param listener whose tickets they are
 * @param state what a ticket must be as new as; another state, another key
 */
export const deriveTicketKeys = (secret: Buffer, listener: string, state: readonly Buffer[]): Buffer =>
  Buffer.from(
    hkdfSync('sha256', secret, Buffer.alloc(0), bind('tickets', listener, ...state), ticketKeyBytes),
  )

/** To be called again after each `setSecureContext`, which draws keys of its own. */
export function setTicketKeys(
  server: unknown,
  secret: Buffer,
  listener: string,
  state: readonly Buffer[],
): void {
  ;(server as Server).setTicketKeys(deriveTicketKeys(secret, listener, state))
}
