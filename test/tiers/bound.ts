/** What the tier `long` takes seriously and the others do not: bounds of time, and how often chance is asked. */
const isLong = process.env['GUESTWIRE_TIER'] === 'long';

/**
 * Returns how long something may take that takes no longer than this on a quiet machine, in the same unit. `npm run test:long`
 * holds these bounds. Elsewhere a slow day fails nothing, and a program that hangs still fails.
 */
export function bound(time: number): number {
  return isLong ? time : 10 * time;
}

/** Returns how many inputs a property is tried on that is tried on this many in the quick loop. */
export function rounds(count: number): number {
  return isLong ? 50 * count : count;
}
