/**
 * What the tier `long` takes seriously and the others do not: bounds of time, how often chance is asked, and products
 * of many factors.
 */
import { appendFileSync } from 'node:fs';

/** Whether this is the tier `long`, which goes through all of what the other tiers sample. */
export const isLong = process.env['GUESTWIRE_TIER'] === 'long';

/**
 * Returns how long something may take that takes no longer than this on a quiet machine, in the same unit. The tier
 * `long` holds these bounds. Elsewhere a slow day fails nothing, and a program that hangs still fails.
 */
export function bound(time: number): number {
  return isLong ? time : 10 * time;
}

/** Returns how many inputs a property is tried on that is tried on this many in the quick loop. */
export function rounds(count: number): number {
  return isLong ? 50 * count : count;
}

/** Prints what was measured. `npm run test:long` writes it to docs/reliability.md, too. */
export function figure(text: string): void {
  process.stdout.write(`${text}\n`);
  const file = process.env['GUESTWIRE_FIGURES'];
  if (file !== undefined) appendFileSync(file, `${text}\n`);
}
