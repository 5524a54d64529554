// @tier kernel long
/**
 * A host on which something never ends: a tool, or another run that has the lock. Time is bounded, and nothing of the
 * hook outlives it. Each test waits for seconds, so all of them run at once, each on a host of its own.
 */
import { spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import {
  domainXml, DONE, entriesOf, ethernetNic, type HookHost, openHookHost, PLAIN, routedXml, vlanXml,
} from '../places/hook-run.js';
import { bound } from '../tiers/bound.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

const WIRED = domainXml({ metadata: routedXml(['2001:db8:0:10::a', '192.0.2.10']) });
const PORT = domainXml({ metadata: vlanXml('<gw:tag id="10"/>') });
const OTHER_UUID = '33333333-2222-3333-4444-555555555555';
const OTHER = {
  guest: 'db1',
  xml: domainXml({
    name: 'db1', uuid: OTHER_UUID, metadata: routedXml(['198.51.100.9'], '52:54:00:aa:bb:03'),
    nics: [ethernetNic({ mac: '52:54:00:aa:bb:03', dev: 'vnet2' })],
  }),
};

/** What is still running on the host. */
const LEFT = `
  for process in /proc/[0-9]*; do
    [ "$process" != "/proc/$$" ] || continue
    [ "$(readlink "$process/ns/net")" != "$(readlink /proc/self/ns/net)" ] || tr '\\0' ' ' <"$process/cmdline"
  done 2>/dev/null`;

interface Scenario {
  readonly title: string;
  readonly run: (host: HookHost) => Promise<void>;
}

/** Expects that `operation` ends within 20 s with this sentence, and that the host is then as it was. */
function hangs(
  title: string, tools: Parameters<HookHost['tools']>, { xml = WIRED, says }: { xml?: string; says: string },
): Scenario {
  return {
    title,
    run: async (host) => {
      const before = host.dump();
      const path = host.tools(...tools);
      const started = Date.now();
      const [wired, plain] = await Promise.all([
        host.hook({ operation: 'start', xml, path }),
        host.hook({ operation: 'start', guest: 'plain', xml: PLAIN, path }),
      ]);
      expect(wired).toEqual({ status: 1, stdout: '', stderr: `guestwire: guest 'web1': ${says}\n` });
      expect(plain).toEqual(DONE);
      expect(host.recorded('logger', path)).toContain(`<27>start: guest 'web1': ${says}`);
      expect(Date.now() - started).toBeLessThan(bound(20_000));
      expect(host.dump()).toBe(before);
    },
  };
}

const SCENARIOS: readonly Scenario[] = [
  hangs('ip that hangs when asked what there is', [{ ip: 'hang' }], { says: 'ip did not end within 10 s and was killed (reading the host)' }),
  hangs('ip that hangs instead of changing anything', [{ ip: 'hang' }, 2], { says: 'ip did not end within 10 s and was killed (changing the host)' }),
  hangs('bridge that hangs', [{ ip: 'filtering-on', bridge: 'hang' }], { xml: PORT, says: 'bridge did not end within 10 s and was killed (reading the VLANs of bridge ports)' }),
  {
    title: 'logger that hangs costs two seconds and refuses nobody',
    run: async (host) => {
      const path = host.tools({ logger: 'hang' });
      const started = Date.now();
      expect(await host.hook({ operation: 'start', xml: WIRED, path })).toEqual(DONE);
      expect(Date.now() - started).toBeLessThan(bound(8_000));
      expect(await host.hook({ operation: 'release', xml: WIRED, path })).toEqual(DONE);
    },
  },
  {
    title: 'ip that hangs at `reconnect` and `stopped` never fails them, and `release` does what is left',
    run: async (host) => {
      const before = host.dump();
      expect(await host.hook({ operation: 'start', xml: WIRED })).toEqual(DONE);
      const wired = host.dump();
      const path = host.tools({ ip: 'hang' });
      expect(await host.hook({ operation: 'reconnect', xml: WIRED, path })).toEqual(DONE);
      expect(host.dump()).toBe(wired);
      expect(await host.hook({ operation: 'stopped', xml: WIRED, path })).toEqual(DONE);
      expect(entriesOf(host)).toEqual(expect.arrayContaining([expect.stringMatching(/\.ended$/)]));
      expect(await host.hook({ operation: 'release', xml: WIRED })).toEqual(DONE);
      expect(host.dump()).toBe(before);
    },
  },
  {
    title: 'lock that somebody has: starts are refused after 30 s, ends are left to the next run, the rest does not wait',
    run: async (host) => {
      const before = host.dump();
      expect(await host.hook({ operation: 'start', ...OTHER })).toEqual(DONE);
      host.write('/run/guestwire.lock', "start of guest 'big1' (pid 42)\n", 0o600);
      const holder = spawn(
        'nsenter',
        ['--net', '--mount', '--target', host.target, 'flock', '/run/guestwire.lock', 'sleep', '1000'],
        { stdio: 'ignore' },
      );
      await until(() => host.sh('flock --nonblock /run/guestwire.lock true || echo held').trim() === 'held');
      const started = Date.now();
      const plain = await Promise.all(['prepare', 'start', 'reconnect', 'stopped', 'release'].map((operation) =>
        host.hook({ operation, guest: 'plain', xml: PLAIN })));
      expect(plain).toEqual([DONE, DONE, DONE, DONE, DONE]);
      expect(Date.now() - started).toBeLessThan(bound(5_000));
      const says = "guest 'web1': could not get lock '/run/guestwire.lock' within 30 s: held by start of guest 'big1' (pid 42)";
      const refused = { status: 1, stdout: '', stderr: `guestwire: ${says}\n` };
      const outcomes = await Promise.all([
        ...['prepare', 'start', 'reconnect'].map((operation) => host.hook({ operation, xml: WIRED })),
        ...['stopped', 'release'].map((operation) => host.hook({ operation, ...OTHER })),
      ]);
      expect(outcomes).toEqual([refused, refused, DONE, DONE, DONE]);
      const logged = host.recorded('logger');
      for (const operation of ['prepare', 'start', 'reconnect']) expect(logged).toContain(`<27>${operation}: ${says}`);
      for (const operation of ['stopped', 'release']) expect(logged).toContain(`<27>${operation}: guest 'db1': could not get lock '/run/guestwire.lock' within 10 s: held by start of guest 'big1' (pid 42)`);
      expect(entriesOf(host)).toEqual([`${OTHER_UUID}.ended`, `${OTHER_UUID}.json`]);
      host.sh(`pkill --parent ${String(holder.pid)} || true`);
      holder.kill('SIGKILL');
      await until(() => host.sh('flock --nonblock /run/guestwire.lock true || echo held').trim() === '');
      expect(await host.hook({ operation: 'prepare', xml: WIRED })).toEqual(DONE);
      expect(host.dump()).toBe(before);
    },
  },
];

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => { setTimeout(resolve, 50); });
}

let hosts: HookHost[] = [];
let results: Promise<PromiseSettledResult<void>[]> = Promise.resolve([]);

beforeAll(async () => {
  if (!canRun(...NEEDED)) return;
  hosts = await Promise.all(SCENARIOS.map(() => openHookHost()));
  results = Promise.allSettled(SCENARIOS.map(({ run }, index) => run(hosts[index] as HookHost)));
});
afterAll(() => { for (const host of hosts) host.close(); });

describe('a host with', () => {
  SCENARIOS.forEach(({ title }, index) => {
    hookTest(title, async () => {
      const result = (await results)[index];
      if (result?.status === 'rejected') throw result.reason;
      expect(hosts[index]?.sh(LEFT)).not.toMatch(/sleep 1000|node |fixtures|qemu/);
    });
  });
});
