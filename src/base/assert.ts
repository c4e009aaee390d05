// Assertions about our own code. Input from outside is never asserted: it is checked and refused.

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`vouchsafe has a defect: ${message}`)
}

/** Returns `value`, which our own logic has made sure is present. */
export function present<T>(value: T | undefined | null, what: string): T {
  assert(value !== undefined && value !== null, `${what} is missing`)
  return value
}
