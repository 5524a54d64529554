/**
 * Run: batches fed to the tools, and the kernel asked what came of it. It judges nothing; every failure names the
 * change that could not be made.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError } from '../errors.js';
import type { Batch, BatchLine } from '../state/render.js';
import { isWhole, TOOLS } from '../state/tools.js';
import { describeOperation } from '../state/words.js';
import { assertSuccess, type Exec, type ExecRequest, lineOf } from '../system/exec.js';
import { oneLine } from '../values/quote.js';
import { hasRulesOf } from './nft-proof.js';
import type { Observation, Scope } from './observation.js';
import { type Answers, observe } from './observe.js';
import { ANSWER_FLAGS, questionsOf } from './queries.js';

/** The kernel as the pipeline sees it; tests put a fake in its place. */
export interface Kernel {
  /** Returns the facts of `scope`. Throws CommandError or ToolOutputError. */
  observe(scope: Scope): Promise<Observation>;
  /**
   * Carries out batches in order and returns the facts of `scope` afterwards. 'stop-at-failure' throws the first
   * CommandError and leaves the lines before it done; 'carry-on', for teardown, does every line it can and returns the
   * first error beside the facts: what a line was to remove may have gone by itself.
   */
  run(batches: readonly Batch[], mode: RunMode, scope: Scope): Promise<Outcome>;
}

export interface Outcome {
  readonly observation: Observation;
  readonly failure: CommandError | undefined;
  /** nft ended well, and the kernel lacks rules that nft was given. */
  readonly isUnproven?: true;
  /** A dry run: nothing was changed, so what the kernel holds verifies nothing. */
  readonly isDry?: true;
}

export type RunMode = 'stop-at-failure' | 'carry-on';

/** Returns the kernel of this network namespace, reached through `exec`. */
export function createKernel(exec: Exec, procSys = '/proc/sys'): Kernel {
  return {
    observe: (scope) => observe(exec, scope, { procSys, answers: {} }),
    run: async (batches, mode, scope) => {
      const questions = questionsOf(scope, procSys);
      const answers: { -readonly [tool in keyof Answers]: Answers[tool] } = {};
      let failure: CommandError | undefined;
      let isProven = true;
      for (const batch of batches) {
        const { tool } = batch;
        try {
          if (tool === 'sysctl') writeSysctls(batch.lines, procSys);
          else answers[tool] = await runBatch(exec, batch, {
            mode, questions: batch === lastBatch(batches, tool) ? questions[tool] : [],
          });
          if (isWhole(tool)) isProven &&= await hasRulesOf(exec, batch);
        } catch (error) {
          if (mode === 'stop-at-failure' || !(error instanceof CommandError)) throw error;
          failure ??= error;
        }
      }
      const observation = await observe(exec, scope, { procSys, answers });
      return { observation, failure, ...(!isProven && { isUnproven: true as const }) };
    },
  };
}

function lastBatch(batches: readonly Batch[], tool: string): Batch | undefined {
  return batches.filter((batch) => batch.tool === tool).at(-1);
}

function writeSysctls(lines: readonly BatchLine[], procSys: string): void {
  lines.forEach((line, index) => {
    const [path = '', value = ''] = line.text.split('=');
    try {
      writeFileSync(join(procSys, path), value);
    } catch (error) {
      const errno = (error as NodeJS.ErrnoException).code ?? '';
      const failure = {
        tool: 'sysctl', args: [line.text], exitCode: undefined, signal: undefined, stderr: '', timedOut: false, errno,
        line: index + 1,
      };
      throw new CommandError(`sysctl failed (${lineWords(line)}): ${oneLine(String(error))}`, failure, { cause: error }).placeAt({ link: lineLink(line) });
    }
  });
}

interface Run {
  readonly mode: RunMode;
  /** Put at the end of the batch: asking there costs no program of its own. */
  readonly questions: readonly string[] | undefined;
}

/** Returns what the questions printed; undefined when one of them failed: the caller asks again to learn which. */
async function runBatch(
  exec: Exec, { tool, lines }: Batch, { mode, questions = [] }: Run,
): Promise<string | undefined> {
  const input = [...lines.map(({ text }) => text), ...questions].map((text) => `${text}\n`).join('');
  const [program = '', ...args] = TOOLS[tool].command.split(' ');
  // Only iproute2 answers, and only it goes on after a line that failed.
  if (tool in ANSWER_FLAGS) {
    args.unshift(...ANSWER_FLAGS[tool as keyof typeof ANSWER_FLAGS], ...(mode === 'carry-on' ? ['-force'] : []));
  }
  const request: ExecRequest = { tool: program, args, input };
  const result = await exec(request);
  if (result.exitCode === 0) return questions.length === 0 ? undefined : result.stdout;
  const failed = lineOf(result.stderr);
  if (failed !== undefined && failed > lines.length) return undefined;
  const line = failed === undefined ? undefined : lines[failed - 1];
  try {
    assertSuccess(request, result, line === undefined ? 'changing the host' : lineWords(line));
  } catch (error) {
    if (error instanceof CommandError && line !== undefined) error.placeAt({ link: lineLink(line) });
    throw error;
  }
  return undefined;
}

function lineLink({ operations: [first] }: BatchLine): string | undefined {
  return (first?.after ?? first?.before)?.dev;
}

function lineWords(line: BatchLine): string {
  const [first, ...rest] = line.operations;
  if (first === undefined) return line.text;
  return rest.length === 0 ? describeOperation(first) : `${describeOperation(first)} and ${rest.length} more`;
}
