/**
 * How this nft prints given rules: it prints the same rule differently from version to version, so what a host holds is
 * compared with what the same tool shows of them in an empty network namespace.
 */
import { type FilterFamily, TABLE } from '../state/nft.js';
import type { Exec } from '../system/exec.js';
import type { LinkId } from './link-files.js';
import { type Blocks, parseBlocks } from './nft-blocks.js';

export interface Replay {
  /** Links that the namespace has under the same names and ifindexes. */
  readonly links: readonly LinkId[];
  /** Lines for `nft -f -`. */
  readonly rules: readonly string[];
  readonly families: readonly FilterFamily[];
}

const MARK = '# of the next family';
/** No link of a host has such an ifindex: they are counted up from 1. */
const PEERS = 2 ** 30;

/**
 * Returns the blocks of each family's table; undefined: this kernel or this user cannot
 * make a network namespace. Its links are veth pairs: for each bridge the kernel needs 20 ms and its one lock when the
 * namespace goes (Linux 6.18, br_multicast_dev_del), in which no guest could start.
 */
export async function replayTables(exec: Exec, { links, rules, families }: Replay): Promise<Blocks[] | undefined> {
  if (families.length === 0) return [];
  const pairs = links.map(({ link, ifindex }, index) => `link add name ${link} index ${ifindex} type veth peer name ~${index} index ${PEERS + index}`);
  const script = [
    'set -e', "ip -batch - <<'EOF'", ...pairs, 'EOF', "nft -f - <<'EOF'", ...rules, 'EOF',
    ...families.flatMap((family) => [`nft --stateless list table ${family} ${TABLE}`, `echo '${MARK}'`]),
  ];
  // The agent's service may not make a network namespace, but a user namespace, in which it may: as nobody, for to be
  // root there takes CAP_SETFCAP here (user_namespaces(7), Linux 5.12).
  for (const ways of [['--net'], ['--user', '--keep-caps', '--net']]) {
    const { exitCode, stdout } = await exec({
      tool: 'unshare', args: [...ways, 'sh'], input: `${script.join('\n')}\n`,
    });
    if (exitCode === 0) return stdout.split(`${MARK}\n`).map(parseBlocks);
  }
  return undefined;
}
