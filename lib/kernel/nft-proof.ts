/**
 * Proof that nft did what its exit status says. A batch is one transaction (nft(8)), so the rules of one of its chains
 * show for all. To list one chain costs the same with a thousand guests as with one; `nft --echo` reads every rule of
 * the host (nftables 1.0.6).
 */
import type { Batch } from '../state/render.js';
import type { Exec } from '../system/exec.js';

/** The last chain that a batch gives rules, and how many. */
interface Proof {
  /** As nft takes it: family, table, name. */
  readonly chain: readonly string[];
  readonly rules: number;
  /** The comment that tells a NIC's rules of one plan from those of another. */
  readonly mark: string | undefined;
}

/** Returns whether the kernel has the rules that a batch of nft was to add; true for a batch that adds none. */
export async function hasRulesOf(exec: Exec, batch: Batch): Promise<boolean> {
  const proof = proofOf(batch);
  if (proof === undefined) return true;
  const { chain, rules, mark } = proof;
  const { exitCode, stdout } = await exec({ tool: 'nft', args: ['--stateless', 'list', 'chain', ...chain] });
  const found = stdout.match(/ comment "/g)?.length ?? 0;
  return exitCode === 0 && found >= rules && (mark === undefined || stdout.includes(mark));
}

/** Every rule of guestwire has a comment. */
function proofOf({ lines }: Batch): Proof | undefined {
  const added = lines.flatMap(({ text }) => [...text.matchAll(/^add rule (\S+) (\S+) (\S+) .*$/gm)]);
  const [, ...chain] = added.at(-1) ?? [];
  if (chain.length === 0) return undefined;
  const own = added.filter(([, ...other]) => other.join(' ') === chain.join(' '));
  const mark = own.flatMap(([text]) => /comment "guestwire [0-9a-f]+"/.exec(text) ?? []).at(0);
  return { chain, rules: own.length, mark };
}
