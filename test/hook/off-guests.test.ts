// @tier kernel
/**
 * Addresses of guests that are defined and off: no other guest gets them, and a definition alone takes them from none.
 */
import { afterAll, beforeAll, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { domainXml, DONE, ethernetNic, type HookHost, openHookHost, routedXml } from '../places/hook-run.js';

const NEEDED = ['root', 'netns', 'nft'] as const;
const hookTest = testWith(...NEEDED);
const env = { GUESTWIRE_DEFINITIONS_DIR: '/run/defined', GUESTWIRE_ADDRESSES_DIR: '/run/addresses' };
const [A, B] = ['1', '2'].map((digit) => `${digit}1111111-2222-3333-4444-555555555555`);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });

interface Guest {
  readonly name: string;
  readonly xml: string;
}

const guest = (name: string, uuid: string | undefined, ...addresses: string[]): Guest => ({
  name, xml: domainXml({ name, uuid: uuid ?? '', metadata: routedXml(addresses), nics: [ethernetNic({})] }),
});

const hook = (operation: string, { name, xml }: Guest): ReturnType<HookHost['hook']> =>
  host.hook({ operation, guest: name, xml, env });

function define({ name, xml }: Guest): void {
  host.write(`/run/defined/${name}.xml`, xml.replace(" id='1'", ''));
}

async function live(one: Guest): Promise<void> {
  for (const operation of ['prepare', 'start', 'stopped', 'release']) expect(await hook(operation, one)).toEqual(DONE);
}

hookTest('an address belongs to the guest that last had it, while its definition asks for it', async () => {
  const [web, other] = [guest('web1', A, '192.0.2.10', '2001:db8::a'), guest('db1', B, '2001:db8::a')];
  define(web);
  define(other);
  await live(web);
  for (const operation of ['prepare', 'start']) {
    const { status, stderr } = await hook(operation, other);
    expect([status, stderr]).toEqual([1, expect.stringMatching(
      /^guestwire: guest 'db1' NIC 0 \(\S+\): '2001:db8::a' belongs to guest 'web1' NIC 0 \(\S+\), which is off, as '2001:db8::a': give one of the two another address\n$/,
    )]);
  }
  // The definition of another guest takes nothing from the guest that had it.
  await live(web);
});

hookTest('the address is free when its guest asks for it no more, has another name or none', async () => {
  const [web, other] = [guest('web1', A, '192.0.2.10', '2001:db8::a'), guest('db1', B, '2001:db8::a')];
  await live(web);
  host.sh('mv /run/defined/web1.xml /run/defined/renamed.xml');
  expect((await hook('prepare', other)).stderr).toContain("belongs to guest 'web1'");
  host.sh('rm /run/defined/renamed.xml');
  define(guest('web1', A, '192.0.2.10'));
  await live(other);
  define(other);
  expect((await hook('prepare', web)).stderr).toContain("belongs to guest 'db1'");
  host.sh('rm /run/defined/db1.xml');
  await live(web);
});

hookTest('a record that cannot be read or written refuses no start', async () => {
  host.sh('rm -rf /run/addresses; echo >/run/addresses');
  await live(guest('web1', A, '192.0.2.10'));
  expect(host.recorded('logger').join('\n')).toContain("guest 'web1': its addresses cannot be kept for it while it is off: ");
  host.sh('rm /run/addresses');
});
