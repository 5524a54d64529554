// How a test file announces its tests; run-tests.js runs them one after the other.

/** Whether the run takes every test with every input, as `npm test` does where the machine is not slow. */
export const isWhole = process.env['GUESTWIRE_WHOLE'] === '1';

/**
 * @typedef {object} Options
 * @property {(libvirt: number) => boolean} [when] the libvirts it is about; all unless given
 * @property {number} [usually] of a test that is guestwire's own affair under each libvirt: the one under which a slow
 *   machine runs it
 * @property {boolean} [isLong] a slow machine has no time for it
 * @property {number} [timeout] milliseconds, 120000 unless given
 */

/** @type {{name: string, fn: () => Promise<void>, options: Options}[]} */
export const tests = [];

/** What a test measured, shown after its name. @type {string[]} */
export const figures = [];

/** @param {string} name the promise that is tested @param {() => Promise<void>} fn @param {Options} [options] */
export function test(name, fn, options = {}) {
  tests.push({ name, fn, options });
}

/**
 * Returns the items that a run takes: all of them when it is whole, else every `step`th.
 *
 * @template T
 * @param {readonly T[]} items @param {number} step
 */
export function sample(items, step) {
  return isWhole ? items : items.filter((_, index) => index % step === 0);
}

/** @param {number} libvirt */
export const before11 = (libvirt) => libvirt < 11;
/** @param {number} libvirt */
export const from11 = (libvirt) => libvirt >= 11;

/** Checks that go on after a failure: end() rejects with all that failed. For a setting that is dear to make. */
export function checks() {
  /** @type {string[]} */
  const failures = [];
  return {
    /** @param {string} name @param {() => unknown} fn */
    check: async (name, fn) => {
      try {
        await fn();
      } catch (error) {
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    },
    end: () => {
      if (failures.length > 0) throw new Error(`${failures.length} checks failed\n${failures.join('\n')}`);
    },
  };
}
