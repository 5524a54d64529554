// @tier fast
/** What one NIC may have at most: a list that is too long is refused with its length, and read in linear time. */
import { describe, expect, test } from '@jest/globals';
import { deriveAttachments } from '../../lib/attachments/derive.js';
import { defaultConfig } from '../../lib/config/host-config.js';
import { parseDomain } from '../../lib/domain/domain.js';

const MAC = '52:54:00:aa:bb:01';

function derive(routed: string, words = ''): void {
  deriveAttachments(parseDomain(`<domain><name>web1</name><metadata><gw:guestwire xmlns:gw='urn:guestwire:1'>
    <gw:interface mac='${MAC}'><gw:routed>${routed}</gw:routed>${words}</gw:interface></gw:guestwire></metadata>
    <devices><interface type='ethernet'><mac address='${MAC}'/></interface></devices></domain>`), defaultConfig());
}

const many = (count: number, one: (index: number) => string, between = ''): string =>
  Array.from({ length: count }, (_, index) => one(index + 1)).join(between);
const IP = "<gw:ip address='2001:db8::1'/>";
const ips = (count: number): string => many(count, (at) => `<gw:ip address='2001:db8:0:1::${at.toString(16)}'/>`);
const routes = (count: number): string => many(count, (at) => `<gw:route address='2001:db8:1:${at.toString(16)}::' prefix='64'/>`);
const allows = (count: number): string => many(count, (at) => `<gw:allow direction='in' proto='tcp' port='${at}'/>`);
const peers = (count: number): string => `<gw:allow direction='in' from='${many(count, (at) => `guest:g${at}`, ',')}'/>`;
const ports = (count: number): string => `<gw:allow direction='in' proto='tcp' port='${many(count, (at) => String(at * 2), ',')}'/>`;
const groups = (count: number): string => many(count, (at) => `<gw:group name='g${at}'/>`);

describe('one NIC', () => {
  test.each<[string, number, (count: number) => readonly [string, string?]]>([
    ['addresses', 256, (count) => [ips(count)]],
    ['prefixes behind it', 1024, (count) => [IP + routes(count)]],
    ['permissions', 256, (count) => [IP, allows(count)]],
    ['peers in its permissions', 1024, (count) => [IP, peers(count)]],
    ['port ranges in its permissions', 1024, (count) => [IP, ports(count)]],
    ['groups', 64, (count) => [IP, groups(count)]],
  ])('has a limited number of %s', (items, most, write) => {
    expect(() => { derive(...write(most)); }).not.toThrow();
    expect(() => { derive(...write(most + 1)); })
      .toThrow(`guest 'web1' NIC 0 (${MAC}): one NIC has at most ${most} ${items}, and ${most + 1} are listed: remove some`);
  });

  test('is refused at once with 60,000 peers or 25,000 addresses', () => {
    expect(() => { derive(IP, peers(60_000)); }).toThrow('and 60000 are listed');
    expect(() => { derive(ips(25_000)); }).toThrow('and 25000 are listed');
  }, 60_000);
});
