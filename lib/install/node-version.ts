/**
 * The oldest Node that guestwire runs on. An older Node reads this file, too, before any other file of the command: it
 * keeps to words that Node 12 knows.
 */

const [MAJOR, MINOR] = [18, 19] as const;
const OLDEST = `${MAJOR}.${MINOR}`;

export const NODE_CURE = `install a package 'nodejs' of version ${OLDEST} or newer`;

/** Returns what is wrong with a Node of this version, as `v18.18.2`; undefined when guestwire runs on it. */
export function nodeFault(version: string): string | undefined {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  return major > MAJOR || (major === MAJOR && minor >= MINOR) ? undefined : `needs ${OLDEST} or newer: ${NODE_CURE}`;
}
