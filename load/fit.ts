// How many requests the bench may send where the machine is slow.

/** On one machine, seconds: of the warm-up, of the whole with all requests, and of what of it does not shrink. */
const usual = { warmUpS: 13, wholeS: 510, fixedS: 340 }
const aimS = 570
/** With fewer, what is not compiled yet would be measured. */
const leastShare = 0.25

/**
 * @param warmUpS what the warm-up took, seconds
 * @returns the share of the requests to be sent after it, to end within ten minutes, and how long the whole will take, as
 *   far as can be told: longer where not even a quarter fits
 */
export function fitInTime(warmUpS: number): { share: number; seconds: number } {
  const slow = warmUpS / usual.warmUpS
  const wanted = (aimS / slow - usual.fixedS) / (usual.wholeS - usual.fixedS)
  const share = Math.min(1, Math.max(leastShare, wanted))
  return { share, seconds: slow * (usual.fixedS + share * (usual.wholeS - usual.fixedS)) }
}
