/** `guestwire agent`: the agent in the foreground, as systemd's guestwire-agent.service runs it. */
import { runAgent } from '../agent/agent.js';
import { createSupervisor } from '../agent/supervisor.js';
import { UsageError } from '../errors.js';
import { assertCallsHooks } from '../guests/ask-libvirt.js';
import type { Io } from '../guests/io.js';
import { connect } from '../libvirt/connect.js';
import { follow } from '../system/follow.js';
import { createLog } from '../system/log.js';
import { assertRoot, command, type Command } from './command.js';

export const agent = command({
  name: 'agent',
  summary: 'run the agent, which keeps running guests wired as their XML says',
  help: `Usage: guestwire agent [--connect URI]

Runs until it is stopped, and reconciles guests as 'guestwire reconcile' does. An event makes it reconcile the guests
that the event concerns: a NIC is plugged in or out, metadata changes, a guest arrives by migration, its libvirt network
or bridge goes and comes back, its tap goes down and up, another program changes its VLANs. It checks all guests every
five minutes, after a loss of events, and on SIGHUP. It prints a line for each change, and writes it to the system's
journal. It reports a failure once and tries again.

While it runs, guests with routed links may migrate here. 'guestwire install --agent' makes it a service.

  -c, --connect URI  the libvirt to watch; default LIBVIRT_DEFAULT_URI, else the daemon that is here

Needs root, and a libvirt on this host.`,
  options: { connect: { type: 'string', short: 'c' } },
  run: async ({ values: { connect: uri } }, io) => {
    assertRoot('agent');
    assertCallsHooks(uri ?? process.env['LIBVIRT_DEFAULT_URI'] ?? '');
    const ending = new AbortController();
    const told = loggedIo(io);
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => { ending.abort(); });
    const supervisor = createSupervisor(io.exec, process.env, told.io.warn);
    try {
      await runAgent({
        io: told.io, follow, supervisor, signal: ending.signal,
        connect: (signal) => connect(uri, { readOnly: true, signal, exec: io.exec }),
        onReload: (check) => { process.on('SIGHUP', check); },
      });
    } finally {
      await told.flush();
    }
    return 0;
  },
});

/**
 * The name that the agent had in 0.1.0. A unit file that names it goes on working; a person is told the new one,
 * because a later release gives `watch` to a command that changes nothing.
 */
export const watch: Command = {
  ...agent,
  name: 'watch',
  help: `Usage: guestwire agent [--connect URI]

'guestwire watch' is called 'guestwire agent' now. Only unit files of systemd may still use the old name: 'guestwire
agent --help' explains the command.`,
  run: async (args, io) => {
    // systemd says so to what it starts itself, and to none of its children (248).
    if (process.env['SYSTEMD_EXEC_PID'] !== String(process.pid)) throw new UsageError("'guestwire watch' is called 'guestwire agent' now: run that");
    io.warn("'guestwire watch' is called 'guestwire agent' now: write that into the unit file");
    return agent.run(args, io);
  },
};

/**
 * Warnings go to the system's journal, too: what is printed may go nowhere. Changes are written there by who makes
 * them.
 */
function loggedIo(io: Io): { readonly io: Io; readonly flush: () => Promise<void> } {
  const log = createLog(io.exec);
  let timer: NodeJS.Timeout | undefined;
  const warn = (line: string): void => {
    io.warn(line);
    log.warn(line);
    timer ??= setTimeout(() => {
      timer = undefined;
      void log.flush();
    }, 100);
  };
  return {
    io: { ...io, warn },
    flush: async () => {
      clearTimeout(timer);
      await log.flush();
    },
  };
}
