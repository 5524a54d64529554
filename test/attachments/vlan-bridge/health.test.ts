// @tier fast
/** What doctor says of bridges of one VLAN, as a table: faults of the parent and of the sub-interface. */
import { describe, expect, test } from '@jest/globals';
import { joined, withFurther } from '../../../lib/attachments/scope.js';
import { bridgeHealth } from '../../../lib/attachments/vlan-bridge/health.js';
import { parseConfig } from '../../../lib/config/file.js';
import { type FakeHost, fakeKernel } from '../../fakes/kernel.js';

const config = parseConfig('[bridge.br30]\nvid = 30\nparent = "eno1"\n', 'config.toml');
const SUB = { ifindex: 9, vlan: { parent: 'eno1', vid: 30 } };

async function findingsOn(links: Required<FakeHost>['links']): Promise<(readonly string[])[]> {
  const kernel = fakeKernel({ links });
  const named = { config, names: ['br30', 'br0'] };
  const first = await kernel.observe(joined([bridgeHealth.scope(named)]));
  const further = await kernel.observe(joined([bridgeHealth.furtherScope(named, first)]));
  return bridgeHealth.findings({ ...named, observation: withFurther(first, further) })
    .map(({ severity, cure }) => [severity, cure]);
}

describe('a bridge of one VLAN', () => {
  test('is made by guestwire, and another bridge is not', () => {
    expect(['br30', 'br0'].filter((name) => bridgeHealth.makes(config, name))).toEqual(['br30']);
  });

  test.each<[string, Required<FakeHost>['links'], string[][]]>([
    ['a sound parent', {
      eno1: { ifindex: 2 }, br30: { ifindex: 3, bridge: { filtering: false } }, 'eno1.30': { ...SUB, master: 'br30' },
    }, []],
    ['a parent that is missing', {}, [['error', 'parent = "..." in [bridge] of the host config, or ip link add eno1 ...']]],
    ['a parent that is down', { eno1: { ifindex: 2, up: false } }, [['error', 'ip link set dev eno1 up']]],
    ['a parent that is a port of a VLAN-filtering bridge', { eno1: { ifindex: 2, master: 'br0' }, br0: { ifindex: 3, bridge: { filtering: true } } }, [['error', `parent = "br0" in the host config, after 'bridge vlan add dev br0 vid 30 self && bridge vlan add dev eno1 vid 30'`]]],
    ['such a parent that has the VLAN', {
      eno1: { ifindex: 2, master: 'br0', vlans: { 30: '' } },
      br0: { ifindex: 3, bridge: { filtering: true }, vlans: { 30: '' } },
    }, [['error', 'parent = "br0" in the host config']]],
    ['such a parent on which the VLAN is untagged', {
      eno1: { ifindex: 2, master: 'br0', vlans: { 30: 'pvid untagged' } },
      br0: { ifindex: 3, bridge: { filtering: true } },
    }, [['error', "another vid in [bridge] of the host config, or ports of 'br0' for its guests (docs/vlan.md): VLAN 30 is untagged on 'eno1'"]]],
    ['a sub-interface that is no port of its bridge', {
      eno1: { ifindex: 2 }, br30: { ifindex: 3, bridge: { filtering: false } }, 'eno1.30': SUB,
    }, [['error', 'ip link set dev eno1.30 master br30']]],
    ['such a sub-interface without the bridge', { eno1: { ifindex: 2 }, 'eno1.30': SUB }, [['error', 'ip link add name br30 type bridge && ip link set dev br30 up && ip link set dev eno1.30 master br30']]],
    ['such a sub-interface with an address of the host', { eno1: { ifindex: 2 }, 'eno1.30': { ...SUB, addresses: ['192.0.2.2/24'] } }, [['error', "first move the host's addresses and routes from it to a link outside bridges, then put it into 'br30' or remove it"]]],
    ['a sub-interface that is a port of another bridge', { eno1: { ifindex: 2 }, 'eno1.30': { ...SUB, master: 'br7' } }, [['error', "first free 'br7' of what needs it there, then put it into 'br30' or remove it"]]],
  ])('%s', async (_, links, findings) => {
    expect(await findingsOn(links)).toEqual(findings);
  });
});
