// @tier fast kernel
/** The network-config of guests, as text and as netplan and a YAML parser read it. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import { parseConfig } from '../../lib/config/file.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { netplanFile, networkConfig } from '../../lib/serve/cloud-init.js';
import { testWith } from '../places/capability.js';
import { bridgeNic, domainXml, ethernetNic, routedXml, vlanXml } from '../places/hook-run.js';

const CONFIG = '[serve]\non = false\ndns = ["2001:db8::53", "192.0.2.53"]\nsearch = ["example.org"]\n';
const macOf = (n: number): string => `52:54:00:aa:bb:0${n}`;

function print(xml: string, config = CONFIG): string {
  const domain = parseDomain(xml);
  const host = parseConfig(config, 'c');
  return networkConfig(domain, deriveAttachments(domain, host), host);
}

const ALL = domainXml({
  metadata: [
    routedXml(['2001:db8:0:10::a', '192.0.2.10'], macOf(1)), routedXml(['2001:db8:0:10::b'], macOf(2)),
    vlanXml('<gw:tag id="10"/>', macOf(3)), vlanXml('<gw:tag id="10"/><gw:tag id="20-29"/>', macOf(4)),
    vlanXml('<gw:tag id="10" nativeMode="untagged"/><gw:tag id="20"/>', macOf(5)),
  ].join(''),
  nics: [ethernetNic({ mac: macOf(1) }), ethernetNic({ mac: macOf(2), dev: 'vnet2' }), ...[3, 4, 5, 6].map((n) =>
    bridgeNic({ mac: macOf(n), dev: `vnet${n}` }))],
});

const PRINTED = `version: 2
ethernets:
  nic0:
    match:
      macaddress: "52:54:00:aa:bb:01"
    dhcp4: false
    dhcp6: false
    accept-ra: false
    addresses:
      - "2001:db8:0:10::a/128"
      - "192.0.2.10/32"
    routes:
      - to: "::/0"
        via: "fe80::1"
        on-link: true
      - to: "0.0.0.0/0"
        via: "169.254.0.1"
        on-link: true
    nameservers:
      addresses: ["2001:db8::53", "192.0.2.53"]
      search: ["example.org"]
  nic1:
    match:
      macaddress: "52:54:00:aa:bb:02"
    dhcp4: false
    dhcp6: false
    accept-ra: false
    addresses:
      - "2001:db8:0:10::b/128"
    routes:
      - to: "::/0"
        via: "fe80::1"
        on-link: true
        metric: 2001
    nameservers:
      addresses: ["2001:db8::53"]
      search: ["example.org"]
  nic2:
    match:
      macaddress: "52:54:00:aa:bb:03"
    dhcp4: true
    dhcp6: true
    optional: true
  nic3:
    match:
      macaddress: "52:54:00:aa:bb:04"
    # VLANs 10,20-29 arrive tagged: define those that the guest needs under 'vlans:'.
    dhcp4: false
    dhcp6: false
    accept-ra: false
    optional: true
  nic4:
    match:
      macaddress: "52:54:00:aa:bb:05"
    # VLANs 20 arrive tagged: define those that the guest needs under 'vlans:'.
    dhcp4: true
    dhcp6: true
    optional: true
  # guestwire leaves NIC 5 (bridge) alone: configure it as its network requires.
`;

describe('the network-config of a guest', () => {
  test('has each NIC by its MAC', () => { expect(print(ALL)).toBe(PRINTED); });

  test('has no name servers without [serve], and the gateways of the host config', () => {
    const text = print(
      domainXml({ metadata: routedXml(['192.0.2.10']), nics: [ethernetNic({})] }),
      '[routed]\ngateways = ["192.0.2.1"]\n',
    );
    expect(text).not.toContain('nameservers');
    expect(text).toContain('via: "192.0.2.1"');
  });

  test('is empty for a guest that guestwire leaves alone, and for a NIC without a MAC', () => {
    expect(print(domainXml({ nics: [ethernetNic({})] }))).toBe('version: 2\n  # guestwire leaves NIC 0 (ethernet) alone: configure it as its network requires.\n');
  });

  testWith('netplan')('is what netplan makes of it for systemd-networkd', () => {
    const dir = mkdtempSync(join(tmpdir(), 'guestwire-netplan-'));
    mkdirSync(join(dir, 'etc/netplan'), { recursive: true });
    writeFileSync(join(dir, 'etc/netplan/50-guest.yaml'), netplanFile(print(ALL)), { mode: 0o600 });
    const { status, stderr } = spawnSync('netplan', ['generate', '--root-dir', dir], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const made = join(dir, 'run/systemd/network');
    expect(readdirSync(made).sort()).toEqual([0, 1, 2, 3, 4].map((n) => `10-netplan-nic${n}.network`));
    const first = readFileSync(join(made, '10-netplan-nic0.network'), 'utf8');
    for (const line of [
      'PermanentMACAddress=52:54:00:aa:bb:01', 'Address=2001:db8:0:10::a/128', 'Address=192.0.2.10/32',
      'DNS=2001:db8::53', 'Domains=example.org', 'IPv6AcceptRA=no',
      'Destination=::/0\nGateway=fe80::1\nGatewayOnLink=true',
      'Destination=0.0.0.0/0\nGateway=169.254.0.1\nGatewayOnLink=true',
    ]) {
      expect(first).toContain(line);
    }
    rmSync(dir, { recursive: true });
  });

  testWith('netplan')('is YAML to a parser that is not netplan', () => {
    const { status, stdout } = spawnSync('python3', ['-c', 'import sys, json, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))'], { encoding: 'utf8', input: print(ALL) });
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ version: 2, ethernets: {
      nic0: { match: { macaddress: macOf(1) }, addresses: ['2001:db8:0:10::a/128', '192.0.2.10/32'] },
      nic3: { dhcp4: false },
    } });
  });
});
