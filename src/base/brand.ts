// Nominal types: a value that only the check which proved it may produce.
declare const brand: unique symbol

/** A `T` that carries the proof `Name`; made only by the function that did the check. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name }
