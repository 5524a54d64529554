/** The tools that change the host: how each takes the lines of a batch. */

interface Tool {
  /** Reads the lines from standard input, or takes one. */
  readonly command: string;
  /** The tool does all its lines or none: one of its changes shows for all. */
  readonly isWhole?: true;
}

/**
 * Rules have one family in a run of `ip`. A file of nft is one transaction (nft(8)). guestwire itself writes the lines
 * of `sysctl`, `path=value` below /proc/sys.
 */
export const TOOLS = {
  ip: { command: 'ip -batch -' },
  'ip -6': { command: 'ip -6 -batch -' },
  bridge: { command: 'bridge -batch -' },
  nft: { command: 'nft -f -', isWhole: true },
  sysctl: { command: 'sysctl -w' },
} satisfies Readonly<Record<string, Tool>>;

export type BatchTool = keyof typeof TOOLS;

/** Returns whether a tool does all its lines or none. */
export function isWhole(tool: string | undefined): boolean {
  return (TOOLS as Readonly<Record<string, Tool>>)[tool ?? '']?.isWhole === true;
}
