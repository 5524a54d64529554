// @tier fast kernel
/** What docs/json.md says of `--json` is what the commands print: each key, and no other. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { COMMANDS } from '../../lib/cli/main.js';
import { canRun, testWith } from '../places/capability.js';
import { type GuestHost, openGuestHost } from '../places/guest-host.js';
import { guestXml } from '../places/routed-host.js';

const kernelTest = testWith('root', 'netns', 'nft');

const WEB = guestXml({
  name: 'web1', tap: 'vnet1', addresses: ['192.0.2.10', '2001:db8::a'], routes: ['2001:db8:20::/64'],
})
  .replace('</gw:interface>', "<gw:allow direction='in' from='203.0.113.0/24' proto='tcp' port='443'/></gw:interface>");
const PORT = "<domain><name>fw1</name><devices><interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='vnet9'/><vlan trunk='yes'><tag id='10'/></vlan></interface></devices></domain>";

const BRIDGED = "<domain><name>lan1</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cfe</uuid><devices><interface type='bridge'><mac address='52:54:00:00:00:03'/><source bridge='br30'/></interface></devices></domain>";

/** By command, the keys that docs/json.md has a row for. */
const DOCUMENTED = new Map(readFileSync('docs/json.md', 'utf8').split(/^## /m).slice(1).map((chapter) => [
  /^`guestwire ([\w-]+)/.exec(chapter)?.[1] ?? '',
  [...chapter.matchAll(/^\| `([^`]+)` \|/gm)].map(([, key = '']) => key).sort()]));

/** Returns the keys of a value: `nics[].guest.name`. */
function keysOf(value: unknown, path = ''): string[] {
  if (Array.isArray(value))
    return [`${path}[]`, ...value.flatMap((item) => keysOf(item, `${path}[]`))].filter((key) => key !== path);
  if (value === null || typeof value !== 'object') return path === '' ? [] : [path];
  return Object.entries(value).flatMap(([key, item]) => keysOf(item, path === '' ? key : `${path}.${key}`));
}

/** Without what is only a part of what is listed, too. */
function leavesOf(keys: readonly string[]): string[] {
  const all = [...new Set(keys)];
  return all.filter((key) => !all.some((other) => other.startsWith(`${key}.`) || other.startsWith(`${key}[`))).sort();
}

let host: GuestHost;
beforeAll(async () => {
  if (!canRun('root', 'netns', 'nft')) return;
  host = await openGuestHost('[bridge.br30]\nvid = 30\nparent = "eno1"\n[routed]\ntables = [100]\n');
  host.netns.sh('ip tuntap add vnet1 mode tap; ip link set vnet1 up');
  host.start(WEB);
  host.say(BRIDGED, false);
  host.say(guestXml({ name: 'own1', tap: 'vnet5', addresses: ['192.0.2.20'], more: " table='100'" }), false);
  host.say(PORT.replace('</name>', '</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2cff</uuid>'), false);
});
afterAll(() => {
  if (canRun('root', 'netns', 'nft')) host.close();
});

describe('docs/json.md', () => {
  test('has a chapter for each command that prints JSON', () => {
    expect([...DOCUMENTED.keys()]).toEqual(COMMANDS.filter(({ options }) => 'json' in options).map(({ name }) => name));
  });

  const RUNS: readonly (readonly [command: string, ...runs: string[][]])[] = [
    ['status', [], ['fw1'], ['lan1']], ['check', []], ['doctor', []],
    ['derive', ['web1'], ['fw1'], ['lan1'], ['own1']], ['plan', ['web1']],
    ['explain', ['web1', '--from', '203.0.113.9', '--to', '192.0.2.10', '--proto', 'tcp', '--port', '443']],
    ['drops', ['web1', '--all']], ['quarantine', []],
  ];

  for (const [name, ...runs] of RUNS) kernelTest(`says what '${name} --json' prints`, async () => {
    if (name === 'check') host.netns.sh('ip route del 192.0.2.10 dev vnet1');
    if (name === 'quarantine') await host.command('quarantine', 'web1');
    const seen: string[] = [];
    for (const args of runs) {
      const { stdout, stderr } = await host.command(name, ...args, '--json');
      expect(stderr).toBe('');
      const printed = JSON.parse(stdout) as { version: number };
      expect(printed.version).toBe(1);
      seen.push(...keysOf(printed));
    }
    expect(DOCUMENTED.get(name)).toEqual(leavesOf(seen));
  });
});
