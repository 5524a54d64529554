/** A host for tests of the launcher alone: in place of node stands a program that takes notes. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { type HookHost, openHookHost } from './hook-run.js';

/** The program that takes notes is bound over /usr/bin/node in the host's own mount namespace. */
export interface NodelessHost extends HookHost {
  /**
   * Returns what node was called with since the last call: a line of arguments, a line with the length of its input.
   */
  noted(): string[];
  /** Runs `act` with the real node. */
  withNode<T>(act: () => Promise<T>): Promise<T>;
}

/** Returns the host of {@link openHookHost}, without the hook's cache: cache.test.ts has that. */
export async function openNodelessHost(): Promise<NodelessHost> {
  const host = await openHookHost();
  const bind = (): void => { host.sh(`mount --bind ${resolve('fixtures/tools/note-node')} /usr/bin/node`); };
  bind();
  host.sh('rm -f /run/checkout/dist/hook.cache');
  return {
    ...host,
    noted: () => {
      const file = host.outside('/run/node.log');
      if (!existsSync(file)) return [];
      const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
      rmSync(file);
      return lines;
    },
    withNode: async (act) => {
      host.sh('umount /usr/bin/node');
      try {
        return await act();
      } finally {
        bind();
      }
    },
  };
}
