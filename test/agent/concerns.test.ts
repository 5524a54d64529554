// @tier fast
/**
 * Whom a change of the host concerns, by what `ip monitor` and `bridge monitor` really say (test/lab/uml/capture.js).
 */
import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { type Concerns, createConcerns } from '../../lib/agent/concerns.js';
import { type LinkChange, readLinkLine, readVlanLine } from '../../lib/kernel/monitor-lines.js';
import type { VlanPort } from '../../lib/attachments/vlan-port/vlan-port.js';
import { parseDomain } from '../../lib/domain/domain.js';

const DOMAIN = parseDomain('<domain><name>web1</name><devices/></domain>');
const tagged = (...vids: number[]): VlanPort['vlans'] => vids.map((vid) => ({ vid, pvid: false, untagged: false }));
const PORT: VlanPort = {
  kind: 'vlan-port', nic: 0, mac: '52:54:00:aa:bb:01', link: 'tap0', bridge: 'br0', isolated: undefined,
  uplinks: ['up0'], vlans: tagged(10, 30),
};

let concerns: Concerns;
beforeEach(() => {
  concerns = createConcerns();
  concerns.set('its own', DOMAIN, [PORT]);
  concerns.set('on the same bridge', DOMAIN, [{ ...PORT, link: 'tap7', vlans: tagged(40) }]);
  concerns.set('on another', DOMAIN, [{ ...PORT, link: 'tap8', bridge: 'br1', uplinks: ['up1'] }]);
});

interface Said {
  readonly command: string;
  readonly lines: readonly string[];
}

/** What is said after each command, in their order. */
function said(version: string, monitor: string): Said[] {
  const text = readFileSync(`fixtures/tools/iproute2-${version}/monitor-${monitor}.txt`, 'utf8');
  return text.split(/^# /m).slice(1).map((block) => {
    const [command = '', ...lines] = block.trimEnd().split('\n');
    return { command, lines };
  });
}

function hear(changes: readonly (LinkChange | undefined)[]): string[] {
  const heard = changes.flatMap((change) => {
    const { own, sharing } = change === undefined ? { own: [], sharing: [] } : concerns.byLink(change);
    return [...own.map((uuid) => `${uuid}: again`), ...sharing.map((uuid) => `${uuid}: afresh`)];
  });
  return [...new Set(heard)].sort();
}

/** As the capture found the links that are shared. */
function isAtFirst({ ifname, essence = '' }: LinkChange): boolean {
  return (ifname === 'br0' && essence.endsWith(' true  1 1')) || (ifname === 'up0' && essence.includes(' br0 '));
}

const OWN = ['its own: again'];
const ALL = ['its own: afresh', 'on the same bridge: afresh'];

/** As the commands come in the capture: each finds what those before it left. */
const WHOM: readonly (readonly [string, readonly string[]])[] = [
  ['ip tuntap add tap0 mode tap', OWN],
  ['ip link set tap0 master br0', OWN],
  ['ip link set tap0 up', OWN],
  ['bridge vlan del dev tap0 vid 1', OWN],
  ['bridge vlan add dev tap0 vid 10 pvid untagged', OWN],
  ['bridge vlan add dev tap0 vid 20-29', OWN],
  ['bridge vlan del dev tap0 vid 20-25', OWN],
  ['bridge vlan add dev up0 vid 30', []],
  ['bridge vlan del dev up0 vid 30', OWN],
  ['bridge vlan add dev br0 vid 40 self', []],
  ['bridge link set dev tap0 isolated on', OWN],
  ['ip link set br0 type bridge vlan_default_pvid 5', ALL],
  ['ip link set br0 type bridge vlan_filtering 0', ALL],
  ['ip link set tap0 nomaster', OWN],
  ['ip link set tap0 master br0', OWN],
  ['ip link set br0 down', ALL],
  ['ip link delete br0', [...ALL, ...OWN].sort()],
  ['ip link delete tap0', OWN],
];

describe.each(['6.1', '6.15'])('by iproute2 %s', (version) => {
  test('each change concerns those whose networking hangs on it', () => {
    const [links, vlans] = [said(version, 'link'), said(version, 'vlan')];
    for (const change of links.flatMap(({ lines }) => lines).reverse().map(readLinkLine)) {
      if (change !== undefined && isAtFirst(change)) concerns.know(change);
    }
    const heard = links.map(({ command, lines }, index) => [
      command, hear([...lines.map(readLinkLine), ...vlans[index]?.lines.map(readVlanLine) ?? []]),
    ]);
    expect(heard).toEqual(WHOM);
  });

  test('every change of VLANs is told by the monitor of VLANs itself', () => {
    const heard = said(version, 'vlan').filter(({ command }) => /^bridge vlan .* tap0 /.test(command))
      .map(({ lines }) => hear(lines.map(readVlanLine)));
    expect(heard).toEqual([OWN, OWN, OWN, OWN]);
  });
});

test('an uplink that loses VLANs concerns those who have one of them', () => {
  const lost = (line: string): string[] => hear([readVlanLine(line)]);
  expect(lost('Deleted up0              29-31')).toEqual(OWN);
  expect(lost('Deleted up0              40')).toEqual(['on the same bridge: again']);
  expect(lost('Deleted up0              11-29')).toEqual([]);
  expect(lost('Deleted up1              30')).toEqual(['on another: again']);
  expect(lost('up0              30 PVID Egress Untagged')).toEqual([]);
  expect(lost('                    state disabled ')).toEqual([]);
});

test('a bridge that nobody knows is news once', () => {
  const line = '2: br0: <BROADCAST,UP> mtu 1500 promiscuity 0 bridge vlan_filtering 1 vlan_default_pvid 1 ';
  expect(hear([readLinkLine(line)])).toEqual(ALL);
  expect(hear([readLinkLine(line.replace('mtu 1500', 'mtu 1400'))])).toEqual([]);
  expect(hear([readLinkLine(`Deleted ${line}`)])).toEqual(ALL);
});

test('a bridge that goes back to what it was, and changed while nobody was on it, is news', () => {
  const line = '9: br9: <BROADCAST,UP> mtu 1500 promiscuity 0 bridge vlan_filtering 1 vlan_default_pvid 1 ';
  const known = readLinkLine(line);
  if (known !== undefined) concerns.know(known);
  expect(hear([readLinkLine(line.replace('pvid 1', 'pvid 0'))])).toEqual([]);
  concerns.set('its own', DOMAIN, [{ ...PORT, bridge: 'br9' }]);
  expect(hear([readLinkLine(line.replace('pvid 1', 'pvid 0'))])).toEqual([]);
  expect(hear([readLinkLine(line)])).toEqual(['its own: afresh']);
});

test('a link that is renamed stays its own, and nobody hears of it any more when its guest is gone', () => {
  const line = '17: foo: <BROADCAST,UP> mtu 1500 master br0 promiscuity 1 bridge_slave state forwarding ';
  expect(hear([readLinkLine(line), readVlanLine('foo              10')])).toEqual([]);
  concerns.hold('its own', [{ link: 'tap0', ifindex: 17 }]);
  expect(hear([readLinkLine(line)])).toEqual(OWN);
  concerns.hold('its own', [{ link: 'foo', ifindex: 17 }]);
  expect(hear([readVlanLine('Deleted foo              10')])).toEqual(OWN);
  concerns.forget('its own');
  expect(hear([readLinkLine(line), readVlanLine('foo              10')])).toEqual([]);
});
