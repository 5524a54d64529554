/**
 * Where a command reads and writes.
 */
import type { Settings } from '../config/paths.js';
import type { Exec } from '../system/exec.js';

/** What a command may touch besides the host: injected, so that tests see what it printed. */
export interface Io {
  readonly print: (text: string) => void;
  readonly warn: (text: string) => void;
  readonly settings: Settings;
  readonly exec: Exec;
  /** Whether what is printed goes to a terminal that wants colours. */
  readonly colours?: boolean;
}
