// @tier fast
/** Which bridge a NIC joins that the host config makes, at each step of libvirt, and what the host then has to give. */
import { describe, expect, test } from '@jest/globals';
import { guestEnd, shownOf, attachmentWords } from '../../../lib/attachments/attachment.js';
import { preflight } from '../../../lib/attachments/check.js';
import { deriveAttachments } from '../../../lib/attachments/derive.js';
import type { Attachment } from '../../../lib/attachments/kinds.js';
import { parseConfig } from '../../../lib/config/file.js';
import { parseDomain } from '../../../lib/domain/domain.js';
import type { Observation } from '../../../lib/kernel/observation.js';
import { EMPTY_SCOPE } from '../../../lib/kernel/observation.js';
import { fakeKernel } from '../../fakes/kernel.js';

const CONFIG = '[bridge.br30]\nvid = 30\nparent = "eno1"\n[network.v30]\nbridge = "br30"\n[network.plain]\nbridge = "br0"\n';

function derive(source: string, type = 'bridge', config = CONFIG): Attachment[] {
  const nic = `<interface type='${type}'><mac address='52:54:00:aa:bb:01'/><source ${source}/></interface>`;
  return deriveAttachments(parseDomain(`<domain><name>web1</name><devices>${nic}</devices></domain>`), parseConfig(config, '/x'));
}

describe('the bridge of a NIC', () => {
  test.each<[string, string, string]>([
    ['named by the XML', "bridge='br30'", 'bridge'],
    ['named by the host config for a libvirt network, before `start`', "network='v30'", 'network'],
    ['named by both, from `start` on', "network='v30' portid='x' bridge='br30'", 'bridge'],
    ['named by the XML alone, from `start` on', "network='unknown' bridge='br30'", 'bridge'],
  ])('%s', (_, source, type) => {
    expect(derive(source, type)).toEqual([expect.objectContaining({
      kind: 'vlan-bridge', bridge: 'br30', vid: 30, parent: 'eno1',
    })]);
  });

  test.each<[string, string, string]>([
    ['a bridge that the host config does not make', "bridge='br0'", 'bridge'],
    ['a network that the host config does not mention', "network='other'", 'network'],
    ['a network with another bridge', "network='plain'", 'network'],
    ['a network that leads elsewhere than the host config says, where no bridge is made', "network='plain' bridge='br1'", 'bridge'],
    ['a NIC that joins no bridge', "dev='eno1' mode='bridge'", 'direct'],
  ])('is left alone for %s', (_, source, type) => {
    expect(derive(source, type)).toEqual([]);
  });

  test.each(["network='v30' bridge='br0'", "network='plain' bridge='br30'"])('is refused where host config and libvirt differ: %s', (source) => {
    expect(() => derive(source)).toThrow(/^guest 'web1' NIC 0 \(52:54:00:aa:bb:01\): network '\w+' leads to bridge '\w+', and \[network\.\w+\] of the host config says '\w+': make them equal$/);
  });
});

describe('a port', () => {
  const [port] = derive("bridge='br30'");

  test('is shown as an access port of its bridge', () => {
    expect(port && shownOf(port)).toEqual({
      bridge: 'br30', vlans: [{ vid: 30, pvid: true, untagged: true }], addresses: [], routes: [],
      network: 'br30: access 30',
    });
    expect(port && attachmentWords(port)).toBe('port of bridge br30, VLAN 30 of eno1');
    expect(port && guestEnd(port)).toBeUndefined();
    expect(shownOf(port).vlans).toEqual([{ vid: 30, pvid: true, untagged: true }]);
  });

  async function refusal(change: (observation: Observation) => Observation, link?: string): Promise<string> {
    const kernel = fakeKernel({ links: { eno1: { ifindex: 2, mac: '02:00:00:00:00:01' } } });
    const observation = change(await kernel.observe({ ...EMPTY_SCOPE, links: ['eno1'] }));
    try {
      preflight('web1', port === undefined ? [] : [{ ...port, link }], { observation, others: [], recorded: [] });
      return '';
    } catch (error) {
      return (error as Error).message.replace("guest 'web1' NIC 0 (52:54:00:aa:bb:01): ", '');
    }
  }

  test('is refused on a parent that has the name as an alternative only', async () => {
    expect(await refusal((seen) => seen)).toBe('');
    const renamed = (seen: Observation): Observation => ({
      ...seen, links: new Map([...seen.links].map(([name, facts]) => [name, { ...facts, ifname: 'enp1s0' }])),
    });
    expect(await refusal(renamed)).toBe("parent 'eno1' of bridge 'br30' is another name of link 'enp1s0': write that name in the host config");
  });

  test('is refused when its tap is gone', async () => {
    expect(await refusal((seen) => seen, 'vnet0')).toBe("link 'vnet0' does not exist: stop the guest and start it again");
  });
});
