// @tier fast
/** What errors are about, as values. */
import { describe, expect, test } from '@jest/globals';
import { about, ConflictError, HostError } from '../lib/errors.js';

const WEB = { guest: 'web1', nic: 1, mac: '52:54:00:aa:bb:01', link: 'vnet3' };
const LABEL = "guest 'web1' NIC 1 (52:54:00:aa:bb:01)";

function thrown(act: () => void): HostError {
  try {
    act();
  } catch (error) {
    return error as HostError;
  }
  throw new Error('nothing was thrown');
}

describe('an error', () => {
  test('says which guest, NIC and link it is about, and what is wrong without them', () => {
    const error = thrown(() => {
      about(WEB, LABEL, () => { throw new HostError("link 'vnet3' does not exist"); });
    });
    expect(error).toMatchObject({
      ...WEB, detail: "link 'vnet3' does not exist", message: `${LABEL}: link 'vnet3' does not exist`,
    });
  });

  test('keeps what it knows, and takes the rest from the places around it', () => {
    const error = new HostError('no').placeAt({ link: 'vnet3' }).placeAt({ guest: 'web1', nic: 1 })
      .placeAt({ guest: 'web1', nic: 2, mac: 'x' });
    expect(error).toMatchObject({ guest: 'web1', nic: 1, mac: 'x', link: 'vnet3', detail: 'no', message: 'no' });
  });

  test('of one guest learns nothing from another', () => {
    expect(new ConflictError('no').placeAt({ guest: 'web1' }).placeAt({ guest: 'db1', nic: 4 }))
      .toMatchObject({ guest: 'web1', nic: undefined });
  });

  test('ends with its cure, if it has one', () => {
    const error = new HostError('this changes the host', { cure: 'run it as root' });
    expect([error.message, error.cure]).toEqual(['this changes the host: run it as root', 'run it as root']);
    expect(new HostError('no').cure).toBeUndefined();
  });
});

test('what is no error of guestwire passes through', () => {
  expect(() => about(WEB, LABEL, () => { throw new TypeError('bug'); })).toThrow(TypeError);
});

test('a label stands once', () => {
  const error = new HostError('no').placeAt({ guest: 'a', nic: 1 }, "guest 'a' NIC 1")
    .placeAt({ guest: 'a' }, "guest 'a'");
  expect(error).toMatchObject({ message: "guest 'a' NIC 1: no", detail: 'no' });
});
