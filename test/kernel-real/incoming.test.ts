// @tier kernel
/**
 * An incoming migration, as the destination's hook sees it: `migrate`, then `prepare` and `start` of a guest that runs
 * elsewhere.
 */
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { metadata, nic } from '../fakes/guest-xml.js';
import { testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';

const kernelTest = testWith('root', 'netns');
const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';
const MAC = '52:54:00:aa:bb:02';
const XML = `<domain type='kvm'><name>web1</name><uuid>${UUID}</uuid><metadata>${metadata({ mac: MAC, ips: ['192.0.2.10'] })}</metadata><devices>${nic(MAC, 'vnet1')}</devices></domain>`;
const DONE = { status: 0, stdout: '', stderr: '' };

let netns: Netns;
let dir: string;
const state = (): string => join(dir, 'state');
const config = (text: string): void => { writeFileSync(join(dir, 'config.toml'), text, { mode: 0o600 }); };

beforeAll(async () => { netns = await openNetns(); });
afterAll(() => { netns.close(); });
afterEach(() => { rmSync(dir, { recursive: true, force: true }); });
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-migrate-'));
  netns.sh('ip link del vnet1 2>/dev/null || true; sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1; ip tuntap add vnet1 mode tap; ip link set vnet1 up');
});

function hook(operation: string): { status: number | null; stdout: string; stderr: string } {
  return netns.run(resolve('hooks/qemu'), ['web1', operation, 'begin', '-'], {
    input: XML, env: { GUESTWIRE_STATE_DIR: state(), GUESTWIRE_CONFIG: join(dir, 'config.toml') },
  });
}

const routes = (): string => netns.sh('ip route show proto 117');
const gateways = (): string => netns.sh('ip -br address show dev vnet1');

describe('an incoming guest with routed links', () => {
  kernelTest('is refused where nothing would tell when it runs', () => {
    expect(hook('migrate')).toEqual({ status: 1, stdout: '', stderr:
      `guestwire: guest 'web1' NIC 0 (${MAC}): a guest with routed links cannot migrate here without an agent: run 'guestwire install --agent', or set 'migration = "manual"' in [routed] and reconcile after its arrival\n` });
  });

  kernelTest('has its gateways but no route until it runs here; reconnect completes it', () => {
    config('[routed]\nmigration = "manual"\n');
    expect(hook('migrate')).toEqual(DONE);
    expect(readdirSync(state())).toEqual([`${UUID}.incoming`]);
    expect(hook('prepare')).toEqual(DONE);
    expect(readdirSync(state())).toEqual([`${UUID}.json`]);
    expect(hook('start')).toEqual(DONE);
    expect(gateways()).toContain('169.254.0.1/32');
    expect(routes()).toBe('');
    expect(hook('reconnect')).toEqual(DONE);
    expect(routes()).toContain('192.0.2.10 dev vnet1');
    expect(hook('stopped')).toEqual(DONE);
    expect(hook('release')).toEqual(DONE);
    expect(readdirSync(state())).toEqual([]);
  });

  kernelTest('is a fresh one when the announcement is more than a minute old, and the next time in any case', () => {
    config('[routed]\nmigration = "manual"\n');
    expect(hook('migrate')).toEqual(DONE);
    const longAgo = Date.now() / 1000 - 61;
    utimesSync(join(state(), `${UUID}.incoming`), longAgo, longAgo);
    expect(hook('prepare')).toEqual(DONE);
    expect(readdirSync(state())).toEqual([]);
    expect(hook('start')).toEqual(DONE);
    expect(routes()).toContain('192.0.2.10 dev vnet1');
  });

  kernelTest('that fails on the way in leaves nothing', () => {
    config('[routed]\nmigration = "manual"\n');
    const before = netns.dump();
    for (const operation of ['migrate', 'prepare', 'stopped', 'release']) expect(hook(operation)).toEqual(DONE);
    expect(netns.dump()).toBe(before);
    expect(readdirSync(state())).toEqual([]);
  });
});
