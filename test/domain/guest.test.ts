// @tier fast
import { describe, expect, test } from '@jest/globals';
import { guestOf, isOfDriver } from '../../lib/domain/guest.js';

const UUID = '11111111-2222-3333-4444-555555555555';
const OF_QEMU = { name: 'web1', uuid: UUID };

describe('guestOf', () => {
  test.each(['kvm', 'qemu', 'hvf', undefined])('type %s is the driver of QEMU, which goes without saying', (type) => {
    expect(guestOf({ ...OF_QEMU, type })).toEqual(OF_QEMU);
  });

  test('any other is its own driver', () => {
    expect(guestOf({ ...OF_QEMU, type: 'lxc' })).toEqual({ ...OF_QEMU, driver: 'lxc' });
  });

  test('a domain without a UUID is none of libvirt', () => {
    expect(() => guestOf({ name: 'web1', uuid: undefined, type: 'kvm' })).toThrow("guest 'web1': the domain XML has no <uuid>");
  });
});

describe('isOfDriver', () => {
  test.each([
    ['qemu:///system', undefined, true], ['qemu+unix:///system?socket=/run/x', undefined, true],
    ['lxc:///system', undefined, false], ['lxc:///system', 'lxc', true],
    ['qemu:///system', 'lxc', false], ['test:///default', undefined, false],
  ])('%s and driver %s: %s', (uri, driver, is) => {
    expect(isOfDriver({ ...OF_QEMU, driver }, uri)).toBe(is);
  });
});
