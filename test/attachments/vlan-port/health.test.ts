// @tier fast
/**
 * The cures that `doctor` and a start print for bridges and uplinks, as a table: no line cuts off a host that uses the
 * bridge itself.
 */
import { describe, expect, test } from '@jest/globals';
import { joined } from '../../../lib/attachments/scope.js';
import { unfiltered, withoutDefault } from '../../../lib/attachments/vlan-port/filtering.js';
import { portHealth } from '../../../lib/attachments/vlan-port/health.js';
import { parseConfig } from '../../../lib/config/file.js';
import { type Observation } from '../../../lib/kernel/observation.js';
import { type FakeHost, fakeKernel } from '../../fakes/kernel.js';

type Links = Required<FakeHost>['links'];

const config = parseConfig('[bridge.br0]\nuplinks = ["eno1"]\n', 'config.toml');
const BRIDGE = { ifindex: 2, bridge: { filtering: false }, vlans: { 1: 'pvid untagged' } };
const UPLINK = { ifindex: 3, master: 'br0', vlans: { 1: 'pvid untagged' } };
const ON = 'ip link set dev br0 type bridge vlan_filtering 1';
const vlanLink = (vid: number, parent = 'br0'): Links[string] => ({ ifindex: 10 + vid, vlan: { parent, vid } });

async function seen(links: Links): Promise<Observation> {
  const scope = portHealth.scope?.({ config, names: ['br0'] }) ?? {};
  return fakeKernel({ links }).observe(joined([scope]));
}

describe('VLAN filtering is turned on', () => {
  test.each<[string, Links, string]>([
    ['alone where the host is in no VLAN of its own', { br0: BRIDGE, eno1: UPLINK }, ON],
    ['after the VLANs of sub-interfaces on the bridge', { br0: BRIDGE, eno1: UPLINK, 'br0.5': vlanLink(5) },
      `bridge vlan add dev br0 vid 5 self && bridge vlan add dev eno1 vid 5 && ${ON}`],
    ['with no line that would clear the flags of a VLAN that is there', {
      br0: { ...BRIDGE, vlans: { 5: '' } }, eno1: { ...UPLINK, vlans: { 5: '' } }, 'br0.5': vlanLink(5),
    }, ON],
    ['with nothing for a sub-interface beside the bridge',
      { br0: BRIDGE, eno1: UPLINK, 'eno1.5': vlanLink(5, 'eno1') }, ON],
    ['after a VLAN for untagged frames where the host is on the bridge and a port has none',
      { br0: { ...BRIDGE, vlans: {}, addresses: ['192.0.2.2/24'] }, eno1: { ...UPLINK, vlans: {} } },
      `bridge vlan add dev br0 vid 1 pvid untagged self && bridge vlan add dev eno1 vid 1 pvid untagged && ${ON}`],
    ['after that VLAN as the other has it', {
      br0: { ...BRIDGE, vlans: {}, addresses: ['192.0.2.2/24'] },
      eno1: { ...UPLINK, vlans: { 7: 'pvid untagged' } },
    },
      `bridge vlan add dev br0 vid 7 pvid untagged self && ${ON}`],
    ['as it is where a link-local address is all that the bridge has',
      { br0: { ...BRIDGE, vlans: {}, addresses: ['fe80::1/64'] }, eno1: { ...UPLINK, vlans: {} } }, ON],
  ])('%s', async (_, links, cure) => {
    expect(unfiltered('br0', ['eno1'], await seen(links))).toMatchObject({ isCommand: true, cure });
  });

  test.each<[string, Links]>([
    ['is untagged on the bridge', { br0: BRIDGE, eno1: UPLINK, 'br0.1': vlanLink(1) }],
    ['is untagged on the uplink', { br0: { ...BRIDGE, vlans: {} }, eno1: UPLINK, 'br0.1': vlanLink(1) }],
    ['is untagged in one VLAN here and in another there', {
      br0: { ...BRIDGE, addresses: ['2001:db8::2/64'] }, eno1: { ...UPLINK, vlans: { 7: 'pvid untagged' } },
    }],
    ['would be tagged where it leaves', {
      br0: { ...BRIDGE, addresses: ['2001:db8::2/64'] }, eno1: { ...UPLINK, vlans: { 1: 'pvid' } },
    }],
  ])('by no line where the VLAN of the host %s', async (_, links) => {
    const { isCommand, cure } = unfiltered('br0', ['eno1'], await seen(links));
    expect(isCommand).toBe(false);
    expect(cure).not.toContain(ON);
  });

  test('where the host config names no uplink, each port may be one that is not called as a tap of libvirt', async () => {
    const found = await seen({ br0: BRIDGE, eno7: UPLINK, vnet3: UPLINK, 'br0.5': vlanLink(5) });
    expect(unfiltered('br0', [], found).cure)
      .toBe(`bridge vlan add dev br0 vid 5 self && bridge vlan add dev eno7 vid 5 && ${ON}`);
  });
});

test('a new default VLAN is given back to what has the old one now, and to nothing else', async () => {
  const found = await seen({
    br0: BRIDGE, eno1: UPLINK, eno2: { ...UPLINK, vlans: { 1: '' } },
    vnet0: { ...UPLINK, vlans: { 10: 'pvid untagged' } },
  });
  expect(withoutDefault('br0', 1, found)).toBe('ip link set dev br0 type bridge vlan_default_pvid 0 && bridge vlan add dev br0 vid 1 pvid untagged self && bridge vlan add dev eno1 vid 1 pvid untagged');
});

describe('an uplink that is no port of its bridge', () => {
  const found = async (
    eno1: Links[string] | undefined, uplinks: readonly string[] = [],
  ): Promise<(readonly string[])[]> => {
    const observation = await seen(eno1 === undefined ? {} : { eno1 });
    const bridge = {
      name: 'br0', filtering: true, defaultPvid: 0, learnsLinkLocal: false, snoops: false, queries: false,
      uplinks: new Map([['eno1', undefined]]),
    };
    return portHealth.findings({
      config, names: ['br0'], observation, uplinks, bridges: [bridge], subinterfaces: [], nics: [], sysctls: new Map(),
      dropping: [], rules: [],
    }).map(({ what, cure }) => [what, cure]);
  };
  const WHAT = "uplink 'eno1' is not a port of bridge 'br0'";
  const move = (what: string): string => `it carries ${what} of this host, which a port of a bridge cannot: move the host's addresses and routes to 'br0' with a console at hand (docs/vlan.md)`;

  test('is put there when it carries nothing of the host', async () => {
    expect(await found({ ifindex: 3 })).toEqual([[WHAT, 'ip link set dev eno1 master br0']]);
    expect(await found({ ifindex: 3, addresses: ['fe80::3/64'] })).toEqual([[WHAT, 'ip link set dev eno1 master br0']]);
  });

  test('stays where it is when it carries the host', async () => {
    expect(await found({ ifindex: 3, addresses: ['192.0.2.2/24'] })).toEqual([[WHAT, move("'192.0.2.2'")]]);
    expect(await found({ ifindex: 3, addresses: ['fe80::3/64'] }, ['eno1'])).toEqual([[WHAT, move('a default route')]]);
    expect(await found({ ifindex: 3, master: 'bond0' })).toEqual([[WHAT, "name 'bond0' in its place in 'uplinks', or take it out of 'bond0' if nothing there needs it"]]);
  });

  test('that does not exist is to be named anew', async () => {
    expect(await found(undefined)).toEqual([["uplink 'eno1' of bridge 'br0' does not exist", 'uplinks = ["..."] in [bridge.br0] of the host config']]);
  });
});
