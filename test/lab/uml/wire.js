// Frames on the wire: wire.py from the tests' side.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {{dst: string, src: string, tag?: number | null, ethertype?: number, text: string}} Frame
 * @typedef {Record<string, number>} Counts "TAG ETHERTYPE SOURCE DESTINATION TEXT" to how many
 */

/** @type {Set<{close: () => void}>} */
const wires = new Set();

export function closeWires() {
  for (const wire of wires) wire.close();
  wires.clear();
}

/** A wire.py, in a network namespace of that name if one is given. @param {string} [netns] */
export function openWire(netns) {
  const words = ['python3', fileURLToPath(new URL('wire.py', import.meta.url))];
  const [file = '', ...args] = netns === undefined ? words : ['ip', 'netns', 'exec', netns, ...words];
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  const asked = new Map();
  let number = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    /** @type {unknown} */
    const json = JSON.parse(line);
    const { id, ok: value, error } = /** @type {{id: number, ok?: unknown, error?: string}} */ (json);
    const waiting = asked.get(id);
    asked.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(`wire.py: ${error}`));
  });
  child.on('close', (code) => {
    for (const { reject } of asked.values()) reject(new Error(`wire.py ended with ${String(code)}`));
  });
  /** @param {string} op @param {object} [words] @returns {Promise<any>} */
  const ask = (op, words = {}) => new Promise((resolve, reject) => {
    number += 1;
    asked.set(number, { resolve, reject });
    child.stdin.write(`${JSON.stringify({ id: number, op, ...words })}\n`);
  });
  const wire = {
    /** Opens a tap, as QEMU would. @param {string} name @returns {Promise<void>} */
    tap: (name) => ask('tap', { name }),
    /** @param {string} name @returns {Promise<void>} */
    closeTap: (name) => ask('close', { name }),
    /** Everything that waits in a tap. @param {string} name @returns {Promise<Counts>} */
    read: (name) => ask('read', { name }),
    /** @param {string} name @param {Frame[]} frames @returns {Promise<void>} */
    write: (name, frames) => ask('write', { name, frames }),
    /** @param {string} dev @returns {Promise<void>} */
    listen: (dev) => ask('listen', { dev }),
    /**
     * What came in on a link since listen(), or since it was last cleared.
     * @param {string} dev
     * @param {boolean} [clear]
     * @returns {Promise<Counts>}
     */
    counts: (dev, clear = false) => ask('counts', { dev, clear }),
    /** @param {string} dev @param {Frame[]} frames @returns {Promise<void>} */
    send: (dev, frames) => ask('send', { dev, frames }),
    /**
     * Sends each frame every `interval` seconds until stopFlood().
     * @param {string} dev
     * @param {Frame[]} frames
     * @param {number} interval
     * @returns {Promise<void>}
     */
    flood: (dev, frames, interval) => ask('flood', { dev, frames, interval }),
    /** @param {string} dev @returns {Promise<number>} how often each was sent so far */
    flooded: (dev) => ask('flooded', { dev }),
    /** @param {string} dev @returns {Promise<number>} how often each was sent */
    stopFlood: (dev) => ask('stop', { dev }),
    close: () => child.stdin.end(),
  };
  wires.add(wire);
  return wire;
}
