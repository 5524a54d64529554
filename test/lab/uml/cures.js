// What the tests of cures share: a neighbour that asks for the host through the uplink, and what guestwire prints.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { ok, readText, run, sh } from './lab.js';
import { addParent } from './parent.js';

/** The host's own address: in each VLAN of the tests, and without a tag. */
export const ADDRESS = { untagged: '10.0.0.1', 5: '10.0.5.1', 30: '10.0.30.1' };

/**
 * The uplink 'eno1', with a neighbour on its other end that speaks without a tag and in these VLANs.
 * @param {...number} vids
 */
export async function addNeighbour(...vids) {
  await addParent({ vids });
  await sh('ip -n lan addr add 10.0.0.254/24 dev eth0; ip -n lan addr add 192.0.2.1/24 dev eth0');
}

/** Moves the documentation's router into a VLAN of the neighbour. @param {number} vid */
export const moveRouter = (vid) => sh(`ip -n lan addr del 192.0.2.1/24 dev eth0; ip -n lan addr add 192.0.2.1/24 dev eth0.${vid}`);

/** @param {...string} args */
export const guestwire = (...args) => run('node', ['dist/cli.js', ...args]);

/** @typedef {{severity: string, what: string, why: string, cure: string}} Finding */

/** What doctor finds. @param {RegExp} says @returns {Promise<Finding[]>} */
export async function findings(says) {
  const { stdout } = await guestwire('doctor', '--json');
  /** @type {unknown} */
  const json = JSON.parse(stdout);
  return /** @type {{findings: Finding[]}} */ (json).findings.filter(({ what }) => says.test(what));
}

/** Resolves to the cure of the one thing that doctor finds. @param {RegExp} says */
export async function cureOf(says) {
  const found = await findings(says);
  assert.equal(found.length, 1, `${String(says)}: ${JSON.stringify(found)}`);
  return found[0]?.cure ?? '';
}

/** Runs a command exactly as guestwire prints it, where guestwire is installed. @param {string} command */
export async function runPrinted(command) {
  mkdirSync('/run/bin', { recursive: true });
  writeFileSync('/run/bin/guestwire', `#!/bin/sh\nexec node ${process.cwd()}/dist/cli.js "$@"\n`, { mode: 0o755 });
  return ok('env', ['PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'sh', '-ec', command]);
}

/** Whether an answer comes to one of the neighbour's pings. @param {string} address @param {number} [tries] */
export async function answers(address, tries = 4) {
  for (let left = tries; left > 0; left -= 1)
    if ((await run('ip', ['netns', 'exec', 'lan', 'ping', '-c', '1', '-W', '1', address])).code === 0) return true;
  return false;
}

/** The neighbour reaches the host at each of these. @param {readonly string[]} addresses @param {string} when */
export async function reachable(addresses, when) {
  for (const address of addresses) assert.equal(await answers(address), true, `the neighbour reaches ${address} ${when}`);
}

/** A description names what moves first, and has no command that could run before that. @param {string} text */
export function assertDescription(text) {
  assert.match(text, /\bmove|first |another vid/);
  assert.doesNotMatch(text, /\b(ip (link|addr|address|route)|bridge vlan|nft|sysctl|nmcli) /);
}

/**
 * Runs doctor's cures of these findings: the neighbour reaches the host before and after each, and doctor is silent
 * then. Resolves to the cures.
 * @param {RegExp[]} says
 * @param {readonly string[]} addresses
 */
export async function cured(says, addresses) {
  const any = new RegExp(says.map(({ source }) => source).join('|'));
  const found = await findings(any);
  await reachable(addresses, 'before the cures');
  const cures = says.map((one) => found.find(({ what }) => one.test(what))?.cure ?? assert.fail(`${String(one)}: ${JSON.stringify(found)}`));
  for (const cure of cures) {
    await runPrinted(cure);
    await reachable(addresses, `after '${cure}'`);
  }
  assert.deepEqual(await findings(any), [], `after '${cures.join("', '")}'`);
  return cures;
}

/** The command that docs/vlan.md prints after these words. @param {string} words */
export function documented(words) {
  const [, text = ''] = readText('docs/vlan.md').split(words);
  const [, lines] = /\n\n((?: {4}.*\n)+)/.exec(text) ?? [];
  return lines ?? assert.fail(`docs/vlan.md has no command after '${words}'`);
}
