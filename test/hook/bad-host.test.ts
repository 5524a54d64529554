// @tier kernel long
/**
 * What can be wrong with the host, on the real hook: its config, the tools, the state directory, the lock. A guest that
 * guestwire wires does not start, its user reads one sentence, nothing has changed; any other guest starts.
 */
import { existsSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import {
  domainXml, DONE, entriesOf, ethernetNic, type HookHost, openHookHost, PLAIN, routedXml, TAP_MAC, UUID, vlanXml,
} from '../places/hook-run.js';
import { COMING, expectDone, expectRefused, LIFE, type Refusal } from '../places/refused.js';
import { isLong } from '../tiers/bound.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });

const WIRED = domainXml({ metadata: routedXml(['2001:db8:0:10::a', '192.0.2.10']) });
const CONFIG = '/run/config.toml';
/** A guest that the config alone speaks of. */
const NAMED = { guest: 'named', xml: domainXml({ name: 'named', uuid: '44444444-2222-3333-4444-555555555555' }) };
const NAMES_IT = `[guest.named."${TAP_MAC}"]\nrouted = { ip = ["192.0.2.10"] }\n`;
const namedFor = (at: number): readonly string[] => (at === 0 ? LIFE : ['start']);

describe('a config', () => {
  afterEach(() => { if (canRun(...NEEDED)) host.sh(`rm -rf ${CONFIG}`); });

  const texts: Readonly<Record<string, readonly [text: string, says: string]>> = {
    'with an unknown key': ['[bridge.br0]\nuplink = ["eno1"]\n', "[bridge.br0]: unknown key 'uplink': allowed are 'uplinks', 'protected', 'allowed', 'trust', 'vid', 'parent', 'vlan', 'undeclared', 'filter'"],
    'with an unknown table': ['[brigde.br0]\n', "top level: unknown key 'brigde': allowed are 'bridge', 'routed', 'network', 'guest', 'serve', 'filter'"],
    'with text for a list': ['[bridge.br0]\nallowed = "10"\n', "[bridge.br0] allowed: must be a list of VLAN IDs such as [10, \"20-29\"], not the text '10'"],
    'with text for a number': ['[routed]\nprotocol = "static"\n', "[routed] protocol: must be a number, not the text 'static'"],
    'with a VLAN that is none': ['[bridge.br0]\nallowed = [4095]\n', "[bridge.br0] allowed: VLAN ID '4095' is outside 1-4094"],
    'with host bits in a prefix': ['[routed]\nprefixes = ["192.0.2.1/24"]\n', "[routed] prefixes: prefix '192.0.2.1/24' has host bits set: write '192.0.2.0/24'"],
    'with a bracket that is not closed': ['[bridge.br0\nallowed = [1]\n', 'line 1 column 12: illegal character in key'],
    'with a list that is not closed': ['[routed]\nprefixes = ["2001:db8::/60",\n', 'line 3 column 1: invalid value'],
    'with a table twice': ['[routed]\n[routed]\n', 'line 2 column 2: trying to redefine an already defined table or value'],
  };
  for (const [at, [title, [text, reason]]] of Object.entries(texts).entries()) {
    hookTest(`${title} refuses the guests it may be about and no other`, async () => {
      const says = `guest 'web1': config '${CONFIG}': ${reason}`;
      host.write(CONFIG, text);
      await expectRefused(host, { xml: WIRED, says, operations: at === 0 ? LIFE : COMING });
      // Behind the error, or the line and column would be others.
      host.write(CONFIG, text.includes('2001:db8::/60') ? `${text}] #\n${NAMES_IT}` : text + NAMES_IT);
      if (!text.includes('2001:db8::/60'))
        await expectRefused(host, { ...NAMED, says: says.replace('web1', 'named'), operations: namedFor(at) });
    });
  }

  const files: Readonly<Record<string, readonly [make: string, says: string]>> = {
    'of another user': [`chown 65534 ${CONFIG}`, 'belongs to user 65534: chown it to root'],
    'that its group can write': [`chmod 664 ${CONFIG}`, 'is writable by its group (mode 0664): chmod it to 0644'],
    'that others can write': [`chmod 646 ${CONFIG}`, 'is writable by others (mode 0646): chmod it to 0644'],
    'that all can write': [`chmod 666 ${CONFIG}`, 'is writable by its group and others (mode 0666): chmod it to 0644'],
    'that is not UTF-8': [`printf '# \\377\\n' >>${CONFIG}`, 'is not UTF-8 text: save it as UTF-8'],
    'of more than 1 MiB': [`head -c 1048576 /dev/zero | tr '\\0' '#' >>${CONFIG}`, 'is longer than 1 MiB, too long for a host config: put the right file there'],
  };
  for (const [at, [title, [make, reason]]] of Object.entries(files).entries()) {
    hookTest(`${title} refuses the guests it may be about and no other`, async () => {
      host.write(CONFIG, NAMES_IT);
      host.sh(make);
      await expectRefused(host, { xml: WIRED, says: `guest 'web1': config '${CONFIG}' ${reason}`, operations: at === 0 ? LIFE : COMING });
      const says = `guest 'named': config '${CONFIG}' ${reason}`;
      await expectRefused(host, { ...NAMED, says, operations: namedFor(at), bystander: null });
    });
  }

  const places: Readonly<Record<string, readonly [make: string, says: string]>> = {
    'that is a directory': [`mkdir ${CONFIG}`, 'is not a regular file'],
    'that is a named pipe': [`mkfifo ${CONFIG}`, 'is not a regular file'],
    'that is a link to nothing': [`ln -s /nowhere ${CONFIG}`, 'is a symbolic link to a missing file: restore the file or remove the link'],
    'that is a link to itself': [`ln -s config.toml ${CONFIG}`, 'cannot be opened: ELOOP: too many symbolic links encountered'],
  };
  for (const [at, [title, [make, reason]]] of Object.entries(places).entries()) {
    hookTest(`${title} refuses the guests whose XML asks and no other`, async () => {
      host.sh(make);
      await expectRefused(host, { xml: WIRED, says: `guest 'web1': config '${CONFIG}' ${reason}`, operations: at === 0 ? LIFE : COMING });
    });
  }

  hookTest('that is broken is no reason to refuse a guest with a name like one in it', async () => {
    host.write(CONFIG, `[[\n${NAMES_IT}`);
    for (const guest of ['name', 'named2', 'unnamed']) {
      expect(await host.hook({
        operation: 'start', guest, xml: domainXml({ name: guest, nics: [ethernetNic({ mac: '52:54:00:aa:bb:77' })] }),
      })).toEqual(DONE);
      expect(host.recorded('logger')).toContain(`<28>guest '${guest}' starts without the host config: config '${CONFIG}': line 1 column 3: illegal character in key`);
    }
  });
});

/** A VLAN port on a kernel that filters VLANs, whatever this one can. */
const PORT = domainXml({ metadata: vlanXml('<gw:tag id="10"/>') });

describe('a tool', () => {
  const rows: Readonly<
    Record<string, readonly [tools: Parameters<HookHost['tools']>, says: string, xml?: string, at?: Refusal['at']]>
  > = {
    'ip that is missing': [[{ ip: null }], "ip is not installed: no 'ip' in PATH, install package iproute2 (reading the host)"],
    'flock that is missing': [[{ flock: null }], "could not get lock '/run/guestwire.lock': flock is not installed: no 'flock' in PATH"],
    'bridge that is missing': [[{ ip: 'filtering-on', bridge: null }], "bridge is not installed: no 'bridge' in PATH, install package iproute2 (reading the VLANs of bridge ports)", PORT, ['start']],
    'ip that is killed': [[{ ip: 'die' }], 'ip was killed by SIGKILL (reading the host)'],
    'flock that is killed': [[{ flock: 'die' }], "could not get lock '/run/guestwire.lock': flock was killed by SIGKILL"],
    'nft that is missing': [[{ ip: 'filtering-on', nft: null }], "nft is not installed: no 'nft' in PATH, install package nftables (changing the host)", PORT, ['start']],
    'bridge that is killed': [[{ ip: 'filtering-on', bridge: 'die' }], 'bridge was killed by SIGKILL (reading the VLANs of bridge ports)', PORT, ['start']],
    'ip that prints no JSON': [[{ ip: 'print-no-json' }], "ip -json printed text that is not a JSON list: 'Segmentation fault'"],
    'bridge that prints no JSON': [[{ ip: 'filtering-on', bridge: 'print-no-json' }], "bridge -json printed text that is not a JSON list: ''", PORT, ['start']],
    'ip that is not allowed to read': [[{ ip: 'refuse' }], 'ip failed at line 1 (reading the host): RTNETLINK answers: Operation not permitted Command failed -:1'],
    'ip that fails': [[{ ip: 'exit-with-3' }], 'ip failed (reading the host): no such luck'],
    'flock that fails': [[{ flock: 'exit-with-3' }], "could not get lock '/run/guestwire.lock': no such luck"],
  };
  for (const [title, [[standIns], reason, xml = WIRED, at]] of Object.entries(rows)) {
    hookTest(title, async () => {
      await expectRefused(host, {
        xml, args: { path: host.tools(standIns) }, says: `guest 'web1': ${reason}`, ...(at === undefined ? {} : { at }),
        operations: title.endsWith('missing') ? LIFE : COMING,
      });
    });
  }

  hookTest('logger that is missing is no reason to refuse anybody', async () => {
    const path = host.tools({ logger: null });
    const before = host.dump();
    await expectDone(host, LIFE, { xml: WIRED, path });
    expect(host.dump()).toBe(before);
  });

  hookTest('nft that is killed may have done its work: the guest is refused, and remembered until nft runs again', async () => {
    const path = host.tools({ ip: 'filtering-on', nft: 'die' });
    const before = host.dump();
    const says = "guest 'web1': nft was killed by SIGKILL (changing the host); the rollback failed too: nft was killed by SIGKILL (reading the filter of family bridge)";
    expect(await host.hook({ operation: 'prepare', xml: PORT, path })).toEqual(DONE);
    expect(await host.hook({ operation: 'start', xml: PORT, path }))
      .toEqual({ status: 1, stdout: '', stderr: `guestwire: ${says}\n` });
    expect(host.recorded('logger', path)).toContain(`<27>start: ${says}`);
    await expectDone(host, ['reconnect', 'stopped', 'release'], { xml: PORT, path });
    await expectDone(host, LIFE, { guest: 'plain', xml: PLAIN, path });
    expect(host.dump()).toContain(`${UUID}.json`);
    await expectDone(host, ['release'], { xml: PORT, path: host.tools({ ip: 'filtering-on' }) });
    expect(host.dump()).toBe(before);
  });

  const held = "the kernel differs from what guestwire set: still to do: add address 169.254.0.1/32 on 'vnet1', add address fe80::1/64 on 'vnet1', add route 192.0.2.10/32 on 'vnet1' and 1 more";
  /** At `start`, `ip` is called to observe, and then to change and to observe again in one. */
  const halfway: Readonly<Record<string, readonly [tool: string, at: number, says: string]>> = {
    'prints other JSON': ['print-other-json', 1, "ip address: unexpected JSON at 'ifname' in '{\"name\":\"vnet1\",\"index\":7}'"],
    'is killed instead of changing anything': ['die', 2, 'ip was killed by SIGKILL (changing the host)'],
    'may not change anything': ['refuse', 2, "ip failed at line 1 (add address 169.254.0.1/32 on 'vnet1'): RTNETLINK answers: Operation not permitted Command failed -:1"],
    'stops halfway': ['fail-halfway', 2, "ip failed at line 4 (add route 2001:db8:0:10::a/128 on 'vnet1'): RTNETLINK answers: No buffer space available Command failed -:4"],
    'is killed when it has changed everything': ['die-after', 2, 'ip was killed by SIGKILL (changing the host)'],
    'claims to have changed everything': ['only-answer', 2, held],
    'prints no JSON when asked what it changed': ['print-no-json', 2, 'ip -json printed 6 answers to 2 commands, of which 0 failed'],
    'prints nothing when asked what it changed': ['ignore-input', 2, 'ip -json printed 0 answers to 2 commands, of which 0 failed'],
  };
  for (const [title, [tool, at, reason]] of Object.entries(halfway)) {
    hookTest(`ip that ${title} leaves the host as it was`, async () => {
      const before = host.dump();
      const path = host.tools({ ip: tool }, at);
      expect(await host.hook({ operation: 'start', xml: WIRED, path }))
        .toEqual({ status: 1, stdout: '', stderr: `guestwire: guest 'web1': ${reason}\n` });
      expect(host.recorded('logger', path)).toContain(`<27>start: guest 'web1': ${reason}`);
      expect(host.dump()).toBe(before);
    });
  }

  hookTest('ip that stops halfway and cannot go back either: `release` does what is left', async () => {
    const before = host.dump();
    const path = host.tools({ ip: 'fail-halfway-for-good' });
    const full = 'RTNETLINK answers: No buffer space available';
    const says = `guest 'web1': ip failed at line 4 (add route 2001:db8:0:10::a/128 on 'vnet1'): ${full} Command failed -:4; the rollback failed too: ip failed at line 1 (remove route 192.0.2.10/32 on 'vnet1'): ${full} Command failed -:1`;
    expect(await host.hook({ operation: 'start', xml: WIRED, path }))
      .toEqual({ status: 1, stdout: '', stderr: `guestwire: ${says}\n` });
    expect(await host.hook({ operation: 'stopped', xml: WIRED, path })).toEqual(DONE);
    expect(entriesOf(host)).toEqual([`${UUID}.ended`, `${UUID}.json`]);
    expect(await host.hook({ operation: 'release', xml: WIRED })).toEqual(DONE);
    expect(host.dump()).toBe(before);
  });

  hookTest('ip that fails at `release`: the next run for any guest does what is left', async () => {
    const before = host.dump();
    await expectDone(host, ['start'], { xml: WIRED });
    const path = host.tools({ ip: 'die' });
    await expectDone(host, ['stopped', 'release'], { xml: WIRED, path });
    expect(host.recorded('logger', path)).toContain("<27>release: guest 'web1': ip was killed by SIGKILL (reading the host)");
    const other = { guest: 'db1', xml: domainXml({
      name: 'db1', uuid: '33333333-2222-3333-4444-555555555555', metadata: routedXml(['198.51.100.9']),
    }) };
    expect(await host.hook({ operation: 'prepare', ...other })).toEqual(DONE);
    expect(host.dump()).toBe(before);
  });

  hookTest('node that is missing', async () => {
    const node = '/usr/bin/node';
    if (!existsSync(node)) throw new Error(`this machine lacks ${node}`);
    const says = "node is not installed: install it as /usr/bin/node (apt-get install nodejs), or remove guestwire's part from the guest's XML";
    host.sh(`mount --bind /dev/null ${node}`);
    try {
      await expectRefused(host, { xml: WIRED, says: `guest 'web1': ${says}`, unlogged: true });
      expect(host.recorded('logger')).toEqual('prepare start reconnect stopped release'.split(' ').map((operation) =>
        `logger --tag guestwire --priority daemon.err -- ${operation}: guest 'web1': ${says}`));
    } finally {
      host.sh(`umount ${node}`);
    }
  });
});

describe('a host where', () => {
  const lock = "lock '/run/guestwire.lock'";
  const entry = `journal: cannot write '/run/guestwire/${UUID}.json'`;
  const unsafe = 'it must belong to root with mode 0700';
  const fill = 'mount -o remount,size=4M /run; dd if=/dev/zero of=/run/filler 2>/dev/null || true';
  const free = 'rm /run/filler; mount -o remount,size=64M /run';
  const rows: Readonly<Record<string, { make: string; undo: string; says: string; but?: Partial<Refusal> }>> = {
    '/run is read-only': {
      make: 'mount -o remount,ro /run', undo: 'mount -o remount,rw /run',
      says: `${lock} cannot be opened: EROFS: read-only file system`, but: { unlogged: true },
    },
    '/run is full': { make: fill, undo: free, says: `${entry}: ENOSPC: no space left on device`, but: { unlogged: true, at: ['start'] } },
    '/run has no room for another file': { make: 'rm -f /run/guestwire.lock /run/tools/*/*.log; mount -o remount,nr_inodes=$(($(find /run | wc -l) + 20)) /run; while mkdir /run/filler$((i = i + 1)) 2>/dev/null; do :; done', undo: 'rmdir /run/filler*; mount -o remount,nr_inodes=99999 /run', says: `${lock} cannot be opened: ENOSPC: no space left on device`, but: { unlogged: true } },
    'the state directory is another user\'s': { make: 'rmdir /run/guestwire; mkdir -m 700 /run/guestwire; chown 65534 /run/guestwire', undo: 'rmdir /run/guestwire', says: `journal '/run/guestwire' is writable by other users (owner 65534, mode 0700): ${unsafe}` },
    'others can write to the state directory': { make: 'mkdir -p /run/guestwire; chmod 777 /run/guestwire', undo: 'rmdir /run/guestwire', says: `journal '/run/guestwire' is writable by other users (owner 0, mode 0777): ${unsafe}` },
    'the state directory is a file': { make: 'rmdir /run/guestwire; echo >/run/guestwire', undo: 'rm /run/guestwire', says: "journal: cannot read '/run/guestwire': ENOTDIR: not a directory" },
    'the state directory is a link to nothing': { make: 'rmdir /run/guestwire; ln -s /nowhere/here /run/guestwire', undo: 'rm /run/guestwire', says: "journal: cannot make '/run/guestwire': ENOENT: no such file or directory", but: { at: ['start'] } },
    'the lock is a link': { make: 'ln -sf /etc/passwd /run/guestwire.lock', undo: 'rm /run/guestwire.lock', says: `${lock} cannot be opened: ELOOP: too many symbolic links encountered` },
    'the lock is a directory': { make: 'rm /run/guestwire.lock; mkdir /run/guestwire.lock', undo: 'rmdir /run/guestwire.lock', says: `${lock} cannot be opened: EISDIR: illegal operation on a directory` },
    'the lock is another user\'s': { make: 'chown 65534 /run/guestwire.lock', undo: 'rm /run/guestwire.lock', says: `${lock} belongs to user 65534: remove it` },
    'others can open the lock': { make: 'chmod 644 /run/guestwire.lock', undo: 'rm /run/guestwire.lock', says: `${lock} is open to other users (mode 0644): remove it` },
    'the hook is not root': {
      make: ':', undo: ':', says: `${lock} cannot be opened: EACCES: permission denied`,
      but: { unlogged: true, args: { through: ['/usr/bin/setpriv', '--reuid', '65534', '--clear-groups'] } },
    },
  };
  beforeEach(() => { if (canRun(...NEEDED)) host.sh('mkdir -p /run/guestwire; touch /run/guestwire.lock; chmod 600 /run/guestwire.lock'); });
  for (const [at, [title, { make, undo, says, but }]] of Object.entries(rows).entries()) {
    hookTest(title, async () => {
      host.write(CONFIG, '[guest.other."52:54:00:aa:bb:99"]\nvlan = { tags = [10] }\n');
      host.sh(make);
      try {
        // One row goes on of those about /run, one about the state directory, one about the lock.
        const operations = at % 4 === 0 ? LIFE : COMING;
        await expectRefused(host, { xml: WIRED, says: `guest 'web1': ${says}`, operations, ...but });
      } finally {
        host.sh(undo);
      }
    });
  }

  hookTest('/run is full releases a guest all the same', async () => {
    const before = host.dump();
    expect(await host.hook({ operation: 'start', xml: WIRED })).toEqual(DONE);
    host.sh(fill);
    await expectDone(host, ['reconnect', 'stopped', 'release'], { xml: WIRED });
    host.sh(free);
    expect(host.dump()).toBe(before);
  });

  hookTest('/run is read-only releases a guest when it is no longer', async () => {
    const before = host.dump();
    await expectDone(host, ['start'], { xml: WIRED });
    host.sh('mount -o remount,ro /run');
    await expectDone(host, ['reconnect', 'stopped', 'release'], { xml: WIRED });
    host.sh('mount -o remount,rw /run');
    await expectDone(host, ['prepare'], { xml: WIRED });
    expect(host.dump()).toBe(before);
  });
});

describe('a journal entry that', () => {
  const whole = `"version":1,"guest":{"name":"web1","uuid":"${UUID}"},"since":"2026-01-01T00:00:00.000Z","incoming":false`;
  const link = '"kind":"routed-link","nic":1,"mac":"52:54:00:aa:bb:02","ifindex":6,"addresses":[],"routes":[],"gateways":[],"table":"main","protocol":117';
  const entries: Readonly<Record<string, string>> = {
    'is empty': '',
    'ends too soon': '{"version":1,"gue',
    'is of another version': `{${whole.replace('1', '2')},"wired":[],"original":[]}`,
    'lacks what a routed link has': `{${whole},"wired":[{"kind":"routed-link","nic":1,"link":"vnet1","ifindex":6}],"original":[]}`,
    'holds a line for ip in a name': `{${whole},"wired":[{${link},"link":"vnet1\\nlink del eno1"}],"original":[]}`,
    'holds a line for ip in an address': `{${whole},"wired":[{${link},"link":"vnet1"}],"original":[{"kind":"address","dev":"vnet1","address":"192.0.2.1/32 dev lo\\nlink del eno1\\n","length":32}]}`,
  };
  const lives = [['prepare', 'start', 'stopped', 'release'], ['reconnect', 'release'], ['stopped', 'release']];
  for (const [at, [title, text]] of Object.entries(entries).entries()) {
    hookTest(`${title} is said to be damaged and keeps nobody from starting or ending`, async () => {
      const damaged = `<28>journal '/run/guestwire/${UUID}.json' is damaged and is treated as empty: the wiring that it recorded stays`;
      const before = host.dump();
      // The first entry has each life, and the others take turns. The tier `long` has all of both.
      for (const operations of isLong || at === 0 ? lives : lives.slice(at % 3, at % 3 + 1)) {
        host.write(`/run/guestwire/${UUID}.json`, text, 0o600);
        host.recorded('logger');
        await expectDone(host, operations.slice(0, 1), { xml: WIRED });
        expect(host.recorded('logger').filter((line) => line === damaged)).toHaveLength(1);
        await expectDone(host, operations.slice(1), { xml: WIRED });
        expect(host.dump()).toBe(before);
      }
    });
  }
});
