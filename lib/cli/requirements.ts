import { HostError } from '../errors.js';

/** Throws unless root runs `command`. */
export function assertRoot(command: string): void {
  if (process.geteuid?.() !== 0) throw new HostError(`'guestwire ${command}' changes this host: run it as root`);
}

/** Throws unless root runs `command`: nftables and the journal answer nobody else. */
export function assertRootToRead(command: string): void {
  if (process.geteuid?.() !== 0) throw new HostError(`'guestwire ${command}' reads what only root may: run it as root`);
}
