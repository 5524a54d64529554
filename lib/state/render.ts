/**
 * Operations to batches. Every line knows the operations that it carries out, so that a tool that stops at line 4 is
 * reported as the change it could not make. The text of a line comes from the record of the object's kind.
 */
import { formatRange, type VidRange } from '../values/vlan.js';
import type { Operation } from './diff.js';
import { objectKind } from './objects.js';
import type { BatchTool } from './tools.js';

export interface BatchLine {
  readonly text: string;
  readonly operations: readonly Operation[];
}

/** What one run of one tool is fed. */
export interface Batch {
  readonly tool: BatchTool;
  readonly lines: readonly BatchLine[];
}

/** Returns the batches that carry out `operations` in their order; a run of one tool is one batch. */
export function render(operations: readonly Operation[]): Batch[] {
  const batches: { tool: BatchTool; lines: BatchLine[] }[] = [];
  for (const line of batchLines(operations)) {
    const tool = toolOf(line);
    const last = batches.at(-1);
    if (last?.tool === tool) last.lines.push(line);
    else batches.push({ tool, lines: [line] });
  }
  return batches;
}

/**
 * Returns the batch that empties the queues of these taps. Equivalent to `ip link set TAP txqueuelen 0` and back: what
 * was flooded to a tap before its port was exact waits in the tap's ring for the guest (measured on Linux 6.18).
 */
export function flushBatch(taps: readonly { readonly dev: string; readonly txqlen: number }[]): Batch {
  const lines = taps.flatMap(({ dev, txqlen }) => [
    { text: `link set dev ${dev} txqueuelen 0`, operations: [] },
    { text: `link set dev ${dev} txqueuelen ${txqlen}`, operations: [] },
  ]);
  return { tool: 'ip', lines };
}

/** Neighbouring numbers with the same change become one line. */
function batchLines(all: readonly Operation[]): BatchLine[] {
  const lines: BatchLine[] = [];
  let run: { operations: Operation[]; range: VidRange; shape: string } | undefined;
  for (const operation of all) {
    const next = seriesOf(operation);
    if (next !== undefined && run?.shape === next.shape && run.range.last + 1 === next.number) {
      run.operations.push(operation);
      run.range = { first: run.range.first, last: next.number };
      lines[lines.length - 1] = { text: lineText(operation, run.range), operations: run.operations };
      continue;
    }
    const operations = [operation];
    run = next && { operations, range: { first: next.number, last: next.number }, shape: next.shape };
    lines.push({ text: lineText(operation, run?.range), operations });
  }
  return lines;
}

function seriesOf(operation: Operation): { number: number; shape: string } | undefined {
  const object = operation.after ?? operation.before;
  const series = object && objectKind(object).series;
  return object && series && { number: series.number(object), shape: series.shape(object, operation) };
}

function toolOf({ operations: [operation] }: BatchLine): BatchTool {
  const object = operation?.after ?? operation?.before;
  return object === undefined ? 'ip' : objectKind(object).tool(object);
}

function lineText({ before, after }: Operation, range: VidRange | undefined): string {
  const object = after ?? before;
  if (object === undefined) return '';
  const kind = objectKind(object);
  const span = range && formatRange(range);
  const special = after === undefined ? kind.remove?.(object, span) : before && kind.replace?.(before, after);
  return special ?? kind.set(object, span);
}
