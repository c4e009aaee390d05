// One error class over one closed table: code -> status, title, retry (PROTOCOL section 1).
// Codes are coarse and for outside; `reason` is a fixed word for operators; neither holds input.

export type Retry = 'never' | 'later' | 'new_session' | 'new_challenge' | 'refresh_directory' | 'same'

type Row = { status: number; title: string; retry: Retry }
const row = (status: number, retry: Retry, title: string): Row => ({ status, title, retry })

/** The closed table. docs/API.md is checked against it. */
export const errorTable = {
  malformed: row(400, 'never', 'The request does not have the documented form'),
  too_large: row(413, 'never', 'The body is longer than this route allows'),
  unsupported_media_type: row(415, 'never', 'The body must be application/json'),
  not_found: row(404, 'never', 'There is nothing at this address for you'),
  record_destroyed: row(410, 'never', 'The record of this answer was destroyed at the end of its life'),
  unauthorized: row(401, 'never', 'A valid operator name and secret are required'),
  forbidden: row(403, 'never', 'Your role may not do this'),
  reading_malformed: row(422, 'never', 'The opened reading does not have the documented form'),
  signature_invalid: row(401, 'never', 'The device signature was not accepted'),
  device_inactive: row(403, 'never', 'The device is not admitted'),
  carrier_suspended: row(403, 'never', 'The carrier is not admitted'),
  firmware_too_old: row(403, 'never', 'The reader firmware is older than the directory allows'),
  quota_used_up: row(403, 'never', 'The quota of the carrier is used up'),
  overloaded: row(503, 'later', 'The gateway is busy'),
  rate_limited: row(429, 'later', 'Too many requests from this asker'),
  session_invalid: row(401, 'new_session', 'The device token was not accepted'),
  seal_rejected: row(400, 'new_session', 'The sealed reading could not be opened'),
  challenge_invalid: row(422, 'new_challenge', 'The challenge was not accepted'),
  challenge_expired: row(422, 'new_challenge', 'The challenge has expired'),
  challenge_used: row(409, 'new_challenge', 'The challenge was used by another request'),
  enc_invalid: row(422, 'new_challenge', 'The encapsulated key was not accepted'),
  recipient_unknown: row(422, 'refresh_directory', 'The recipient key is not in use'),
  in_progress: row(409, 'same', 'The same request is being answered'),
  idempotency_key_missing: row(400, 'never', 'This call needs an Idempotency-Key'),
  idempotency_key_reused: row(422, 'never', 'The Idempotency-Key was used for another call'),
  token_not_redeemable: row(422, 'never', 'The token is not a yes in force for this parcel'),
  refused: row(422, 'never', 'This is not allowed as things stand'),
  receipt_pending: row(425, 'same', 'The answer is recorded and not yet in a published checkpoint'),
  registry_stale: row(503, 'same', 'The registry cannot be read in time'),
  trust_stale: row(503, 'same', 'What is known of card issuers is not current'),
  sam_unavailable: row(503, 'same', 'The SAM service did not answer in time'),
  bureau_unavailable: row(503, 'same', 'The bureau did not answer in time'),
  ledger_unavailable: row(503, 'same', 'The answer could not be recorded'),
  internal: row(500, 'same', 'The gateway failed'),
} as const satisfies Record<string, Row>

export type ErrorCode = keyof typeof errorTable

/** A limit as its asker is told of it: `quota` units in each window of `windowS`, `resetS` until there is one. */
export type RateLimit = { policy: string; quota: number; windowS: number; resetS: number }

type Details = {
  cause?: unknown
  retryAfterS?: number
  rate?: RateLimit
  /** A sentence for the asker, where what it says is his own or the registry's: never on the device listener. */
  detail?: string
}

/** An error that may leave the gateway as its `code`. */
export class GatewayError extends Error {
  readonly code: ErrorCode
  /** A fixed word for operators and the log. */
  readonly reason: string
  /** Seconds for `Retry-After`, where the asker should wait longer than the default. */
  readonly retryAfterS: number | undefined
  readonly rate: RateLimit | undefined
  readonly detail: string | undefined

  constructor(code: ErrorCode, reason: string, options?: Details) {
    super(`${code}: ${reason}`, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'GatewayError'
    this.code = code
    this.reason = reason
    this.rate = options?.rate
    this.detail = options?.detail
    this.retryAfterS = options?.retryAfterS ?? options?.rate?.resetS
  }
}
