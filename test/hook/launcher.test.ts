// @tier kernel long
/**
 * hooks/qemu, the launcher: which guests and operations end in it, and what it does when node cannot be had or goes
 * wrong.
 */
import { readdirSync, realpathSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { canRun, type Capability, testWith } from '../places/capability.js';
import { hookAll } from '../places/hook-batch.js';
import {
  bridgeNic, domainXml, DONE, entriesOf, ethernetNic, PLAIN, routedXml, UUID,
} from '../places/hook-run.js';
import { type NodelessHost, openNodelessHost } from '../places/nodeless-host.js';
import { bound, isLong } from '../tiers/bound.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: NodelessHost;
let usual: string;
beforeAll(async () => {
  if (!canRun(...NEEDED)) return;
  host = await openNodelessHost();
  usual = host.tools({});
});
afterAll(() => { if (canRun(...NEEDED)) host.close(); });
beforeEach(() => {
  if (!canRun(...NEEDED)) return;
  const made = readdirSync(host.outside('/run')).filter((name) => /^(guestwire|config\.toml|node\..*)$/.test(name));
  for (const name of made) rmSync(host.outside(`/run/${name}`), { recursive: true });
  host.recorded('logger');
  host.write('/run/node.exit', '0');
});

/** Every operation of libvirt 9 to 12 for a domain, and one that is not there yet. */
const OPERATIONS = [
  'migrate', 'restore', 'prepare', 'start', 'started', 'reconnect', 'attach', 'stopped', 'release', 'levitate',
];
const COMING = ['migrate', 'prepare', 'start', 'reconnect'];
const GOING = ['reconnect', 'stopped', 'release'];

/** Runs the operations, expects that none fails or says anything, and returns those that got to node. */
async function callsOf(
  xml: string, through: readonly string[] = [], operations: readonly string[] = OPERATIONS,
): Promise<string[]> {
  const ended = await hookAll(host, usual, operations.map((operation) => ({ operation, guest: 'web1', xml, through })));
  expect(ended.map((outcome, at) => ({ operation: operations[at], ...outcome })))
    .toMatchObject(operations.map((operation) => ({ operation, ...DONE })));
  return operations.filter((_, at) => ended[at]?.gotToNode);
}

/** The tier `long` has every operation in every shell. The others have every one in sh, and turns in other shells. */
function operationsIn(shell: string, at: number): readonly string[] {
  if (isLong || shell === 'sh') return OPERATIONS;
  const turns = [COMING, GOING, OPERATIONS].map((list) => list[at % list.length]);
  return OPERATIONS.filter((operation) => turns.includes(operation));
}

const vlanNic = (attributes: string, inside = "<source bridge='br0'/>"): string =>
  domainXml({ nics: [`<interface ${attributes}>\n  <mac address='52:54:00:aa:bb:01'/>\n  ${inside}\n  <vlan>\n    <tag id='42'/>\n  </vlan>\n</interface>\n`] });
const OVS = "<source bridge='ovs0'/><virtualport type='openvswitch'>\n  <parameters interfaceid='1'/>\n</virtualport>";

const BRIDGED = domainXml({ nics: [bridgeNic({ bridge: 'br30' })] });
const NETWORKED = "<interface type='network'>\n      <mac address='52:54:00:aa:bb:01'/>\n      <source network='v30'/>\n    </interface>\n";

interface Case {
  readonly xml: string;
  readonly config?: string;
  /** Names of empty files in the state directory. */
  readonly state?: readonly string[];
  readonly calls: readonly string[];
}

const plainOf = (uuid: string): string => PLAIN.replace(/<uuid>.*<\/uuid>/, uuid);
const CASES: Readonly<Record<string, Case>> = {
  'a guest that nothing speaks of': { xml: PLAIN, calls: [] },
  'a guest whose metadata speaks of it': {
    xml: domainXml({ metadata: routedXml(['192.0.2.1']) }), calls: [...COMING, 'stopped', 'release'],
  },
  'a <vlan> on a bridge': { xml: vlanNic("type='bridge'"), calls: COMING },
  'a <vlan> on a libvirt network': { xml: vlanNic("type='network'", "<source network='lan'/>"), calls: COMING },
  'a <vlan> on a NIC with attributes': { xml: vlanNic("type='bridge' trustGuestRxFilters='yes'"), calls: COMING },
  'a <vlan> on a bridge named openvswitch': { xml: vlanNic("type='bridge'", "<source bridge='openvswitch'/>"), calls: COMING },
  'a <vlan> on Open vSwitch': { xml: vlanNic("type='bridge'", OVS), calls: [] },
  'a <vlan> on Open vSwitch, in front of it': { xml: vlanNic("type='bridge'", '').replace('</interface>', `${OVS}</interface>`), calls: [] },
  'a <vlan> on a virtual function': { xml: vlanNic("type='hostdev' managed='yes'", ''), calls: [] },
  'a <vlan> on macvtap': { xml: vlanNic("type='direct'", "<source dev='eno1' mode='passthrough'/>"), calls: [] },
  'a <vlan> on Open vSwitch and one on a bridge': { xml: vlanNic("type='bridge'", OVS).replace('<devices>', `<devices>${bridgeNic({ more: "<vlan><tag id='1'/></vlan>" })}`), calls: COMING },
  'a <vlan> on a bridge and one on a virtual function': { xml: vlanNic("type='hostdev'").replace('<devices>', `<devices>${bridgeNic({ more: "<vlan><tag id='1'/></vlan>" })}`), calls: COMING },
  'a <vlan> in an XML that ends there': { xml: vlanNic("type='bridge'").split('</vlan>')[0] ?? '', calls: COMING },
  'a config about bridges': { xml: PLAIN, config: '[bridge.br0]\nuplinks = ["eno1"]\n[routed]\nprotocol = 118\n', calls: [] },
  'a config about guests': { xml: PLAIN, config: '[bridge.br0]\n[guest.db1."52:54:00:aa:bb:01"]\nisolated = true\n', calls: COMING },
  'a config about networks': { xml: PLAIN, config: '[network.lan.portgroup.dmz]\nvlan = { tags = [30] }\n', calls: COMING },
  'a config about guests in inline tables': { xml: PLAIN, config: 'guest = { db1 = {} }\n', calls: COMING },
  'a config about guests by escapes': { xml: PLAIN, config: '["gu\\u0065st".db1]\n', calls: COMING },
  'a config with a bridge of one VLAN': { xml: BRIDGED, config: '[bridge.br30]\nvid = 30\nparent = "eno1"\n', calls: COMING },
  'a config with bridges of one VLAN': { xml: BRIDGED, config: '[bridge."br{vid}"]\nparent = "eno1"\nallowed = [30]\n', calls: COMING },
  'a config with a bridge of one VLAN in inline tables': { xml: BRIDGED, config: 'bridge={br30={vid=30,parent="eno1"}}\n', calls: COMING },
  'a config with a bridge of one VLAN, and a guest of a libvirt network': { xml: domainXml({ nics: [NETWORKED] }), config: '[bridge.br30]\nvid = 30\nparent = "eno1"\n', calls: COMING },
  'a config with the bridge of a libvirt network': { xml: domainXml({ nics: [NETWORKED] }), config: '[network.v30]\nbridge = "br30"\n', calls: COMING },
  'a config with a bridge of one VLAN, and a guest without a bridge': { xml: domainXml({ nics: [ethernetNic({})] }), config: '[bridge.br30]\nvid = 30\nparent = "eno1"\n', calls: [] },
  'a config with other bridges alone': { xml: BRIDGED, config: '[bridge.br0]\nuplinks = ["vid1"]\nallowed = ["1-2"]\n', calls: [] },
  'a config with a VLAN for NICs that name none': { xml: BRIDGED, config: '[bridge.br30]\nvlan = { tags = [10] }\n', calls: COMING },
  'a config with a VLAN for NICs that name none in inline tables': { xml: BRIDGED, config: 'bridge={br30={vlan={tags=[10]}}}\n', calls: COMING },
  'a config that refuses undeclared NICs': { xml: BRIDGED, config: '[bridge]\nbr30.undeclared = "refuse"\n', calls: COMING },
  'a config that filters all NICs of a bridge': { xml: BRIDGED, config: '[bridge.br30]\nfilter="all"\n', calls: COMING },
  'a config that filters all NICs of a bridge by a key in quotes': { xml: BRIDGED, config: 'bridge={br30={"filter" = "all"}}\n', calls: COMING },
  'a config about filters': { xml: BRIDGED, config: '[filter]\nlog = true\n', calls: [] },
  'a config with a comment about a bridge of one VLAN': { xml: BRIDGED, config: '[bridge.br0] # no vid = 30\n', calls: [] },
  'a config with a comment about guests': { xml: PLAIN, config: '# [guest.web1]\n[bridge.br0] # for guests of the network\n', calls: [] },
  'a config that is no text': { xml: PLAIN, config: '\0\0\0', calls: [] },
  'an entry of its own': { xml: plainOf(`<uuid>${UUID}</uuid>`), state: [`${UUID}.json`], calls: GOING },
  'an entry of its own that was being written': { xml: plainOf(`<uuid>${UUID}</uuid>`), state: [`${UUID}.json.draft`], calls: GOING },
  'an entry of another guest': { xml: PLAIN, state: [`${UUID}.json`], calls: [] },
  'an entry, and an XML without a UUID': { xml: plainOf(''), state: [`${UUID}.json`], calls: GOING },
  'an entry, and an XML whose UUID would be a path': { xml: plainOf('<uuid>../../etc/passwd</uuid>'), state: [`${UUID}.json`], calls: GOING },
  'no entry, and an XML that is none': { xml: 'nonsense', state: [], calls: [] },
};

/** As on Debian, where another run in dash tells nothing new. */
const SH_IS_DASH = realpathSync('/bin/sh') === '/usr/bin/dash';

describe('node is called', () => {
  const shells: readonly (readonly [name: string, words: readonly string[], capability: readonly Capability[]])[] = [
    ['sh', [], []], ...(SH_IS_DASH ? [] : [['dash', ['/usr/bin/dash'], ['dash']] as const]),
    ['bash --posix', ['/usr/bin/bash', '--posix'], ['bash']], ['busybox sh', ['/usr/bin/busybox', 'sh'], ['busybox']],
  ];
  for (const [at, [title, { xml, config, state = [], calls }]] of Object.entries(CASES).entries()) {
    for (const [shell, through, capability] of shells) {
      testWith(...NEEDED, ...capability)(`for ${title}: ${calls.join(', ') || 'never'} (${shell})`, async () => {
        if (config !== undefined) host.write('/run/config.toml', config);
        for (const name of state) host.write(`/run/guestwire/${name}`, '');
        const operations = operationsIn(shell, at);
        expect(await callsOf(xml, through, operations)).toEqual(calls.filter((call) => operations.includes(call)));
      });
    }
  }

  hookTest('with the arguments and the XML as libvirt gave them, in a clean environment', async () => {
    const xml = domainXml({ metadata: routedXml(['192.0.2.1']), name: 'wéb "1"' }).trimEnd();
    const env = { NODE_OPTIONS: '--inspect', NODE_EXTRA_CA_CERTS: '/x', LC_ALL: 'de_DE.UTF-8' };
    expect(await host.hook({ operation: 'start', guest: 'wéb "1"', xml, env })).toEqual(DONE);
    expect(host.noted()).toEqual(['/run/checkout/hooks/../dist/hook.cjs wéb "1" start begin - C', String(Buffer.byteLength(xml))]);
  });

  hookTest('from the checkout that a link leads to', () => {
    host.sh('mkdir -p /run/hooks.d; ln -sfn /run/checkout/hooks/qemu /run/hooks.d/guestwire');
    const linked = host.sh(`printf '%s' 'urn:guestwire:1' | /run/hooks.d/guestwire web1 start begin -`);
    expect(linked).toBe('');
    expect(host.noted()[0]).toBe('/run/checkout/hooks/../dist/hook.cjs web1 start begin - C');
  });

  hookTest('with no more than 4 MiB and a byte, within seconds', async () => {
    const filler = '<x:y a="b">text</x:y>\n'.repeat(200_000);
    const big = (xml: string): string => xml.replace('<devices>', `<metadata>${filler}</metadata><devices>`);
    const started = Date.now();
    expect(await callsOf(big(PLAIN))).toEqual([]);
    expect(await callsOf(big(vlanNic("type='bridge'", OVS)))).toEqual([]);
    host.write(`/run/guestwire/${UUID}.json`, '');
    expect(await callsOf(big(PLAIN))).toEqual([]);
    expect(await callsOf(big(PLAIN.replace(/<uuid>.*<\/uuid>/, '')))).toEqual(GOING);
    expect(Date.now() - started).toBeLessThan(bound(40_000));
    expect(await host.hook({ operation: 'start', xml: `urn:guestwire:1${'x'.repeat(5 * 1024 * 1024)}` })).toEqual(DONE);
    expect(host.noted().at(-1)).toBe('4194305');
  });

  hookTest('when nothing can tell whether a <vlan> is libvirt\'s own business', async () => {
    expect(await host.hook({ operation: 'start', xml: vlanNic("type='bridge'", OVS), path: host.tools({ awk: null }) }))
      .toEqual(DONE);
    expect(host.noted()).toHaveLength(2);
  });

  hookTest('never without an operation, which is wrong usage', () => {
    expect(host.run('/run/checkout/hooks/qemu', ['web1'])).toEqual({
      status: 2, stdout: '', stderr: 'guestwire: libvirt calls this hook as: qemu GUEST OPERATION SUB-OPERATION EXTRA, with the domain XML on standard input\n',
    });
  });
});

const WIRED = domainXml({ metadata: routedXml(['192.0.2.1']) });
const NAMED = domainXml({ name: 'named' });

describe('when node goes wrong', () => {
  const crash = 'guestwire crashed, please report it: /x.cjs:1 throw new Error("x") ^ Error: x at y';
  const ends: Readonly<Record<string, readonly [exit: string, says: string]>> = {
    'with an exception': ['1', crash],
    'with a status nobody knows': ['7', crash],
    'by a signal': ['kill', 'guestwire was killed by signal 9 before it was done'],
  };
  const refusal = (guest: string, says = crash): unknown =>
    ({ status: 1, stdout: '', stderr: `guestwire: guest '${guest}': ${says}\n` });
  const wrong = (exit: string): void => {
    host.write('/run/node.exit', exit);
    host.write('/run/node.stderr', '\n/x.cjs:1\nthrow new Error("x")\n^\n\nError: x\n    at y\n');
  };
  for (const [title, [exit, says]] of Object.entries(ends)) {
    hookTest(`${title}, a guest that asks for something is refused and nobody else`, async () => {
      host.write('/run/config.toml', '[guest.named."52:54:00:aa:bb:01"]\nisolated = true\n');
      wrong(exit);
      for (const operation of ['migrate', 'prepare', 'start']) {
        expect(await host.hook({ operation, xml: WIRED })).toEqual(refusal('web1', says));
        expect(await host.hook({ operation, guest: 'named', xml: NAMED })).toEqual(refusal('named', says));
        expect(await host.hook({ operation, guest: 'plain', xml: PLAIN })).toEqual(DONE);
        expect(host.recorded('logger')).toEqual(['web1', 'named', 'plain'].map((guest) => `logger --tag guestwire --priority daemon.err -- ${operation}: guest '${guest}': ${says}`));
      }
      expect(host.noted()).toHaveLength(18);
    });

    hookTest(`${title}, no running guest is killed and an ended one is left to the next run`, async () => {
      wrong(exit);
      host.write(`/run/guestwire/${UUID}.json`, '{}', 0o600);
      for (const operation of GOING) expect(await host.hook({ operation, xml: WIRED })).toEqual(DONE);
      expect(entriesOf(host)).toEqual([`${UUID}.ended`, `${UUID}.json`]);
      expect(host.recorded('logger')).toEqual(GOING.map((operation) => `logger --tag guestwire --priority daemon.err -- ${operation}: guest 'web1': ${says}`));
    });
  }

  hookTest('without a word, its status is told', async () => {
    host.write('/run/node.exit', '1');
    expect(await host.hook({ operation: 'start', xml: WIRED })).toEqual({ status: 1, stdout: '', stderr: "guestwire: guest 'web1': guestwire crashed, please report it: status 1, without output\n" });
  });

  hookTest('with a refusal, its sentence is passed on and the status is 1', async () => {
    host.write('/run/node.exit', '3');
    host.write('/run/node.stderr', "guestwire: guest 'web1': no\n");
    expect(await host.hook({ operation: 'start', xml: WIRED })).toEqual(refusal('web1', 'no'));
    expect(host.recorded('logger')).toEqual([]);
  });

  hookTest('and the state directory cannot be written, an ended guest is no error either', async () => {
    wrong('1');
    host.write(`/run/guestwire/${UUID}.json`, '{}', 0o600);
    host.sh('mount -t tmpfs -o ro,mode=700 tmpfs /run/guestwire');
    try {
      host.sh('mount -o remount,rw /run/guestwire; touch /run/guestwire/11111111-2222-3333-4444-555555555555.json; mount -o remount,ro /run/guestwire');
      expect(await host.hook({ operation: 'release', xml: WIRED })).toEqual(DONE);
    } finally {
      host.sh('umount /run/guestwire');
    }
  });

  hookTest('a newline in the name of a guest does not make two lines of the message', async () => {
    wrong('1');
    expect(await host.hook({ operation: 'start', guest: 'a\nb\\nc', xml: WIRED })).toEqual(refusal('a b\\nc'));
  });

  hookTest('because guestwire is gone, it says how to get it back', async () => {
    host.sh('mv /run/checkout/dist /run/checkout/gone');
    try {
      const says = "guest 'web1': '/run/checkout/hooks/../dist/hook.cjs' is missing: run 'guestwire install' again, or 'npm run build' in a checkout";
      expect(await host.hook({ operation: 'start', xml: WIRED }))
        .toEqual({ status: 1, stdout: '', stderr: `guestwire: ${says}\n` });
      expect(await host.hook({ operation: 'start', guest: 'plain', xml: PLAIN })).toEqual(DONE);
      expect(await host.hook({ operation: 'reconnect', xml: WIRED })).toEqual(DONE);
    } finally {
      host.sh('mv /run/checkout/gone /run/checkout/dist');
    }
  });
});
