/** What virsh reports about the libvirt of this host, for `install`. The socket client has no call for any of it. */
import type { Exec } from '../system/exec.js';
import { LibvirtError } from './errors.js';
import { createVirsh } from './virsh.js';

/** How virsh lists the objects that a daemon can start by itself. */
const LISTS = { 'network': 'net-list', 'storage pool': 'pool-list' };
/** Milliseconds for an answer. */
const TIMEOUT = 30_000;

/**
 * Returns the names of what does not run and is set to autostart. Asks the libvirt that LIBVIRT_DEFAULT_URI names, else
 * the one that virsh chooses. Throws a libvirt error when virsh fails.
 */
export async function inactiveAutostart(exec: Exec, what: keyof typeof LISTS): Promise<string[]> {
  const uri = process.env['LIBVIRT_DEFAULT_URI'] ?? '';
  const { virsh } = createVirsh({ exec, uri, readOnly: true, timeout: TIMEOUT });
  try {
    const text = await virsh([LISTS[what], '--inactive', '--autostart', '--name'], undefined);
    return text.split('\n').map((name) => name.trim()).filter((name) => name !== '');
  } catch (error) {
    // A libvirt without this driver has nothing of the kind to start.
    if (error instanceof LibvirtError && error.refusal.reason === 'VIR_ERR_NO_SUPPORT') return [];
    throw error;
  }
}

/** Returns the version of the installed libvirt, whether its daemon runs or not; undefined: virsh cannot be run. */
export async function installedVersion(exec: Exec): Promise<string | undefined> {
  const { exitCode, stdout } = await exec({ tool: 'virsh', args: ['--version'] });
  return exitCode === 0 ? stdout.trim() : undefined;
}
