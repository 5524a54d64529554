/** What tools answer on a host that is only pretended. */
import type { ExecRequest, ExecResult } from '../../lib/system/exec.js';

export const OK: ExecResult = {
  exitCode: 0, signal: undefined, errno: undefined, timedOut: false, stdout: '', stderr: '',
};
export const MISSING: ExecResult = { ...OK, exitCode: undefined, errno: 'ENOENT' };

export const BRIDGE = {
  ifname: 'br0', ifindex: 2, flags: ['UP'], txqlen: 1000,
  linkinfo: { info_kind: 'bridge', info_data: { vlan_filtering: 1, vlan_protocol: '802.1Q', vlan_default_pvid: 0 } },
};

/** A host with a VLAN-aware bridge br0 and nothing else. */
export function pretend({ tool, input = '' }: ExecRequest): ExecResult {
  if (tool === 'nft') return { ...OK, exitCode: 1, stderr: 'Error: No such file or directory\n' };
  if (tool !== 'ip') return OK;
  const answers = input.trim().split('\n').map((line) =>
    JSON.stringify(line === 'address show dev br0' ? [BRIDGE] : []));
  return { ...OK, stdout: `${answers.join('\n')}\n` };
}
