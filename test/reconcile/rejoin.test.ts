// @tier fast
/** Ports that lost their bridge, on a fake kernel. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import type { VlanPort } from '../../lib/attachments/vlan-port/vlan-port.js';
import { parseDomain } from '../../lib/domain/domain.js';
import type { Entry, Journal } from '../../lib/journal/journal.js';
import { rejoin } from '../../lib/reconcile/rejoin.js';
import { type FakeHost, fakeKernel, type FakeLink } from '../fakes/kernel.js';

const PORT: VlanPort = {
  kind: 'vlan-port', nic: 1, mac: '52:54:00:aa:bb:01', link: 'vnet0', bridge: 'br0', isolated: undefined, uplinks: [],
  vlans: [{ vid: 10, pvid: true, untagged: true }],
};
const LABEL = "guest 'web1' NIC 1 (52:54:00:aa:bb:01)";

let log: string[];
beforeEach(() => { log = []; });

const journalOf = (wired: Entry['wired']): Journal => ({
  read: () => ({ version: 1, guest: { name: 'web1', uuid: '' }, since: '', incoming: false, wired, original: [] }),
} as unknown as Journal);

async function rejoined(
  links: Record<string, FakeLink>, port: VlanPort = PORT, isolated = '', wired: Entry['wired'] = [],
): Promise<string[]> {
  const host: FakeHost = { links: { vnet0: { ifindex: 10, vlans: {} }, ...links } };
  const kernel = fakeKernel(host);
  const nic = "<interface type='bridge'><source bridge='br0'/></interface>";
  const { name, nics } = parseDomain(`<domain><name>web1</name><devices>${nic}${nic.replace('</', `${isolated}</`)}</devices></domain>`);
  expect(await rejoin({ kernel, journal: journalOf(wired), log: (line) => log.push(line) }, {
    guest: { name, uuid: '11111111-2222-3333-4444-555555555555' }, nics, attachments: [port],
  })).toBe(kernel.done.length > 0);
  return kernel.done;
}

describe('a tap without a master', () => {
  test('is put into the bridge that the XML names, and out of its default PVID at once', async () => {
    expect(await rejoined({ br0: { ifindex: 2, bridge: { defaultPvid: 5 } } }))
      .toEqual(['link set dev vnet0 master br0', 'vlan del dev vnet0 vid 5']);
    expect(log).toEqual([`${LABEL}: put 'vnet0' back into bridge 'br0'`]);
  });

  test('is put into a bridge without a default PVID by one line', async () => {
    expect(await rejoined({ br0: { ifindex: 2, bridge: { defaultPvid: 0 } } }))
      .toEqual(['link set dev vnet0 master br0']);
  });

  test("is isolated as libvirt's own element says, before it may speak to anybody", async () => {
    const done = await rejoined({ br0: { ifindex: 2, bridge: {} } }, PORT, "<port isolated='yes'/>");
    expect(done)
      .toEqual(['link set dev vnet0 master br0', 'link set dev vnet0 isolated on', 'vlan del dev vnet0 vid 1']);
    expect(await rejoined({ br0: { ifindex: 2, bridge: { defaultPvid: 0 } } }, PORT, "<port isolated='no'/>"))
      .toEqual(['link set dev vnet0 master br0']);
  });

  test.each<[string, Record<string, FakeLink>]>([
    ['does not filter yet', { br0: { ifindex: 2, bridge: { filtering: false } } }],
    ['is not there', {}],
    ['is no bridge', { br0: { ifindex: 2 } }],
    ['is another', { br1: { ifindex: 2, bridge: {} } }],
  ])('stays alone while that bridge %s', async (_, links) => {
    expect(await rejoined(links)).toEqual([]);
    expect(log).toEqual([]);
  });
});

test('a tap that was renamed is put back under its name of now', async () => {
  const wired: Entry['wired'][number] = { ...PORT, link: 'foo', was: 'vnet0', bridge: 'br0', ifindex: 11 };
  // The other of its old name is somebody else's.
  expect(await rejoined(
    { foo: { ifindex: 11, vlans: {} }, br0: { ifindex: 2, bridge: { defaultPvid: 0 } } }, PORT, '', [wired],
  )).toEqual(['link set dev foo master br0']);
});

test('a tap that has a master stays there', async () => {
  expect(await rejoined({
    vnet0: { ifindex: 10, master: 'br1' }, br0: { ifindex: 2, bridge: {} }, br1: { ifindex: 3, bridge: {} },
  })).toEqual([]);
});

test('a tap that is gone, or not made yet, is no error', async () => {
  const bridge = { br0: { ifindex: 2, bridge: {} } };
  expect(await rejoined(bridge, { ...PORT, link: 'vnet7' })).toEqual([]);
  expect(await rejoined(bridge, { ...PORT, link: undefined })).toEqual([]);
});
