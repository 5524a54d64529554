// How a test file announces its tests; run-tests.js runs them one after the other.

/**
 * @typedef {object} Options
 * @property {(libvirt: number) => boolean} [when] the libvirts it is about; all unless given
 * @property {number} [timeout] milliseconds, 120000 unless given
 */

/** @type {{name: string, fn: () => Promise<void>, options: Options}[]} */
export const tests = [];

/** @param {string} name the promise that is tested @param {() => Promise<void>} fn @param {Options} [options] */
export function test(name, fn, options = {}) {
  tests.push({ name, fn, options });
}

/** @param {number} libvirt */
export const before11 = (libvirt) => libvirt < 11;
/** @param {number} libvirt */
export const from11 = (libvirt) => libvirt >= 11;
