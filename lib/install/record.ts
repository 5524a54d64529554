/** What `install` remembers for later runs: which directories it made, and which daemons know of the hook. */
import { readFileSync } from 'node:fs';
import * as z from 'zod/mini';
import type { FileSpec } from './file-set.js';
import { RECORD } from './layout.js';

const schema = z.object({
  version: z.literal(1),
  /** Directories that were not there before: uninstall removes these when they are empty. */
  directories: z.array(z.string()),
  /** When the launcher had come to where none was: a daemon that started later has seen it. Absent until then. */
  placed: z.optional(z.object({ boot: z.string(), ticks: z.number() })),
  /** Daemons that were told since then, as {@link daemonKey} names them. */
  told: z.array(z.string()),
});

export type InstallRecord = z.infer<typeof schema>;

/** Returns the record; undefined when it is missing or cannot be parsed. */
export function readRecord(): InstallRecord | undefined {
  try {
    const { success, data } = z.safeParse(schema, JSON.parse(readFileSync(RECORD, 'utf8')));
    return success ? data : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Returns the record as a file to write. */
export function recordFile(record: InstallRecord): FileSpec {
  return { path: RECORD, content: Buffer.from(`${JSON.stringify(record, null, 1)}\n`), mode: 0o644 };
}
