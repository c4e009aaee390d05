// Every bound of the gateway, by name and with its unit. Relations between them are asserted below.
import { assert } from './assert.ts'

export const limits = {
  // Wire (PROTOCOL sections 1, 4, 6)
  bodyBytesMax: 8 * 1024,
  devicesBodyBytesMax: 512 * 1024,
  devicesPerCallMax: 1000,
  readingBytes: 2048,
  /** Of a passport, whose security object alone may take more than a card's whole reading. */
  passportReadingBytes: 4096,
  recordBytes: 256,
  challengeBytes: 42,
  challengesPerBatchMax: 64,
  challengeTtlOneS: 120,
  challengeTtlBatchS: 600,
  clockSkewS: 5,
  replayWindowS: 185,
  guardExtraS: 190,
  // Requests
  requestMsMax: 3000,
  /** What is left of it for entry and grid, whoever was asked before. */
  recordMsMin: 300,
  leaseMs: 5000,
  /** Of one listener; a request in flight has a connection, an idle connection costs some 50 kB. */
  connectionsMax: 16_384,
  inFlightMax: 4096,
  /** What is under way at the end of the process gets this long: the longest request, and a little more. */
  closeGraceMs: 3500,
  /**
   * A queue that stands: the event loop is so late on average of the last samples, each counted up to a bound, for so
   * long. A question to the bureau has 800 ms, this included.
   */
  shedLateMs: 75,
  shedLateCountedMs: 200,
  shedSamples: 4,
  shedAfterMs: 500,
  /** Then a turn of the loop takes so many, until none more was refused for so long. */
  shedPerTurn: 16,
  shedQuietMs: 1000,
  shedSampleMs: 50,
  /** After the start. */
  shedNotBeforeMs: 2000,
  /** Device tokens whose signature is known to be right, some 2 kB each. */
  checkedTokensMax: 4096,
  bucketsMax: 100_000,
  answerTokenLifeS: 86_400,
  /** Ours are some 700 characters. */
  tokenCharsMax: 2048,
  /** 804 bytes each, a multiple of 8. */
  tokensKnownMax: 10_000,
  sessionLifeS: 43_200,
  holdStepMs: 50,
  holdMsMin: 150,
  holdMsMax: 900,
  // Card (structures of a reading)
  derDepthMax: 16,
  crlLookMs: 500,
  /** States renew their lists within 90 days: a folder of hundreds of files is not looked at more often. */
  cscaLookMs: 5000,
  /** What the memo of one suite holds: 144 bytes a SOD. Some six in seven of the last. */
  sodsKnownMax: 32_768,
  signersKnownMax: 1024,
  /** Checks of SM2, and of passports, that wait for a turn, and how long for one: three must fit in a request. */
  turnsWaitingMax: 2000,
  turnWaitMsMax: 500,
  /** How long such checks may be begun in one turn of the event loop: some twelve of SM2. */
  turnLoopMs: 4,
  /** How long verifications, or logins, that come one by one gather at most, where others went just before. */
  cohortPaceMs: 6,
  // Card issuers that are trusted (docs/TRUST.md)
  trustListCharsMax: 2 * 1024 * 1024,
  trustAnchorsMax: 1000,
  trustLifeS: 400 * 86_400,
  trustAuthoritiesMax: 64,
  /** As many as a record holds. */
  authorityCharsMax: 15,
  trustListPlacesMax: 4,
  trustPlaceCharsMax: 512,
  /** Clocks of those who sign offline are set by hand. */
  trustSkewMs: 300_000,
  trustWarnMs: 14 * 86_400_000,
  trustTickMs: 1000,
  /** Files are read again so often even if nothing told of a change. */
  trustLookMs: 60_000,
  // Revocation lists that are fetched
  /** Some 30,000 revoked signers; more is refused before it is read, in the serving thread. */
  cardListBytesMax: 1024 * 1024,
  cardListDeadlineMs: 10_000,
  cardListFetchesMax: 16,
  cardListCooldownMs: 30_000,
  cardListCooldownMaxMs: 600_000,
  /** Fetches of a list that is at hand are spread over so long after a start. */
  cardListStartMs: 10_000,
  // SAM service (docs/SAM.md)
  /** Of its transaction in a reading. */
  samTransactionBytesMin: 16,
  samTransactionBytesMax: 64,
  samDeadlineMs: 1200,
  samInFlightMax: 256,
  samConnectionsMax: 32,
  samReplyBytesMax: 4096,
  // Bureau (PROTOCOL section 11)
  bureauBatchMax: 64,
  bureauBatchesInFlightMax: 8,
  bureauQueueMax: 8192,
  bureauDeadlineMs: 800,
  feedPollMs: 400,
  feedFreshMs: 750,
  feedPageMax: 1000,
  feedWindowMs: 48 * 3_600_000,
  feedChangesMax: 2_000_000,
  // Registry (PROTOCOL section 12)
  registryPollMs: 250,
  registryFreshMs: 750,
  registryRecordsMax: 50_000,
  // Cache (PROTOCOL sections 7, 8)
  cachePositiveMs: 86_400_000,
  cacheNegativeMs: 60_000,
  // Ledger (PROTOCOL section 9)
  ledgerGroupMax: 512,
  /** An act and its blind must fit in one T2L value. */
  actBytesMax: 0xffff - 64,
  ledgerQueueMax: 8192,
  /** From the first entry that no checkpoint covers: with the time it takes, at least one each second. */
  checkpointEveryMs: 800,
  consumedKeepMs: 3_600_000,
  // Misuse: what a device may do before it is suspended
  /** Of which the first has begun at least ten minutes ago: none of the last ten is missed. */
  refusalMinutes: 11,
  peopleDays: 7,
  /** Far beyond its norm: so many times as many people as on a usual day. */
  peopleTimesNormMax: 4,
  /** Beyond it a suspension under way is taken for lost, and the next breach tries anew. */
  suspensionMsMax: 10_000,
  /** After a suspension nothing is counted for so long: the device's last requests are still being answered. */
  suspensionQuietMs: 5000,
  /** Of one process, where there is no Redis or it is lost. */
  countedDevicesMax: 10_000,
  countedPeopleMax: 200_000,
  // Workers
  /** Keys are opened and the ledger is looked through: on a slow disk that takes a while. */
  workerStartMsMax: 600_000,
  workerRestartMsMin: 250,
  workerRestartMsMax: 8000,
  /** A worker is waited for so long; then what it said last counts. */
  workerReportMsMax: 1000,
  /** One that has not said how it is for so long is not ready, though it lives. */
  workerSilentMsMax: 5000,
  // Store
  nodeBeatMs: 2000,
  nodeLifeMs: 10_000,
  storeTimeoutMs: 200,
  memoryStoreEntriesMax: 500_000,
} as const

assert(limits.closeGraceMs > limits.requestMsMax, 'a request may end before its connection does')
assert(limits.leaseMs > limits.requestMsMax, 'a lease must outlive its request')
assert(limits.guardExtraS > limits.replayWindowS, 'a guard must outlive the replay window')
assert(limits.bureauDeadlineMs < limits.requestMsMax, 'the bureau must answer within the request')
assert(
  limits.samDeadlineMs + limits.bureauDeadlineMs + limits.recordMsMin < limits.requestMsMax,
  'a request has time for SAM service, bureau and entry',
)
assert(limits.registryPollMs * 2 < limits.registryFreshMs, 'one late poll must not make news stale')
assert(limits.feedPollMs <= 500 && limits.feedPollMs < limits.feedFreshMs, 'PROTOCOL section 11')
assert(limits.cardListDeadlineMs < limits.cardListCooldownMs, 'a fetch ends before the next may begin')
assert(
  limits.suspensionQuietMs > limits.requestMsMax + limits.registryFreshMs,
  'what was begun before a suspension ends in its quiet',
)
assert(
  limits.turnWaitMsMax * 3 + limits.bureauDeadlineMs < limits.requestMsMax,
  'a late card is still answered',
)
