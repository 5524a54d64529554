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
    ['a parent that is a port of a VLAN-filtering bridge', { eno1: { ifindex: 2, master: 'br0' }, br0: { ifindex: 3, bridge: { filtering: true } } }, [['error', 'bridge vlan add dev br0 vid 30 self && bridge vlan add dev eno1 vid 30, and parent = "br0" in the host config']]],
    ['a sub-interface that is no port of its bridge', { eno1: { ifindex: 2 }, 'eno1.30': SUB }, [['error', 'ip link set dev eno1.30 master br30 (its addresses stop working; move them first), or remove the sub-interface if the host does not use it']]],
  ])('%s', async (_, links, findings) => {
    expect(await findingsOn(links)).toEqual(findings);
  });
});
