// @tier fast
/** Kernels on CPUs: each CPU has one, what is done makes room for the next, and a failure stops none of the rest. */
import { describe, expect, test } from '@jest/globals';
import { setImmediate as turn } from 'node:timers/promises';
import { deal, shareCpus } from './queue.js';

describe('dealing files out', () => {
  test.each([
    [['a', 'b', 'c', 'd', 'e'], 2, [['a', 'c', 'e'], ['b', 'd']]],
    [['a', 'b'], 3, [['a'], ['b']]],
    [['a'], 1, [['a']]],
    [[], 2, []],
  ])('%j to %d', (files, hands, dealt) => { expect(deal(files, hands)).toEqual(dealt); });
});

describe('sharing CPUs', () => {
  const job = (name: string, turns = 1, wide = false) => ({ name, turns, wide });

  async function shared(jobs: readonly ReturnType<typeof job>[], { cpus = [0, 1], failing = '' } = {}) {
    const running = new Set<string>();
    const log: string[] = [];
    const good = await shareCpus(jobs, cpus, async ({ name, turns }, cpu) => {
      running.add(name);
      log.push(`${cpu}: ${[...running].join(' ')}`);
      for (let n = 0; n < turns; n += 1) await turn();
      running.delete(name);
      return name !== failing;
    });
    return { good, log };
  }

  test('starts as many as there are CPUs, and the next as soon as one is done', async () => {
    const { good, log } = await shared([job('a', 9), job('b'), job('c'), job('d')]);
    expect([good, log]).toEqual([true, ['0: a', '1: a b', '1: a c', '1: a d']]);
  });

  test('leaves to the end, and alone, what wants all CPUs', async () => {
    const { good, log } = await shared([job('wide', 1, true), job('wider', 1, true), job('a', 9), job('b')]);
    expect([good, log]).toEqual([true, ['0: a', '1: a b', '0: wide', '0: wider']]);
  });

  test('goes on after a failure, and says that there was one', async () => {
    const { good, log } = await shared([job('a'), job('b')], { cpus: [7], failing: 'a' });
    expect([good, log]).toEqual([false, ['7: a', '7: b']]);
  });
});
