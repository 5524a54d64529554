// `guestwire check` of VLAN ports: what somebody did to ports, uplinks and bridges is named, mended by `reconcile
// --all` as its dry run says, and then gone. test/cli/check.test.ts is the same for routed links.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addBridge, addPort, run, setConfig, setHook, sh, startGuest, tagged, vlansOf } from './lab.js';
import { before11, checks, test } from './testing.js';

const CLI = join(fileURLToPath(new URL('.', import.meta.url)), '../../../dist/cli.js');
/** @param {string[]} args */
const guestwire = (...args) => run('node', [CLI, ...args]);

/**
 * Returns what both print, less what makes a line one of a dry run.
 * @param {{code: number | null, stdout: string}} result
 */
const linesOf = ({ stdout }) => stdout.split('\n').map((line) => line.replace(/^would: /, ''));

/** What a port that comes back to its bridge has by itself, or is given at once. */
const SETTLED = /: set port '.*' isolated$/;

/** `A` is the access port of VLAN 10, `T` the trunk of 20 and 30 with native 40. @type {[string, string, RegExp][]} */
const CORRUPTIONS = [
  ['a VLAN is gone', 'bridge vlan del dev T vid 20', /'a'.* VLAN 20 is missing on 'T'/],
  ['the only VLAN is gone', 'bridge vlan del dev A vid 10', /VLAN 10 pvid untagged is missing on 'A'/],
  ['a VLAN too many', 'bridge vlan add dev A vid 99', /VLAN 99 on 'A' should not be there/],
  ['a range too many', 'bridge vlan add dev T vid 100-110', /VLAN 100-110 on 'T' should not be there/],
  ['the PVID is none', 'bridge vlan add dev A vid 10 untagged', /VLAN 10 untagged on 'A' should be VLAN 10 pvid untagged/],
  ['another PVID', 'bridge vlan add dev T vid 30 pvid', /VLAN 30 pvid on 'T' should be VLAN 30/],
  ['a VLAN leaves untagged', 'bridge vlan add dev T vid 20 untagged', /VLAN 20 untagged on 'T' should be VLAN 20/],
  ['the native VLAN leaves tagged', 'bridge vlan add dev T vid 40 pvid', /VLAN 40 pvid on 'T' should be VLAN 40 pvid untagged/],
  ["the bridge's default is back", 'bridge vlan add dev A vid 1 pvid untagged', /VLAN 1 pvid untagged on 'A' should not be there/],
  ['a port is isolated no more', 'bridge link set dev A isolated off', /port 'A' is not isolated and should be/],
  ['a port left its bridge', 'ip link set A nomaster', /'A' is not a port of bridge 'br0'|is missing on 'A'/],
  ['an uplink lost a VLAN', 'bridge vlan del dev up0 vid 30', /VLAN 30 is missing on 'up0'/],
  ['an uplink lost all', 'bridge vlan del dev up0 vid 10; bridge vlan del dev up0 vid 20; bridge vlan del dev up0 vid 30; bridge vlan del dev up0 vid 40', /VLAN 10 is missing on 'up0'/],
  ['the table bridge is gone', 'nft delete table bridge guestwire', /host: nftables table bridge guestwire is missing/],
  ['a port is not filtered', 'nft delete element bridge guestwire ports { I }', /is missing in map 'ports'/],
  ['whom a port meets is no matter', 'nft delete element bridge guestwire in { I }', /is missing in map 'in'/],
  ['answers are anybody\'s', 'nft flush chain bridge guestwire opens_I', /chain 'opens_I' has lost all its rules/],
  ['a filter lets all by', 'nft insert rule bridge guestwire nic_I accept', /rule 'accept' should not be in chain 'nic_I'/],
  ['a bridge is made anew', 'ip link del br0; ip link add br0 type bridge vlan_filtering 1 vlan_default_pvid 1; ip link set br0 up; ip link set up0 master br0', /'a' NIC 1/],
];

test('every corruption of a VLAN port is named, mended and then gone', async () => {
  await addBridge({ pvid: 0 });
  await addPort('up0');
  setConfig('[bridge.br0]\nuplinks = ["up0"]\n');
  const trunk = {
    trunk: /** @type {const} */ ('yes'),
    tags: [{ id: 20 }, { id: 30 }, { id: 40, nativeMode: /** @type {const} */ ('untagged') }],
  };
  const guest = await startGuest({
    name: 'a', nics: [{ vlan: tagged(10), isolated: true, words: '<gw:policy profile="isolated"/>' }, { vlan: trunk }],
  });
  const [access = '', tap = ''] = await guest.taps();
  const { check, end } = checks();
  for (const [name, script, says] of CORRUPTIONS) {
    await check(name, async () => {
      const index = (await sh(`cat /sys/class/net/${access}/ifindex`)).trim();
      const named = (/** @type {string} */ text) =>
        text.replace(/\bA\b/g, access).replace(/\bT\b/g, tap).replace(/\bI\b|(?<=_)I\b/g, index);
      await sh(named(script));
      const found = await guestwire('check');
      assert.equal(found.code, 1, found.stderr);
      assert.match(found.stdout, new RegExp(named(says.source)));
      const dry = await guestwire('reconcile', '--all', '--dry-run');
      const real = await guestwire('reconcile', '--all');
      // What the table of a port holds that comes back to its bridge is known when it is there.
      const comparable = linesOf(real).some((line) => line.includes(' back into bridge '))
        ? linesOf(dry).filter((line) => linesOf(real).includes(line))
        : linesOf(dry);
      assert.deepEqual({ code: dry.code, lines: comparable.filter((line) => !SETTLED.test(line)) }, {
        code: real.code, lines: linesOf(real).filter((line) => !SETTLED.test(line)),
      });
      assert.equal(real.code, 0, real.stderr);
      const after = await guestwire('check');
      assert.deepEqual({ code: after.code, stdout: after.stdout }, { code: 0, stdout: '' });
    });
  }
  end();
}, { isLong: true, when: before11, timeout: 600_000 });

test('VLANs that guestwire put on an uplink for a guest that is gone are garbage, and nobody else\'s', async () => {
  await addBridge({ pvid: 0 });
  await addPort('up0', { vids: ['99'] });
  setConfig('[bridge.br0]\nuplinks = ["up0"]\n');
  const guest = await startGuest({ name: 'b', nics: [{ vlan: tagged(10, 20) }] });
  assert.deepEqual(await vlansOf('up0'), ['10', '20', '99']);
  setHook(false);
  await guest.destroy();
  setHook(true);
  const found = await guestwire('check');
  assert.equal(found.code, 1);
  const dry = await guestwire('reconcile', '--all', '--dry-run');
  assert.deepEqual(await vlansOf('up0'), ['10', '20', '99']);
  const real = await guestwire('reconcile', '--all');
  assert.deepEqual({ code: dry.code, lines: linesOf(dry) }, { code: real.code, lines: linesOf(real) });
  assert.deepEqual(await vlansOf('up0'), ['99']);
  assert.equal((await guestwire('check')).code, 0);
}, { isLong: true, when: before11, timeout: 300_000 });
