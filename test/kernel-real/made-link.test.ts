// @tier kernel
/**
 * Links that guestwire makes, on a real kernel: made at `prepare`, kept from `stopped` to `release`, gone after it,
 * whatever dies in between. libvirt's part, the macvtap, is done by hand here.
 */
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import { domainXml, DONE, entriesOf, type HookHost, openHookHost, type Outcome, UUID } from '../places/hook-run.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);
const MAC = '52:54:00:aa:bb:02';
const WHERE = `guest 'web1' NIC 0 (${MAC})`;

let host: HookHost;
let before: string;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });
beforeEach(() => {
  if (!canRun(...NEEDED)) return;
  host.sh('for link in web1 web1g other; do ip link del $link 2>/dev/null || true; done');
  rmSync(host.outside('/run/guestwire'), { recursive: true, force: true });
  before = host.dump();
});

function metadataOf(veth: string, addresses = ['2001:db8:0:10::a', '192.0.2.10']): string {
  return `<gw:interface mac="${MAC}"><gw:routed>${veth}${addresses.map((address) => `<gw:ip address="${address}"/>`).join('')}</gw:routed></gw:interface>`;
}

function direct(target = ''): string {
  return `<interface type='direct'><mac address='${MAC}'/><source dev='web1g' mode='passthrough'/>${target}</interface>`;
}

const VETH = metadataOf('<gw:veth dev="web1" mtu="1400"/>');
/** As libvirt prints it before and after it has made the macvtap. */
const COMING = domainXml({ metadata: VETH, nics: [direct()] });
const LIVE = domainXml({ metadata: VETH, nics: [direct("<target dev='mvt0'/>")] });
const MACVTAP = 'ip link add link web1g name mvt0 type macvtap mode passthru';
const TAP = domainXml({ metadata: metadataOf(''), nics: [`<interface type='ethernet'><mac address='${MAC}'/><target dev='web1' managed='no'/><mtu size='1400'/></interface>`] });

async function run(xml: string, ...operations: string[]): Promise<void> {
  for (const operation of operations)
    expect({ operation, ...await host.hook({ operation, xml }) }).toEqual({ operation, ...DONE });
}

/** Without ages, and without what depends on which links there were before. */
function linkOf(dev: string): string {
  return host.sh(`ip -details -oneline link show dev ${dev}`).replace(/\\\s*/g, ' ');
}

describe('a veth pair', () => {
  hookTest('is there after `prepare`, wired at `start`, kept by `stopped`, gone after `release`', async () => {
    await run(COMING, 'prepare');
    for (const end of ['web1', 'web1g']) expect(linkOf(end)).toMatch(new RegExp(`${end}@.* mtu 1400 .* state DOWN .* alias guestwire:${UUID}`));
    expect(host.sh('cat /proc/sys/net/ipv6/conf/web1g/disable_ipv6 /proc/sys/net/ipv6/conf/web1/disable_ipv6')).toBe('1\n0\n');
    const shown = (): string => host.sh('ip link show dev web1; ip address show dev web1').replace(/ qdisc \w+/g, '');
    const made = shown();
    host.sh(MACVTAP);
    await run(LIVE, 'start');
    expect(host.sh('ip route show proto 117; ip -6 route show proto 117').replace(/ linkdown/g, '')).toBe(
      '192.0.2.10 dev web1 scope link \n2001:db8:0:10::a dev web1 metric 1024 pref medium\n');
    expect(host.sh('ip -br address show dev web1')).toMatch(/169\.254\.0\.1\/32 .*fe80::1\/64/);
    expect(linkOf('mvt0')).toMatch(/[<,]ALLMULTI[,>].* allmulti 1 /);
    expect(host.sh('cat /proc/sys/net/ipv6/conf/mvt0/disable_ipv6')).toBe('1\n');
    const wired = host.dump();
    await run(LIVE, 'reconnect');
    expect(host.dump()).toBe(wired);
    host.sh('ip link del mvt0');
    await run(COMING, 'stopped');
    expect(shown()).toBe(made);
    expect(host.sh('ip route show proto 117; ip -6 route show proto 117')).toBe('');
    await run(COMING, 'release');
    expect(host.dump()).toBe(before);
    expect(entriesOf(host)).toEqual([]);
  });

  hookTest('is put right by `reconnect`, also when the state is gone, and then released', async () => {
    await run(COMING, 'prepare');
    host.sh(MACVTAP);
    await run(LIVE, 'start');
    const wired = host.sh('ip link; ip address; ip route; ip -6 route');
    rmSync(host.outside('/run/guestwire'), { recursive: true });
    host.sh('ip link set mvt0 allmulticast off; echo 0 >/proc/sys/net/ipv6/conf/mvt0/disable_ipv6; echo 0 >/proc/sys/net/ipv6/conf/web1g/disable_ipv6; ip link set web1 mtu 1500; ip route del 192.0.2.10');
    await run(LIVE, 'reconnect');
    expect(host.sh('ip link; ip address; ip route; ip -6 route')).toBe(wired);
    expect(host.sh('cat /proc/sys/net/ipv6/conf/web1g/disable_ipv6 /proc/sys/net/ipv6/conf/mvt0/disable_ipv6')).toBe('1\n1\n');
    await run(COMING, 'stopped', 'release');
    expect(host.dump()).toBe(before);
  });

  hookTest('stays, as all its wiring, under a running guest whose XML says nothing any more, until `release`', async () => {
    await run(COMING, 'prepare');
    host.sh(MACVTAP);
    await run(LIVE, 'start');
    const wired = host.dump();
    await run(domainXml({ nics: [direct("<target dev='mvt0'/>")] }), 'reconnect');
    expect(host.dump()).toBe(wired);
    await run(COMING, 'stopped', 'release');
    expect(host.dump()).toBe(before);
  });

  hookTest('is made anew by the next `prepare` when no `release` came, and adopted when even the state is gone', async () => {
    await run(COMING, 'prepare');
    const first = host.sh('cat /sys/class/net/web1/ifindex');
    host.sh('ip address add 203.0.113.77/32 dev web1');
    await run(COMING, 'prepare');
    expect(host.sh('cat /sys/class/net/web1/ifindex')).not.toBe(first);
    expect(host.sh('ip address show dev web1')).not.toContain('203.0.113.77');
    rmSync(host.outside('/run/guestwire'), { recursive: true });
    await run(COMING, 'prepare', 'release');
    expect(host.dump()).toBe(before);
  });

  hookTest('is not touched when it is not the one that was made', async () => {
    await run(COMING, 'prepare');
    host.sh('ip link del web1; ip link add web1 type veth peer name web1g');
    const others = host.sh('ip link');
    await run(COMING, 'stopped', 'release');
    expect(host.sh('ip link')).toBe(others);
    expect(entriesOf(host)).toEqual([]);
  });

  hookTest('whose name is taken is refused, and nothing changes', async () => {
    host.sh('ip link add web1 type bridge');
    const taken = host.dump();
    expect(await host.hook({ operation: 'prepare', xml: COMING })).toEqual({ status: 1, stdout: '', stderr:
      `guestwire: ${WHERE}: link 'web1' exists already, and guestwire did not make it: remove that link ('ip link del web1') or name another in <gw:veth dev>\n` });
    await run(COMING, 'stopped', 'release');
    expect(host.dump()).toBe(taken);
    host.sh('ip link del web1');
    expect(host.dump()).toBe(before);
  });

  hookTest('that another guest has is refused by its name', async () => {
    await run(COMING, 'prepare');
    const other = domainXml({
      name: 'db1', uuid: '33333333-2222-3333-4444-555555555555',
      metadata: metadataOf('<gw:veth dev="web1"/>', ['192.0.2.99']),
      nics: [direct()],
    });
    expect(await host.hook({ operation: 'prepare', guest: 'db1', xml: other })).toEqual({ status: 1, stdout: '', stderr:
      `guestwire: guest 'db1' NIC 0 (${MAC}): link 'web1' belongs to guest 'web1': give one of the two another name\n` });
    await run(COMING, 'release');
    expect(host.dump()).toBe(before);
  });

  hookTest('that could be made by half only is taken away again', async () => {
    const path = host.tools({ ip: 'fail-halfway' }, 2);
    expect(await host.hook({ operation: 'prepare', xml: COMING, path })).toEqual({ status: 1, stdout: '', stderr:
      "guestwire: guest 'web1': ip failed at line 4 (add mtu 1400 of 'web1' on 'web1'): RTNETLINK answers: No buffer space available Command failed -:4\n" });
    expect(host.dump()).toBe(before);
    expect(entriesOf(host)).toEqual([]);
  });

  hookTest('that went between `prepare` and `start` is a refusal that says so', async () => {
    await run(COMING, 'prepare');
    host.sh('ip link del web1; ip link add web1 type veth peer name web1g; ip link add link web1g name mvt0 type macvtap mode passthru');
    const { stderr } = await host.hook({ operation: 'start', xml: LIVE });
    expect(stderr).toBe(`guestwire: ${WHERE}: link 'web1' is not the veth pair with 'web1g' that guestwire makes for this guest at its start: stop the guest and start it again\n`);
  });
});

describe('a veth pair that lxc takes', () => {
  hookTest('is reached both ways when libvirt has put its macvlan into the container', async () => {
    const xml = domainXml({
      metadata: metadataOf('<gw:veth dev="web1"/>'), nics: [direct("<guest dev='eth0' actual='macvlan0'/><mtu size='1400'/>")],
    }).replace("type='kvm'", "type='lxc'");
    await run(xml, 'prepare');
    // libvirt gives the end below it the guest's MAC, too: in this mode the macvlan takes its own from there.
    host.sh(`ip link set web1g address ${MAC}; ip link add link web1g name macvlan0 type macvlan mode passthru`);
    await run(xml, 'start');
    // What the lxc driver does next, by its controller and in the container.
    host.sh('unshare --net sleep 60 >/dev/null 2>&1 & echo $! >/run/container; sleep 0.3; ip link set macvlan0 netns $(cat /run/container)');
    const inside = 'nsenter --net --target $(cat /run/container)';
    host.sh(`${inside} sh -ec 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; ip link set macvlan0 name eth0; ip link set eth0 up; ip address add 2001:db8:0:10::a/128 dev eth0; ip address add 192.0.2.10/32 dev eth0; ip -6 route add default via fe80::1 dev eth0; ip route add 169.254.0.1 dev eth0; ip route add default via 169.254.0.1 dev eth0'`);
    for (const address of ['2001:db8:0:10::a', '192.0.2.10']) host.sh(`ip neigh flush dev web1; ping -c 1 -W 5 ${address}`);
    for (const address of ['2001:db8:ffff::2', '203.0.113.2']) host.sh(`${inside} sh -c 'ip neigh flush dev eth0; ping -c 1 -W 5 ${address}'`);
    expect(host.sh(`${inside} ip link show dev eth0`)).toContain(' mtu 1400 ');
    host.sh('kill $(cat /run/container); rm /run/container');
    await run(xml, 'stopped', 'release');
    expect(host.dump()).toBe(before);
  });
});

describe('an unmanaged tap', () => {
  hookTest('is made for root alone, with its MTU, wired at `start` and gone after `release`', async () => {
    await run(TAP, 'prepare');
    expect(linkOf('web1')).toMatch(new RegExp(`web1: .* mtu 1400 .* state DOWN .* tun type tap pi off .*persist on user root .*alias guestwire:${UUID}`));
    await run(TAP, 'start');
    expect(host.sh('ip route show proto 117; ip -br link show dev web1')).toMatch(/^192\.0\.2\.10 dev web1 scope link linkdown \nweb1 .*[<,]UP[,>]/);
    await run(TAP, 'stopped');
    expect(linkOf('web1')).toContain('state DOWN');
    await run(TAP, 'release');
    expect(host.dump()).toBe(before);
  });

  hookTest('can be opened as often as the NIC has queues', async () => {
    await run(TAP.replace('<mtu', "<driver queues='4'/><mtu"), 'prepare');
    expect(linkOf('web1')).toContain(' multi_queue ');
    await run(TAP, 'release');
    expect(host.dump()).toBe(before);
  });
});

describe.each([
  ['a veth pair', COMING, LIVE, MACVTAP],
  ['an unmanaged tap', TAP, TAP, ':'],
])('%s and a hook that is killed', (_, coming, live, libvirt) => {
  const KILLED: Outcome = { status: 1, stdout: '', stderr: "guestwire: guest 'web1': guestwire was killed by signal 9 before it was done\n" };

  /** Kills at each tool run, until there is none left. */
  async function killAtEach(kill: string, operation: 'prepare' | 'start', after: () => Promise<void>): Promise<number> {
    for (let at = 1; ; at += 1) {
      if (operation === 'start') {
        await run(coming, 'prepare');
        host.sh(libvirt);
      }
      const path = host.tools({ ip: kill, flock: kill, logger: kill }, at);
      const outcome = await host.hook({ operation, xml: operation === 'start' ? live : coming, path });
      const isOver = Number(host.sh(`wc -l <${path}/calls`)) < at;
      expect({ at, ...outcome }).toEqual({ at, ...(isOver ? DONE : KILLED) });
      await after();
      expect({ at, dump: host.dump() }).toEqual({ at, dump: before });
      if (isOver) return at - 1;
    }
  }

  for (const kill of ['kill-hook-before', 'kill-hook-after']) {
    hookTest(`at \`prepare\` (${kill}) leaves nothing after \`release\`, nor after the next start`, async () => {
      expect(await killAtEach(kill, 'prepare', () => run(coming, 'stopped', 'release'))).toBeGreaterThanOrEqual(3);
      await killAtEach(kill, 'prepare', async () => {
        await run(coming, 'prepare');
        host.sh(libvirt);
        await run(live, 'start');
        await run(coming, 'release');
      });
    });

    hookTest(`at \`start\` (${kill}) leaves nothing after \`release\``, async () => {
      expect(await killAtEach(kill, 'start', () => run(coming, 'stopped', 'release'))).toBeGreaterThanOrEqual(3);
    });
  }

  hookTest('undoes what a tool did that was killed after it', async () => {
    const path = host.tools({ ip: 'die-after' }, 2);
    expect((await host.hook({ operation: 'prepare', xml: coming, path })).stderr).toMatch(/^guestwire: guest 'web1': ip was killed by SIG/);
    expect(host.dump()).toBe(before);
    expect(entriesOf(host)).toEqual([]);
  });
});
