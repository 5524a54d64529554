/** What holds for every guest that guestwire refuses, on the host of hook-run.ts. */
import { expect } from '@jest/globals';
import { isLong } from '../tiers/bound.js';
import { hookAll } from './hook-batch.js';
import { DONE, type HookArgs, type HookHost, type Outcome, PLAIN } from './hook-run.js';

/** A guest's operations up to its start, and those after it. */
export const COMING: readonly string[] = ['prepare', 'start'];
const GOING: readonly string[] = ['reconnect', 'stopped', 'release'];
export const LIFE: readonly string[] = [...COMING, ...GOING];

export interface Refusal {
  readonly xml: string | Uint8Array;
  readonly guest?: string;
  /** The whole sentence, from `guest '...'` on. */
  readonly says: string;
  /** The same trouble around, or in, a guest that guestwire has nothing to do with; null: another call has it. */
  readonly bystander?: string | Uint8Array | null;
  /** Where it is refused; 'prepare' and 'start' unless given. It passes the ones before. */
  readonly at?: readonly string[];
  readonly args?: Pick<HookArgs, 'path' | 'through'>;
  /** No logger to record what was logged. */
  readonly unlogged?: boolean;
  /** The operations that are tried, which are all unless given. The tier `long` has all of them always. */
  readonly operations?: readonly string[];
}

/**
 * Expects that the guest does not start and libvirt's user reads `says`, that no operation after it fails, that each
 * failure is logged, that the bystander passes every operation in silence, and that the host is as it was after `start`
 * and at the end.
 */
export async function expectRefused(host: HookHost, refusal: Refusal): Promise<void> {
  const { args: { path = host.usual } = {}, operations = LIFE } = refusal;
  const before = host.dump();
  host.recorded('logger', path);
  for (const part of [COMING, GOING]) {
    const tried = part.filter((operation) => isLong || operations.includes(operation));
    if (tried.length === 0) continue;
    await expectOutcomes(host, refusal, tried);
    expect(host.dump()).toBe(before);
  }
}

/** Expects that a guest passes these operations in silence. */
export async function expectDone(
  host: HookHost, operations: readonly string[],
  { xml, guest = 'web1', path = host.usual }: Pick<HookArgs, 'xml' | 'guest' | 'path'>,
): Promise<void> {
  const ended = await hookAll(host, path, operations.map((operation) => ({ operation, guest, xml })));
  expect(toldOf(operations, ended)).toEqual(operations.map((operation) => ({ operation, ...DONE })));
}

function toldOf(operations: readonly string[], ended: readonly Outcome[]): unknown[] {
  return ended.map(({ status, stdout, stderr }, at) => ({ operation: operations[at], status, stdout, stderr }));
}

async function expectOutcomes(
  host: HookHost,
  { xml, guest = 'web1', says, bystander = PLAIN, at = COMING, args = {}, unlogged = false }: Refusal,
  operations: readonly string[],
): Promise<void> {
  const { path = host.usual, through = [] } = args;
  const isRefused = (operation: string): boolean => at.includes(operation);
  const outcomeOf = (operation: string): Outcome =>
    (isRefused(operation) ? { status: 1, stdout: '', stderr: `guestwire: ${says}\n` } : DONE);
  const calls = operations.flatMap((operation) => [
    { operation, guest, xml, outcome: outcomeOf(operation) },
    ...(bystander === null ? [] : [{ operation, guest: 'plain', xml: bystander, outcome: DONE }]),
  ]);
  const ended = await hookAll(host, path, calls.map((call) => ({ ...call, through })));
  expect(toldOf(calls.map(({ operation }) => operation), ended))
    .toEqual(calls.map(({ operation, outcome }) => ({ operation, ...outcome })));
  if (unlogged) return;
  const logged = operations.filter(isRefused).map((operation) => `<27>${operation}: ${says}`);
  expect(host.recorded('logger', path)).toEqual(expect.arrayContaining(logged));
}
