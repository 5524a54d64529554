// @tier kernel long
/**
 * A hook that is killed with `kill -9`: at every tool it runs, before the tool has done anything and while it does it.
 * What it leaves, the guest's next `start` or `release` sets right.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import {
  domainXml, DONE, ethernetNic, type HookHost, openHookHost, type Outcome, routedXml,
} from '../places/hook-run.js';
import { isLong } from '../tiers/bound.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });

const XML = domainXml({ metadata: routedXml(['2001:db8:0:10::a', '192.0.2.10']) });
const OTHER = {
  guest: 'db1',
  xml: domainXml({
    name: 'db1',
    uuid: '33333333-2222-3333-4444-555555555555',
    metadata: routedXml(['198.51.100.9'], '52:54:00:aa:bb:03'),
    nics: [ethernetNic({ mac: '52:54:00:aa:bb:03', dev: 'vnet2' })],
  }),
};
const KILLED: Outcome = { status: 1, stdout: '', stderr: "guestwire: guest 'web1': guestwire was killed by signal 9 before it was done\n" };
/**
 * libvirt would kill a running guest for any other status, and nothing can be refused any more when a guest has ended.
 */
const outcomeOfKilled = (operation: string): Outcome =>
  (operation === 'prepare' || operation === 'start' ? KILLED : DONE);

async function run(...operations: string[]): Promise<void> {
  for (const operation of operations)
    expect({ operation, ...await host.hook({ operation, xml: XML }) }).toEqual({ operation, ...DONE });
}

interface Around {
  readonly before: readonly string[];
  /** A shell script that is run after `before`. */
  readonly disturb?: string;
  readonly after: () => Promise<void>;
}

/** How many tool runs an operation has. */
const counts = new Map<string, number>();

/** Whether to kill at this tool run, the first of which is 1. */
type Choice = (at: number, count: number) => boolean;

/** The tier `long` kills at each tool run in each way. The other tiers take the first, the last, and turns between. */
const oneOf = (ways: number, way: number): Choice =>
  (at, count) => isLong || at === 1 || at === count || at % ways === way % ways;

/**
 * Kills `operation` at the tool runs that are chosen, in the state that the operations `before` make, and lets `after`
 * set it right each time. Returns how many tool runs there are.
 */
async function killAt(
  choice: Choice, kill: string, operation: string, { before, disturb, after }: Around,
): Promise<number> {
  const once = async (at: number): Promise<{ outcome: Outcome; calls: number }> => {
    await run(...before);
    if (disturb !== undefined) host.sh(disturb);
    const path = host.tools({ ip: kill, flock: kill, bridge: kill, nft: kill, logger: kill }, at);
    const outcome = await host.hook({ operation, xml: XML, path });
    const calls = readFileSync(host.outside(`${path}/calls`), 'utf8').trimEnd().split('\n').length;
    await after();
    return { outcome, calls };
  };
  const countOnce = async (): Promise<number> => {
    const { outcome, calls } = await once(Infinity);
    expect(outcome).toEqual(DONE);
    return calls;
  };
  const count = (isLong ? undefined : counts.get(operation)) ?? await countOnce();
  counts.set(operation, count);
  for (let at = 1; at <= count; at += 1) {
    if (!choice(at, count)) continue;
    const { outcome, calls } = await once(at);
    expect({ at, isReached: calls >= at, ...outcome }).toEqual({ at, isReached: true, ...outcomeOfKilled(operation) });
  }
  return count;
}

/** The last change may have been made after the hook was dead, so what is compared is the state after another run. */
let before: string;
let wired: string;
beforeAll(async () => {
  if (!canRun(...NEEDED)) return;
  before = host.dump();
  await run('prepare', 'start');
  wired = withoutTime(host.dump());
  await run('stopped', 'release');
  expect(host.dump()).toBe(before);
});

const KILLS: [kill: string, way: number][] = [['kill-hook-before', 0], ['kill-hook-after', 1]];

describe.each(KILLS)('%s: a hook killed at any tool it runs', (kill, way) => {
  const isAsBefore = (): void => { expect(host.dump()).toBe(before); };
  const isWired = (): void => { expect(withoutTime(host.dump())).toBe(wired); };

  hookTest('at `prepare` is made good by the next start', async () => {
    const count = await killAt(oneOf(2, way), kill, 'prepare', {
      before: [],
      after: async () => {
        await run('prepare', 'start');
        isWired();
        await run('stopped', 'release');
        isAsBefore();
      },
    });
    expect(count).toBeGreaterThanOrEqual(2);
  });

  hookTest('at `start` is made good by `stopped` and `release`', async () => {
    const count = await killAt(oneOf(3, way), kill, 'start', {
      before: ['prepare'],
      after: async () => {
        await run('stopped', 'release');
        isAsBefore();
      },
    });
    expect(count).toBeGreaterThanOrEqual(4);
  });

  hookTest('at `start` is made good by `release` alone, or by the next start', async () => {
    await killAt(oneOf(3, way + 1), kill, 'start', {
      before: ['prepare'],
      after: async () => {
        await run('release');
        isAsBefore();
      },
    });
    await killAt(oneOf(3, way + 2), kill, 'start', {
      before: ['prepare'],
      after: async () => {
        await run('prepare', 'start');
        isWired();
        await run('release');
        isAsBefore();
      },
    });
  });

  hookTest('at `reconnect` is made good by the next one', async () => {
    const count = await killAt(oneOf(2, way), kill, 'reconnect', {
      before: ['start'],
      // As after a reload of the host's network.
      disturb: 'ip route del 192.0.2.10 dev vnet1; ip address del 169.254.0.1/32 dev vnet1',
      after: async () => {
        await run('reconnect');
        isWired();
        await run('release');
        isAsBefore();
      },
    });
    expect(count).toBeGreaterThanOrEqual(4);
  });

  hookTest('at `stopped` is made good by `release`', async () => {
    const count = await killAt(oneOf(2, way), kill, 'stopped', {
      before: ['start'],
      after: async () => {
        await run('release');
        isAsBefore();
      },
    });
    expect(count).toBeGreaterThanOrEqual(4);
  });

  hookTest('at `release` is made good by the next run for any guest', async () => {
    const count = await killAt(oneOf(2, way), kill, 'release', {
      before: ['start'],
      after: async () => {
        expect(await host.hook({ operation: 'prepare', ...OTHER })).toEqual(DONE);
        isAsBefore();
      },
    });
    expect(count).toBeGreaterThanOrEqual(4);
  });
});

describe('a tool that outlives its hook', () => {
  hookTest('keeps the lock until its last change is made', async () => {
    const path = host.tools({ ip: 'outlive-hook' }, 2);
    expect(await host.hook({ operation: 'start', xml: XML, path })).toEqual(KILLED);
    expect(host.sh('ip route show proto 117')).toBe('');
    expect(host.sh('flock --nonblock /run/guestwire.lock true || echo held')).toBe('held\n');
    // Without the lock it would find nothing to take away, and the tool would wire the guest afterwards.
    await run('release');
    expect(host.dump()).toBe(before);
    host.sh('sleep 1');
    expect(host.dump()).toBe(before);
  });
});

/** When the guest was wired is in its entry. */
function withoutTime(dump: string): string {
  return dump.replace(/"since": ".*"/, '');
}
