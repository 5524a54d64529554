// @tier kernel
/** An nft that ends well and does nothing, and entries of the journal that are not files, on the real hook. */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { domainXml, DONE, type HookHost, openHookHost, routedXml, UUID } from '../places/hook-run.js';

const NEEDED = ['root', 'netns', 'nft'] as const;
const hookTest = testWith(...NEEDED);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });

const WIRED = domainXml({ metadata: routedXml(['2001:db8:0:10::a', '192.0.2.10']) });
const OTHER = '55555555-2222-3333-4444-555555555555';
const LIFE = ['prepare', 'start', 'reconnect', 'stopped', 'release'];
const ENTRY = `/run/guestwire/${UUID}.json`;

describe('an nft that ends well and', () => {
  hookTest('does nothing lets no guest start, and leaves nothing', async () => {
    const before = host.dump();
    expect(await host.hook({ operation: 'prepare', xml: WIRED })).toEqual(DONE);
    const path = host.tools({ nft: 'only-list' });
    const { status, stderr } = await host.hook({ operation: 'start', xml: WIRED, path });
    expect(stderr).toMatch(/^guestwire: guest 'web1'.*the kernel differs from what guestwire set: still to do: add nftables table/);
    expect(status).toBe(1);
    expect(await host.hook({ operation: 'release', xml: WIRED })).toEqual(DONE);
    expect(host.dump()).toBe(before);
  });

  hookTest('does its work without a report is believed by what it then lists', async () => {
    const before = host.dump();
    const path = host.tools({ nft: 'report-nothing' });
    for (const operation of ['prepare', 'start']) {
      expect({ operation, ...await host.hook({ operation, xml: WIRED, path }) }).toEqual({ operation, ...DONE });
    }
    expect(host.sh('nft list ruleset')).toContain('guestwire');
    for (const operation of ['stopped', 'release']) await host.hook({ operation, xml: WIRED });
    expect(host.dump()).toBe(before);
  });
});

describe('an entry of the journal that', () => {
  const drafts = { 'a named pipe': 'mkfifo', 'a link to an endless file': 'ln -s /dev/full' };
  for (const [title, make] of Object.entries(drafts)) {
    hookTest(`has ${title} as its draft holds up no guest`, async () => {
      for (const operation of LIFE) {
        host.sh(`mkdir -p /run/guestwire; rm -rf ${ENTRY}.draft; ${make} ${ENTRY}.draft`);
        expect({ operation, ...await host.hook({ operation, xml: WIRED }) }).toEqual({ operation, ...DONE });
      }
    });
  }

  const places = { 'a named pipe': 'mkfifo', 'a link to an endless file': 'ln -s /dev/zero', 'a directory': 'mkdir' };
  for (const [title, make] of Object.entries(places)) {
    hookTest(`is ${title} holds up no guest and refuses no other`, async () => {
      const other = domainXml({ name: 'other', uuid: OTHER, metadata: routedXml(['192.0.2.44']) });
      for (const operation of LIFE) {
        host.sh(`mkdir -p /run/guestwire; rm -rf ${ENTRY}; ${make} ${ENTRY}`);
        expect({ operation, ...await host.hook({ operation, guest: 'other', xml: other }) })
          .toEqual({ operation, ...DONE });
        const own = await host.hook({ operation, xml: WIRED });
        // No file can take the place of a directory: the start is refused, and says why.
        if (make !== 'mkdir') expect({ operation, ...own }).toEqual({ operation, ...DONE });
        else if (operation === 'start') expect(own.stderr).toContain(`journal: cannot write '${ENTRY}': EISDIR`);
      }
      host.sh(`rm -rf ${ENTRY}`);
      expect(await host.hook({ operation: 'release', xml: WIRED })).toEqual(DONE);
    });
  }
});
