// @tier fast kernel
/**
 * What [serve] may say, and the text that dnsmasq, radvd and systemd are given for a link, as those programs read it.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import type { WiredRoutedLink } from '../../lib/attachments/routed-link/routed-link.js';
import type { Stored } from '../../lib/attachments/schema.js';
import { parseConfig } from '../../lib/config/file.js';
import { settingsFrom } from '../../lib/config/paths.js';
import type { ServeConfig } from '../../lib/config/serve-table.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { unitText } from '../../lib/install/units.js';
import { ADVERTISER, DHCP, FIRST_LEASES, servedLink, SERVICES } from '../../lib/serve/daemon-config.js';
import { wiredOf } from '../fakes/attachments.js';
import { POLICY } from '../fakes/policies.js';
import { testWith } from '../places/capability.js';
import { domainXml, ethernetNic, routedXml, UUID } from '../places/hook-run.js';

const serve = (text: string): ServeConfig => {
  const config = parseConfig(`[serve]\n${text}`, 'c').serve;
  if (config === undefined) throw new Error('no [serve]');
  return config;
};

describe('[serve] of the host config', () => {
  test('is off when absent, and has defaults', () => {
    expect(parseConfig('', 'c').serve).toBeUndefined();
    expect(serve('')).toEqual({
      on: true, dns: [], search: [], lifetime: 1800, lease: 120,
      address: { family: 'inet6', text: 'fd6a:92c1:7e05::1' },
    });
  });

  test.each([
    ['dns = ["x"]', "[serve] dns: address 'x' is not an IPv4 or IPv6 address"],
    ['dns = ["::"]', "[serve] dns: address '::' is the unspecified address"],
    ['dns = "::1"', "[serve] dns: must be a list, not the text '::1'"],
    ['search = ["a b"]', "[serve] search: 'a b' is not a domain name such as 'example.org'"],
    ['search = ["a;\\n}"]', "[serve] search: 'a;\\n}' is not a domain name such as 'example.org'"],
    ['search = ["example.org."]', "[serve] search: 'example.org.' is not a domain name such as 'example.org'"],
    ['lifetime = 11', "[serve] lifetime: '11' is not a whole number of seconds from 12 to 9000"],
    ['lifetime = 12.5', "[serve] lifetime: '12.5' is not a whole number of seconds from 12 to 9000"],
    ['lease = 119', "[serve] lease: '119' is not a whole number of seconds from 120 to 86400"],
    ['address = "fe80::2"', "[serve] address: 'fe80::2' is not an IPv6 address beyond link-local: choose one such as 'fd6a:92c1:7e05::1'"],
    ['address = "192.0.2.1"', "[serve] address: '192.0.2.1' is not an IPv6 address beyond link-local: choose one such as 'fd6a:92c1:7e05::1'"],
    ['dhcp = true', "[serve]: unknown key 'dhcp': allowed are 'on', 'dns', 'search', 'lifetime', 'lease', 'address'"],
  ])('%s is refused', (text, message) => {
    expect(() => serve(text)).toThrow(`config 'c': ${message}`);
  });

  test('gives every routed link with IPv6 the serving address, which no guest may claim', () => {
    const gatewaysOf = (config: string, addresses: string[]): unknown => deriveAttachments(
      parseDomain(domainXml({ metadata: routedXml(addresses), nics: [ethernetNic({})] })), parseConfig(config, 'c'),
    )
      .map((attachment) => attachment.kind === 'routed-link' && attachment.gateways.map(({ text }) => text));
    expect(gatewaysOf('[serve]\n', ['2001:db8::a', '192.0.2.1']))
      .toEqual([['169.254.0.1', 'fe80::1', 'fd6a:92c1:7e05::1']]);
    expect(gatewaysOf('[serve]\n', ['192.0.2.1'])).toEqual([['169.254.0.1']]);
    expect(gatewaysOf('[serve]\non = false\n', ['2001:db8::a'])).toEqual([['fe80::1']]);
    expect(() => gatewaysOf('[serve]\n', ['fd6a:92c1:7e05::1'])).toThrow("'fd6a:92c1:7e05::1' contains this host's gateway 'fd6a:92c1:7e05::1': give the guest another address");
  });
});

const TEXT: Stored<WiredRoutedLink> = {
  kind: 'routed-link', nic: 0, mac: '52:54:00:aa:bb:02', link: 'vnet0',
  ifindex: 17, table: 'main', protocol: 117, policy: POLICY,
  addresses: ['2001:db8:0:10::a', '192.0.2.10', '2001:db8:0:10::b', '192.0.2.11'],
  gateways: ['169.254.0.1', 'fe80::1', 'fd6a:92c1:7e05::1'],
  routes: [
    { to: '2001:db8:0:20::/64', via: '2001:db8:0:10::a' },
    { to: '2001:db8:0:4000::/56', via: '2001:db8:0:10::a' },
    { to: '198.51.100.0/24', via: '192.0.2.10' },
  ],
};
const LINK = wiredOf(TEXT);
const FULL = serve('dns = ["2001:db8::53", "192.0.2.53", "2001:db8::54"]\nsearch = ["example.org", "lab.example.org"]');
const HEAD = `# Written by guestwire for guest ${UUID} NIC 0, link vnet0 with ifindex 17.`;

describe('the configurations of a link', () => {
  test('of both families, with prefixes behind the guest', () => {
    const texts = servedLink(LINK, UUID, FULL)?.texts;
    expect(texts?.get(DHCP)?.split('\n')).toEqual([
      HEAD, 'port=0', 'bind-dynamic', 'except-interface=lo', 'interface=vnet0',
      'pid-file=', 'dhcp-authoritative', 'dhcp-rapid-commit', 'no-ping', 'dhcp-ignore=tag:!known',
      'shared-network=vnet0,192.0.2.10', 'shared-network=vnet0,2001:db8:0:10::a',
      'shared-network=vnet0,2001:db8:0:10::b',
      'dhcp-range=192.0.2.10,static,255.255.255.255,120', 'dhcp-range=2001:db8:0:10::a,static,128,120', 'dhcp-range=2001:db8:0:10::b,static,128,120',
      'dhcp-host=52:54:00:aa:bb:02,id:*,192.0.2.10,[2001:db8:0:10::a],[2001:db8:0:10::b]',
      'dhcp-option=option:router,169.254.0.1', 'dhcp-option=121,169.254.0.1/32,0.0.0.0,0.0.0.0/0,169.254.0.1',
      'dhcp-option=option:dns-server,192.0.2.53', 'dhcp-option=option:domain-name,example.org', 'dhcp-option=option:domain-search,example.org,lab.example.org',
      'dhcp-option=option6:dns-server,[2001:db8::53],[2001:db8::54]', 'dhcp-option=option6:domain-search,example.org,lab.example.org', '',
    ]);
    expect(texts?.get(ADVERTISER)?.split('\n')).toEqual([
      HEAD, 'interface vnet0 {', '  AdvSendAdvert on;', '  IgnoreIfMissing on;',
      '  AdvManagedFlag on;', '  AdvOtherConfigFlag on;', '  AdvCurHopLimit 0;',
      '  MinRtrAdvInterval 450;', '  MaxRtrAdvInterval 600;', '  AdvDefaultLifetime 1800;',
      '  AdvRetransTimer 200;', '  AdvRASrcAddress { fe80::1; };',
      '  prefix 2001:db8:0:20::/64 { AdvOnLink off; AdvAutonomous on; };',
      '  RDNSS 2001:db8::53 { AdvRDNSSLifetime 1800; };', '  RDNSS 2001:db8::54 { AdvRDNSSLifetime 1800; };', '  DNSSL example.org lab.example.org { AdvDNSSLLifetime 1800; };', '};', '',
    ]);
  });

  test('of one family are silent about the other', () => {
    const four = servedLink(
      wiredOf({ ...TEXT, addresses: ['192.0.2.10'], gateways: ['169.254.0.1'], routes: [] }), UUID, serve(''),
    );
    expect([...(four?.texts.keys() ?? [])]).toEqual([DHCP]);
    expect(four?.texts.get(DHCP)).not.toContain('2001:db8');
    const six = servedLink(
      wiredOf({ ...TEXT, addresses: ['2001:db8:0:10::a'], gateways: ['fe80::1'] }), UUID, serve(''),
    );
    expect(six?.texts.get(DHCP)).not.toMatch(/192\.0\.2|169\.254/);
  });

  test('are none for a VLAN port, and without a MAC nothing but advertisements', () => {
    expect(servedLink(
      {
        kind: 'vlan-port', nic: 0, mac: undefined, link: 'vnet0', ifindex: 1, bridge: 'br0', uplinks: [],
        isolated: undefined, vlans: [],
      },
      UUID,
      FULL,
    )).toBeUndefined();
    expect([...(servedLink({ ...LINK, mac: undefined }, UUID, FULL)?.texts.keys() ?? [])]).toEqual([ADVERTISER]);
  });

  test('hold no word of a damaged journal that would be another line', () => {
    expect(() => servedLink({ ...LINK, link: 'vnet0*' }, UUID, FULL)).toThrow("interface name 'vnet0*' contains '*'");
    expect([...(servedLink({ ...LINK, mac: 'x,ignore' }, UUID, FULL)?.texts.keys() ?? [])]).toEqual([ADVERTISER]);
  });

  testWith('serve')('are what dnsmasq and radvd accept, for the shortest and the longest lifetime too', () => {
    const dir = mkdtempSync(join(tmpdir(), 'guestwire-served-'));
    for (const config of [FULL, serve('lifetime = 12'), serve('lifetime = 9000')]) {
      // A link that is there, which dnsmasq looks for.
      const texts = servedLink({ ...LINK, link: 'lo' }, UUID, config)?.texts;
      for (const service of SERVICES) writeFileSync(join(dir, service.config), texts?.get(service) ?? '');
      const dnsmasq = spawnSync('dnsmasq', ['--test', `--conf-file=${dir}/dnsmasq.conf`], { encoding: 'utf8' });
      expect(dnsmasq).toMatchObject({ status: 0, stderr: 'dnsmasq: syntax check OK.\n' });
      const radvd = spawnSync(
        'radvd', ['--configtest', '--logmethod=stderr', `--config=${dir}/radvd.conf`], { encoding: 'utf8' },
      );
      expect(radvd).toMatchObject({ status: 0 });
    }
    rmSync(dir, { recursive: true });
  });

  test('begin with one identity of the server', () => {
    expect(FIRST_LEASES).toMatch(/^duid 00:03:00:01(:[0-9a-f]{2}){6}\n$/);
  });
});

describe("systemd's templates", () => {
  testWith('systemd', 'serve')('are what systemd accepts', () => {
    const dir = mkdtempSync(join(tmpdir(), 'guestwire-units-'));
    const instances = SERVICES.map((service) => {
      writeFileSync(join(dir, `${service.unit}@.service`), unitText(service, settingsFrom({})));
      return join(dir, `${service.unit}@vnet0.service`);
    });
    const { status, stdout, stderr } = spawnSync(
      'systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', ...instances], { encoding: 'utf8' },
    );
    expect({ status, stdout, stderr: stderr.split('\n').filter((line) => line.includes('guestwire')).join('\n') })
      .toEqual({ status: 0, stdout: '', stderr: '' });
    rmSync(dir, { recursive: true });
  });

  test('run what a person could run by hand', () => {
    expect(unitText(DHCP, settingsFrom({}))).toContain('\nExecStart=/usr/sbin/dnsmasq --keep-in-foreground --log-facility=- --conf-file=/run/guestwire.serve/%I/dnsmasq.conf --dhcp-leasefile=/run/guestwire.serve/%I/leases\n');
    expect(unitText(ADVERTISER, settingsFrom({}))).toContain('\nExecStart=/usr/sbin/radvd --nodaemon --logmethod=stderr --username=radvd --config=/run/guestwire.serve/%I/radvd.conf --pidfile=/run/guestwire.serve/%I/radvd.pid\n');
  });
});
