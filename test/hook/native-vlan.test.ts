// @tier kernel
/**
 * Guests that have only libvirt's own <vlan>, on a bridge that does not filter: they never mention guestwire, so they
 * start, unless the host config has a table of their bridge.
 */
import { afterAll, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import {
  bridgeNic, domainXml, DONE, entriesOf, ethernetNic, type HookHost, openHookHost, PORT_MAC, routedXml, UUID,
} from '../places/hook-run.js';

const NEEDED = ['root', 'netns', 'nft'] as const;
const hookTest = testWith(...NEEDED);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });
beforeEach(() => {
  if (!canRun(...NEEDED)) return;
  host.write('/run/config.toml', '');
  host.recorded('logger');
});

const NATIVE = bridgeNic({ more: "<vlan><tag id='10'/></vlan>\n      " });
const ALONE = domainXml({ nics: [NATIVE] });
const BOTH = domainXml({ metadata: routedXml(['192.0.2.10']), nics: [NATIVE, ethernetNic({})] });
const FAULT = /(bridge 'br0' does not filter VLANs|this kernel cannot filter VLANs on bridge 'br0')/;
const LIFE = ['prepare', 'start', 'reconnect', 'stopped', 'release'];

async function expectLife(xml: string): Promise<void> {
  for (const operation of LIFE) {
    expect({ operation, ...await host.hook({ operation, xml }) }).toEqual({ operation, ...DONE });
  }
}

describe('on a bridge without filtering, a guest with a <vlan> of libvirt', () => {
  hookTest('starts as without guestwire, and the log says what is wrong', async () => {
    const before = host.dump();
    await expectLife(ALONE);
    expect(host.dump()).toBe(before);
    const logged = host.recorded('logger').filter((line) => FAULT.test(line));
    expect(logged.map((line) => /(prepare|start|reconnect): guest /.exec(line)?.[1]))
      .toEqual(['prepare', 'start', 'reconnect']);
    expect(logged[0]).toContain(`guest 'web1' NIC 0 (${PORT_MAC})`);
  });

  hookTest('starts with its routed NIC wired, and the other one stays as libvirt made it', async () => {
    const before = host.dump();
    for (const operation of ['prepare', 'start']) {
      expect({ operation, ...await host.hook({ operation, xml: BOTH }) }).toEqual({ operation, ...DONE });
    }
    expect(host.sh('ip route show proto 117')).toContain('192.0.2.10 dev vnet1');
    expect(host.sh('nft list tables')).not.toContain('bridge guestwire');
    expect(entriesOf(host)).toEqual([`${UUID}.json`]);
    const logged = host.recorded('logger').filter((line) => FAULT.test(line));
    expect(logged.length).toBeGreaterThan(0);
    for (const line of logged) expect(line).toMatch(/: the NIC stays as libvirt made it$/);
    for (const operation of ['reconnect', 'stopped', 'release']) {
      expect({ operation, ...await host.hook({ operation, xml: BOTH }) }).toEqual({ operation, ...DONE });
    }
    expect(host.dump()).toBe(before);
  });

  hookTest('is refused when the host config has a table of the bridge', async () => {
    host.write('/run/config.toml', '[bridge.br0]\n');
    const before = host.dump();
    for (const operation of ['prepare', 'start']) {
      const { status, stderr } = await host.hook({ operation, xml: ALONE });
      expect({ operation, status, stderr }).toEqual({ operation, status: 1, stderr: expect.stringMatching(FAULT) });
    }
    expect(host.dump()).toBe(before);
  });

  for (const [title, config, status] of [
    ['names nothing of it', 'nonsense = 1\n', 0],
    ['has a table of another bridge', '[bridge.br9]\nnonsense = 1\n', 0],
    ['has a table of its bridge', '[bridge.br0]\nnonsense = 1\n', 1],
  ] as const) {
    hookTest(`and a broken host config that ${title}: status ${status}`, async () => {
      host.write('/run/config.toml', config);
      expect((await host.hook({ operation: 'start', xml: ALONE })).status).toBe(status);
    });
  }
});
