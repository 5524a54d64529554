// @tier kernel long
/**
 * Names a guest's XML can hold, on the real hook: data in every message, never words of a tool. See bad-input.test.ts.
 */
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { canRun, testWith } from '../places/capability.js';
import {
  domainXml, ethernetNic, type HookHost, openHookHost, routedXml, TAP_MAC, vlanXml,
} from '../places/hook-run.js';
import { COMING, expectDone, expectRefused, LIFE, type Refusal } from '../places/refused.js';
import { isLong } from '../tiers/bound.js';

const NEEDED = ['root', 'netns'] as const;
const hookTest = testWith(...NEEDED);

let host: HookHost;
beforeAll(async () => { if (canRun(...NEEDED)) host = await openHookHost(); });
afterAll(() => { if (canRun(...NEEDED)) host.close(); });

const ADDRESS = '2001:db8:0:10::a';

function refuse(rows: Readonly<Record<string, Refusal>>): void {
  for (const [at, [title, row]] of Object.entries(rows).entries())
    hookTest(title, () => expectRefused(host, { ...row, operations: at === 0 ? LIFE : COMING }));
}

describe('the MAC in the metadata', () => {
  const metadataOf = (mac: string, says: string, more = ''): Refusal => ({
    xml: domainXml({ metadata: routedXml([ADDRESS], mac) + more }), says: `guest 'web1': <gw:interface mac='${mac}'>: ${says}`,
  });
  refuse({
    'is no NIC\'s': metadataOf('52:54:00:aa:bb:09', "no NIC has this MAC, the guest has '52:54:00:aa:bb:01', '52:54:00:aa:bb:02': use one of its MACs, or add <mac address='52:54:00:aa:bb:09'/> to the intended <interface>"),
    'is that of two NICs': {
      ...metadataOf(TAP_MAC, 'the MAC matches NICs 0 and 1: give each NIC its own <mac address>'),
      xml: domainXml({ metadata: routedXml([ADDRESS]), nics: [ethernetNic({}), ethernetNic({ dev: 'vnet2' })] }),
    },
    'is none': metadataOf('eno1; reboot', "'eno1; reboot' is not a MAC address: write it like '52:54:00:aa:bb:01'"),
    'is there twice': metadataOf(TAP_MAC, 'the MAC is listed twice: merge the two <gw:interface> elements', routedXml(['192.0.2.1'])),
  });
});

describe('a word in the metadata', () => {
  const where = `guest 'web1': <gw:interface mac='${TAP_MAC}'>`;
  refuse({
    'that is misspelt': { xml: domainXml({ metadata: `<gw:interface mac="${TAP_MAC}"><gw:routd/></gw:interface>` }), says: `${where}: unknown element 'gw:routd': allowed are 'gw:vlan', 'gw:port', 'gw:routed', 'gw:trust', 'gw:policy', 'gw:allow', 'gw:group', 'gw:ip'` },
    'that is no attribute': { xml: domainXml({ metadata: `<gw:interface mac="${TAP_MAC}" vlan="10"/>` }), says: `${where}: unknown attribute 'vlan': only 'mac' is allowed` },
    'that asks for a VLAN on a tap without a bridge': { xml: domainXml({ metadata: vlanXml('<gw:tag id="10"/>', TAP_MAC) }), says: `guest 'web1' NIC 1 (${TAP_MAC}): interface type 'ethernet' joins no bridge, so it cannot be in a VLAN: use type 'bridge', or make it a routed link` },
    'that asks for a routed link on a bridge': { xml: domainXml({ metadata: routedXml([ADDRESS], '52:54:00:aa:bb:01') }), says: "guest 'web1' NIC 0 (52:54:00:aa:bb:01): interface type 'bridge' cannot be a routed link: use type 'ethernet'" },
  });
});

describe('a target name', () => {
  const target = (dev: string, says: string): Refusal => ({
    xml: domainXml({ metadata: routedXml([ADDRESS]), nics: [ethernetNic({ dev })] }),
    says: `guest 'web1' NIC 0 (${TAP_MAC}): ${says}`,
  });
  const odd = (dev: string, shown: string, character: string): Refusal =>
    target(dev, `target dev: interface name '${shown}' contains '${character}': allowed are letters, digits, '_', '.', '+' and '-'`);
  refuse({
    'with a space': odd('vnet 1', 'vnet 1', ' '),
    'with a newline': odd('vnet1&#10;up', 'vnet1\\nup', '\\n'),
    'with a semicolon': odd('vnet1;reboot', 'vnet1;reboot', ';'),
    'with a quote': odd('vnet1&quot;', 'vnet1"', '"'),
    'with a command in it': odd('$(reboot)', '$(reboot)', '$'),
    'with a slash': odd('../../x', '../../x', '/'),
    'with a letter beyond ASCII': odd('vnét1', 'vnét1', 'é'),
    'with a leading dash': target('-f', "target dev: interface name '-f' starts with a dash: tools would read it as an option"),
    'of 16 characters': target('a'.repeat(16), "target dev: interface name 'aaaaaaaaaaaaaaaa' has 16 characters: the kernel accepts at most 15"),
    'that is a dot': target('.', "target dev: interface name '.' starts with a dot: it would be a path, not a name"),
    'that the kernel keeps for all links': target('all', "target dev: interface name 'all' is reserved: the kernel uses it for the settings of all links"),
    'that is empty': target('', "target dev: interface name '' is empty"),
    'of a link that is not there': { ...target('vnet9', "link 'vnet9' does not exist: stop the guest and start it again"), at: ['start'] },
    'of a port of a bridge': { ...target('vnet0', "link 'vnet0' is a port of 'br0', so it cannot be a routed link: take it out with 'ip link set dev vnet0 nomaster'"), at: ['start'] },
  });
});

/** How a name shows in messages. */
const GUEST_NAMES: readonly (readonly [string, string])[] = [
  ['my web', 'my web'],
  [' web1 ', ' web1 '],
  ["it's", "it\\'s"],
  ['say "hi"', 'say "hi"'],
  ['web\n1', 'web\\n1'],
  ['web\t1', 'web\\t1'],
  ['a\\nb', 'a\\\\nb'],
  ['wéb-日本', 'wéb-日本'],
  ['\u202eabc', '\\u{202e}abc'],
  ['-f', '-f'],
  ['--', '--'],
  ['*', '*'],
  ['%s%n', '%s%n'],
  ['$(reboot)', '$(reboot)'],
  ['<uuid>', '<uuid>'],
  ['__proto__', '__proto__'],
  ['x'.repeat(300), `${'x'.repeat(200)}...`],
];

describe('a guest named', () => {
  for (const [at, [guest, shown]] of GUEST_NAMES.entries()) {
    const isWhole = isLong || at === 0;
    const xml = (addresses: string[]): string => domainXml({ name: guest, metadata: routedXml(addresses) });

    hookTest(`'${shown}' is refused under its name`, async () => {
      await expectRefused(host, {
        guest, xml: xml(['bogus']), bystander: domainXml({ name: guest }), operations: isWhole ? LIFE : COMING,
        says: `guest '${shown}' NIC 1 (${TAP_MAC}): address 'bogus' is not an IPv4 or IPv6 address`,
      });
    });

    hookTest(`'${shown}' is wired and released like any other`, async () => {
      const before = host.dump();
      await expectDone(host, isWhole ? ['prepare', 'start', 'reconnect'] : ['start'], { guest, xml: xml([ADDRESS]) });
      expect(host.sh('ip -6 route show proto 117')).toContain(ADDRESS);
      await expectDone(host, isWhole ? ['stopped', 'release'] : ['release'], { guest, xml: xml([ADDRESS]) });
      expect(host.dump()).toBe(before);
    });
  }
});
