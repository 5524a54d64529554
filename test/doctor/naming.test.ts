// @tier fast
/** What `doctor` finds about names that mean nothing on this host, and about NICs that no source mentions. */
import { describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import { parseConfig } from '../../lib/config/file.js';
import { namingFindings } from '../../lib/doctor/naming.js';
import { parseDomain } from '../../lib/domain/domain.js';
import { GuestwireError } from '../../lib/errors.js';

const MAC = { a: '52:54:00:aa:bb:01', b: '52:54:00:aa:bb:02', c: '52:54:00:aa:bb:03' };
const UUID = '4dea22b3-1d52-4d0e-9a0c-6d2f9d1f2c01';

const ethernet = (mac: string): string => `<interface type='ethernet'><mac address='${mac}'/></interface>`;
const bridged = (mac: string, more = ''): string => `<interface type='bridge'><mac address='${mac}'/><source bridge='br0'/>${more}</interface>`;
const routed = (mac: string, ip: string, more = ''): string => `<gw:interface mac='${mac}'><gw:routed><gw:ip address='${ip}'/></gw:routed>${more}</gw:interface>`;

interface Guest {
  readonly name: string;
  readonly nics: string;
  readonly metadata?: string;
}

function findings(guests: readonly Guest[], text = '', allBridges: readonly string[] = ['br0']): string[] {
  const config = parseConfig(text, 'config.toml');
  const defined = guests.map(({ name, nics, metadata = '' }) => {
    const domain = parseDomain(`<domain><name>${name}</name><uuid>${UUID}</uuid><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>${metadata}</gw:guestwire></metadata><devices>${nics}</devices></domain>`);
    try {
      return { domain, attachments: deriveAttachments(domain, config) };
    } catch (error) {
      expect(error).toBeInstanceOf(GuestwireError);
      return { domain, attachments: undefined };
    }
  });
  const asked = defined.map(({ domain: { name: guest }, attachments = [] }) => ({ guest, attachments }));
  return namingFindings({ config, defined, asked, allBridges }).map(({ severity, what }) => `${severity}: ${what}`);
}

const WEB: Guest = { name: 'web1', nics: ethernet(MAC.a), metadata: routed(MAC.a, '192.0.2.10') };
const TABLE = `."${MAC.b}"]\nrouted = { ip = ["192.0.2.20"] }\n`;

describe('a table of the host config', () => {
  test.each([
    ['for a guest of that name', 'app1', '[guest.app1', []],
    ['for the UUID of a guest', 'app2', `[guest."${UUID}"`, []],
    ['for a guest that was renamed', 'app2', '[guest.app1', [
      "warning: [guest.app1] of the host config names no guest of this host, and guest 'app2' has a NIC with a MAC of that table",
      "note: nothing mentions guest 'app2' NIC 0 (52:54:00:aa:bb:02)",
    ]],
  ])('%s', (_, name, header, found) => {
    expect(findings([WEB, { name, nics: ethernet(MAC.b) }], `${header}${TABLE}`)).toEqual(found);
  });

  test('for a guest that is nowhere', () => {
    expect(findings([WEB], `[guest.gone${TABLE}`)).toEqual(['note: [guest.gone] of the host config names no guest of this host']);
  });

  test('for a bridge that does not exist; one that guestwire makes need not exist', () => {
    expect(findings([WEB], '[bridge.br9]\n[bridge.br30]\nvid = 30\nparent = "eno1"\n')).toEqual(["warning: bridge 'br9' of the host config does not exist"]);
  });
});

describe('a permission', () => {
  const allow = (from: string): Guest => ({
    name: 'db1', nics: ethernet(MAC.b),
    metadata: routed(MAC.b, '192.0.2.20', `<gw:allow direction='in' proto='tcp' port='5432' from='${from}'/>`),
  });
  const front: Guest = {
    name: 'fe1', nics: ethernet(MAC.c), metadata: routed(MAC.c, '192.0.2.30', "<gw:group name='frontends'/>"),
  };

  test('names guests and groups that there are', () => {
    expect(findings([WEB, allow('guest:web1,group:frontends'), front])).toEqual([]);
  });

  test('names some that there are not', () => {
    expect(findings([WEB, allow('guest:web1,guest:wbe2,group:fronends'), front])).toEqual([
      "warning: a permission of guest 'db1' names guest 'wbe2', which this host does not have",
      "warning: a permission of guest 'db1' names group 'fronends', in which no NIC is",
    ]);
  });
});

describe('a NIC', () => {
  const plain: Guest = { name: 'plain', nics: bridged(MAC.b) };
  const NOTE = "note: nothing mentions guest 'plain' NIC 0 (52:54:00:aa:bb:02) on bridge 'br0'";

  test('on a bridge without a table and without wired guests is not noted', () => {
    expect(findings([WEB, plain])).toEqual([]);
  });

  test('on a bridge of the host config is noted, unless the table gives it a VLAN', () => {
    expect(findings([plain], '[bridge.br0]\n')).toEqual([NOTE]);
    expect(findings([plain], '[bridge.br0]\nvlan = { tags = [10] }\nfilter = "all"\n')).toEqual([]);
  });

  test("with libvirt's own <vlan> is not filtered, and its neighbour without one is noted", () => {
    const fw: Guest = { name: 'fw', nics: bridged(MAC.a, "<vlan><tag id='10'/></vlan>") };
    expect(findings([fw, plain])).toEqual([NOTE, "note: guestwire does not filter NICs of guest 'fw' on bridge 'br0'"]);
  });

  test('of a guest that is refused is not noted', () => {
    expect(findings([{ ...plain, metadata: routed(MAC.c, '192.0.2.10') }], '[bridge.br0]\n')).toEqual([]);
  });
});

test('nothing is found while libvirt does not say which guests there are', () => {
  expect(findings([], `[guest.gone${TABLE}`)).toEqual([]);
});

test('while libvirt does not answer, the guests that are wired without filters are named, and nothing else', () => {
  const config = parseConfig('[guest.gone."52:54:00:aa:bb:01"]\nvlan = { tags = [10] }\n', 'config.toml');
  const domain = parseDomain("<domain><name>fw</name><devices><interface type='bridge'><mac address='52:54:00:aa:bb:02'/><source bridge='br0'/><vlan><tag id='20'/></vlan></interface></devices></domain>");
  const asked = [{ guest: 'fw', attachments: deriveAttachments(domain, config) }];
  expect(namingFindings({ config, defined: [], asked, allBridges: [] }).map(({ what }) => what))
    .toEqual(["guestwire does not filter NICs of guest 'fw' on bridge 'br0'"]);
});
