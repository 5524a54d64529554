/**
 * Where a command reads and writes.
 */
import { type ConfigReading, configReading } from '../config/file.js';
import type { Settings } from '../config/paths.js';
import type { Exec } from '../system/exec.js';

/** What a command may touch besides the host: injected, so that tests see what it printed. */
export interface Io {
  readonly print: (text: string) => void;
  readonly warn: (text: string) => void;
  readonly settings: Settings;
  /** The run's one reading of the host config. */
  readonly config: ConfigReading;
  readonly exec: Exec;
  /** Whether what is printed goes to a terminal that wants colours. */
  readonly colours?: boolean;
}

/** Returns `io` for one run, which is still to read the host config. The agent makes many runs. */
export function forOneRun(io: Omit<Io, 'config'>): Io {
  return { ...io, config: configReading(io.settings.config) };
}
