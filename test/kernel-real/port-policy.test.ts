// @tier fast kernel
/**
 * Policies of VLAN ports as rules, and what a kernel makes of them; whom they let meet is test/lab/uml/policy.test.js's
 * matter.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import type { Wired } from '../../lib/attachments/kinds.js';
import { tableLines, TABLES } from '../../lib/filter/nft-tables.js';
import { nicFilter } from '../../lib/filter/nic-filter.js';
import { PORT_CONSTANTS, portPolicyRules } from '../../lib/filter/port-policy.js';
import { type Policy, trackedBy } from '../../lib/intent/policy.js';
import { tracksBridges } from '../../lib/kernel/nft-output.js';
import { nicLines } from '../../lib/state/nft.js';
import type { Exec } from '../../lib/system/exec.js';
import { port } from '../fakes/filter-xml.js';
import { testWith } from '../places/capability.js';
import { type Netns, openNetns } from '../places/netns.js';
import { hookIn } from '../places/routed-host.js';

function policyOf(words: string): Policy {
  const attachment = port(words);
  if (attachment?.kind !== 'vlan-port' || attachment.policy === undefined) throw new Error('no policy');
  return attachment.policy;
}

const IN = '<gw:allow direction="in" proto="tcp" port="443" from="2001:db8::/32,group:g"/>';
const OUT = '<gw:allow direction="out" proto="udp" port="53" to="192.0.2.53"/>';
const CLOSED = '<gw:policy profile="closed"/>';
const ISOLATED = '<gw:policy profile="isolated"/>';

const rulesOf = (words: string): ReturnType<typeof portPolicyRules> => portPolicyRules(policyOf(words), 7);
const textOf = (rules: ReturnType<typeof rulesOf>['in']): string[] | undefined =>
  rules?.map(({ match, verdict = 'drop' }) => `${match} ${verdict}`.trim());

describe('rules of a port', () => {
  test.each(['', '<gw:group name="g"/>', '<gw:policy profile="open" log="yes"/>'])('are none, and nothing is tracked, with %j', (words) => {
    expect(rulesOf(words))
      .toEqual({ member: ['guest-web1', ...(words.includes('group') ? ['group-g'] : [])], named: [] });
    expect(trackedBy(policyOf(words))).toBeUndefined();
  });

  test.each([
    [IN, '<gw:allow> 1 in its metadata'], [OUT + CLOSED, '<gw:allow> 1 in its metadata'],
    [ISOLATED, "profile 'isolated' (its metadata)"], [CLOSED, "profile 'closed' (its metadata)"],
  ])('of %j need tracking, by the word that is named', (words, word) => { expect(trackedBy(policyOf(words))).toBe(word); });

  test('let answers in that its own packets asked for, and no others', () => {
    for (const words of [IN, ISOLATED, CLOSED]) {
      expect(textOf(rulesOf(words).opens)).toEqual(['oif != 0 ct direction original ct mark set 7']);
      expect(textOf(rulesOf(words).in)?.filter((text) =>
        text.includes('ct state established') && !text.startsWith('iif 0 ')))
        .toEqual(['ct state established,related ct direction reply ct mark 7 accept']);
      expect(textOf(rulesOf(words).out)).toEqual(['goto opens_7']);
    }
    expect(rulesOf(OUT)).not.toHaveProperty('in');
    expect(textOf(rulesOf(OUT).out)?.slice(-2)).toEqual(['meta protocol ip ip daddr 192.0.2.53/32 udp dport { 53 } return', 'drop']);
  });

  test('let the world in or not before they ask anything else', () => {
    expect(textOf(rulesOf(ISOLATED).in)?.[0]).toBe('iif != @guests meta mark & 0x20000000 == 0 accept');
    for (const words of [IN, CLOSED, IN + ISOLATED]) expect(textOf(rulesOf(words).in)).not.toContain('iif != @guests meta mark & 0x20000000 == 0 accept');
    for (const words of [IN, CLOSED, ISOLATED]) expect(textOf(rulesOf(words).in)?.at(-1)).toBe('drop');
  });

  test.each<[string, string[]]>([
    [OUT, ['']],
    [OUT + ISOLATED, [' oif != @guests']],
    [OUT + IN, [' meta protocol ip6 ip6 daddr 2001:db8::/32 tcp sport { 443 }', ' oif @group-g tcp sport { 443 }', ' oif != @guests meta protocol ip6 icmpv6 type echo-reply', ' oif != @guests meta protocol ip icmp type echo-reply']],
    [OUT + CLOSED, [' oif != @guests meta protocol ip6 icmpv6 type echo-reply', ' oif != @guests meta protocol ip icmp type echo-reply']],
  ])('of %j let answers out to what may come in', (words, answers) => {
    const start = 'ct state established,related ct direction reply';
    expect(textOf(rulesOf(words).out)?.filter((text) => text.startsWith(start)))
      .toEqual(answers.map((answer) => `${start}${answer} return`));
  });

  test.each<[string, string[], string[]]>([
    ['<gw:allow direction="in"/><gw:allow direction="out"/>', ['meta protocol @internet accept'], ['meta protocol @internet goto opens_7']],
    ['<gw:allow direction="in" from="guest:a,192.0.2.0/24"/><gw:allow direction="out" to="group:b"/>',
      ['meta protocol @internet iif @guest-a accept', 'meta protocol ip ip saddr 192.0.2.0/24 accept'], ['meta protocol @internet oif @group-b goto opens_7']],
  ])('of %j permit IP and nothing else', (words, ...permitted) => {
    const texts = (['in', 'out'] as const).map((way) => rulesOf(words)[way]?.filter(({ why }) => why === 'allowed'));
    expect(texts.map(textOf)).toEqual(permitted);
    expect(PORT_CONSTANTS.get('internet')).toContain('elements = { ip, ip6 }');
  });

  test('look under a tag, as those against forgery do', () => {
    const all = ['in', 'out'] as const;
    const texts = all.flatMap((way) => textOf(rulesOf(IN + OUT)[way]) ?? []);
    for (const text of texts) expect(text.replaceAll(/meta protocol (ip6 ip6|ip ip) (saddr|daddr|frag-off)|meta protocol ip6 (icmpv6|udp|frag)|meta protocol ip (icmp|udp|meta l4proto)/g, '')).not.toMatch(/\b(ip6?|icmp|icmpv6) /);
  });
});

const WIRED: Wired = {
  kind: 'vlan-port', nic: 0, mac: '52:54:00:aa:bb:01', link: 'p0', ifindex: 7, bridge: 'br0', isolated: undefined,
  uplinks: [], vlans: [{ vid: 10, pvid: true, untagged: true }],
};

test('the table without such ports has no connection tracking', () => {
  const plain = [
    ...tableLines('bridge'),
    ...nicLines('bridge', nicFilter({ ...WIRED, policy: policyOf('<gw:group name="g"/>') }, 'bridge')
      ?? { chains: [], elements: [], named: [] }, WIRED),
  ];
  expect(plain.filter((line) => /\bct\b/.test(line))).toEqual([]);
  expect([...PORT_CONSTANTS.keys()].every((name) => TABLES.bridge.constants.has(name))).toBe(true);
});

/** Whether this kernel takes a rule that asks for the state of a bridge's connection. */
const TRACKS = spawnSync('unshare', ['--net', 'nft', '-f', '-'], { input: 'add table bridge x\nadd chain bridge x y\nadd rule bridge x y ct state new\n' }).status === 0;
const here = testWith('root', 'netns', 'nft');

describe('this kernel', () => {
  const execIn = (run: Netns['run']): Exec => ({ tool, args, input }) => {
    const { status, stdout, stderr } = run(tool, args, input === undefined ? {} : { input });
    return Promise.resolve({
      exitCode: status ?? 1, signal: undefined, errno: undefined, timedOut: false, stdout, stderr,
    });
  };

  here('is asked what it can, and holds nothing of the question', async () => {
    const netns = await openNetns();
    expect(await tracksBridges(execIn((...args) => netns.run(...args)))).toBe(TRACKS);
    expect(netns.sh('nft list ruleset')).toBe('');
    netns.close();
  });

  here('and a question that nft cannot put is an error', async () => {
    const refused: Exec = () => Promise.resolve({
      exitCode: 1, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: 'Operation not permitted (you must be root)\n',
    });
    await expect(tracksBridges(refused)).rejects.toThrow(/testing whether connections in bridges can be tracked.*Operation not permitted/s);
  });

  (TRACKS ? test.skip : here)(`refuses a guest before anything is changed where it cannot track${TRACKS ? ' (this kernel can)' : ''}`, async () => {
    const netns = await openNetns();
    const dir = mkdtempSync(join(tmpdir(), 'guestwire-portpolicy-'));
    netns.sh('ip link add br0 type bridge; ip tuntap add vnet0 mode tap; ip link set vnet0 master br0 up');
    const hook = hookIn(netns, dir);
    const xml = (words: string): string => '<domain type="kvm"><name>web1</name><uuid>4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01</uuid><metadata><gw:guestwire xmlns:gw="urn:guestwire:1"><gw:interface mac="52:54:00:aa:bb:01">'
      + `<gw:vlan><gw:tag id="10"/></gw:vlan>${words}</gw:interface></gw:guestwire></metadata><devices><interface type="bridge"><mac address="52:54:00:aa:bb:01"/><source bridge="br0"/><target dev="vnet0"/></interface></devices></domain>`;
    const before = netns.dump();
    for (const operation of ['prepare', 'start']) {
      const { status, stderr } = hook(operation, xml(ISOLATED));
      expect([status, stderr]).toEqual([1, expect.stringContaining("guest 'web1' NIC 0 (52:54:00:aa:bb:01): profile 'isolated' (its metadata) needs connection tracking in bridges, which this kernel lacks")]);
    }
    expect([netns.dump(), netns.sh('nft list ruleset'), existsSync(join(dir, 'state'))]).toEqual([before, '', false]);
    // Where only a name is asked for, it is not this that is in the way.
    expect(hook('start', xml('<gw:group name="g"/>')).stderr).not.toContain('tracked');
    netns.close();
    rmSync(dir, { recursive: true });
  }, 60_000);
});
