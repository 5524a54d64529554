// @tier kernel
/**
 * Procedure numbers against the tapset that the installed libvirt ships (Debian 12: libvirt-daemon-system, 13:
 * libvirt-common).
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect } from '@jest/globals';
import { EVENTS, KEEPALIVE_PROGRAM, PING, PONG, PROCEDURES, REMOTE_PROGRAM } from '../../lib/libvirt/protocol.js';
import { testWith } from '../places/capability.js';

const TAPSET = '/usr/share/systemtap/tapset/libvirt_functions.stp';
const numbersTest = testWith('tapset');

/** Returns what the tapset has for one program: names by number. */
function tapset(program: number): Map<number, string> {
  const text = existsSync(TAPSET) ? readFileSync(TAPSET, 'utf8') : '';
  const [, ...sections] = text.split(/if \(program == (?=\d)/);
  const section = sections.find((each) => each.startsWith(`${program} && version == 1)`)) ?? '';
  return new Map([...section.matchAll(/proc == (\d+)\) \{\s+procstr = "(\w+)"/g)].map(([, number, name]) => [Number(number), name ?? '']));
}

describe('the installed libvirt', () => {
  numbersTest('has every procedure and event under the number that this client uses', () => {
    const theirs = tapset(REMOTE_PROGRAM);
    expect(theirs.size).toBeGreaterThan(400);
    const ours = Object.entries({ ...PROCEDURES, ...EVENTS }).map(([name, { number }]) => [number, name] as const);
    expect(ours.map(([number]) => [number, theirs.get(number)])).toEqual(ours);
  });

  numbersTest('has the keepalive program', () => {
    const theirs = tapset(KEEPALIVE_PROGRAM);
    expect([theirs.get(PING), theirs.get(PONG)]).toEqual(['ping', 'pong']);
  });
});
