/**
 * Tells systemd that the agent is ready and alive. Node has no Unix datagram sockets, so `systemd-notify` sends it. The
 * program waits until systemd has read the message (sd_notify_barrier, systemd 246): systemd asks for the sender, which
 * must still exist.
 */
import { type Exec, type ExecRequest, toolFailure } from '../system/exec.js';

export interface Supervisor {
  /** Tells states such as 'READY=1'. Never rejects. */
  readonly tell: (...states: readonly string[]) => Promise<void>;
  readonly stop: () => void;
}

/** Milliseconds for one `systemd-notify`. */
const DEADLINE = 5_000;

/**
 * Returns what tells the supervisor in `env`, and from then on sends it a sign of life; without one nothing is told.
 */
export function createSupervisor(
  exec: Exec, env: Readonly<Record<string, string | undefined>>, warn: (line: string) => void,
): Supervisor {
  const socket = env['NOTIFY_SOCKET'];
  if (socket === undefined) return { tell: () => Promise.resolve(), stop: () => undefined };
  const tell = async (...states: readonly string[]): Promise<void> => {
    const request: ExecRequest = {
      tool: 'systemd-notify', args: states, env: { NOTIFY_SOCKET: socket }, deadline: DEADLINE,
    };
    const result = await exec(request);
    if (result.exitCode !== 0) warn(`could not notify systemd of ${states.join(' ')}: ${toolFailure(request, result)}`);
  };
  // Microseconds; three signs within the time it allows.
  const allowed = Number(env['WATCHDOG_USEC'] ?? 0) / 1000;
  const timer = allowed > 0 ? setInterval(() => { void tell('WATCHDOG=1'); }, allowed / 3) : undefined;
  return { tell, stop: () => { clearInterval(timer); } };
}
