/**
 * A private libvirtd host with guestwire installed and its agent running, for tests of what the agent does and how
 * soon.
 */
import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentUnitText } from '../../lib/install/agent-unit.js';
import { connect } from '../../lib/libvirt/connect.js';
import type { Connection } from '../../lib/libvirt/connection.js';
import { type Host, startHost, waitFor } from '../lab/host.js';

const NODE = '/usr/bin/node';

export type Agent = ReturnType<Host['start']>;

export interface AgentPlace {
  readonly host: Host;
  readonly libvirt: Connection;
  /** Starts the agent; resolves when it watches. */
  startAgent(): Promise<Agent>;
  close(): Promise<void>;
}

const [, BOUNDING = ''] = /^CapabilityBoundingSet=(.*)$/m.exec(agentUnitText({ stateDir: '/run/guestwire' })) ?? [];
const CAPABILITIES = BOUNDING.toLowerCase().split(' ').map((name) => name.replace('cap_', '+')).join(',');

export const SYSCTLS = { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 };

/** Returns the place, without an agent yet. The hook, the command and the agent run on `node`. */
export async function openAgentPlace(name: string, node = process.execPath): Promise<AgentPlace> {
  const binds = node === process.execPath ? [] : [{ from: node, to: NODE }];
  const host = await startHost({ name, sysctls: SYSCTLS, binds });
  await host.ok(NODE, [resolve('dist/cli.js'), 'install', '--no-reload']);
  await host.restartLibvirtd();
  const libvirt = await connect(host.uri);
  const agents: Agent[] = [];
  return {
    host,
    libvirt,
    startAgent: async () => {
      // The file and the capabilities that its service has.
      const agent = host.start(
        'setpriv', [`--bounding-set=-all,${CAPABILITIES}`, '--no-new-privs', NODE, resolve('dist/agent.mjs')],
      );
      agents.push(agent);
      await waitFor(() => isWatched(host), { what: 'the agent to hold its lock' });
      return agent;
    },
    close: async () => {
      for (const agent of agents) agent.kill('SIGKILL');
      await libvirt.close();
      await host.stop();
    },
  };
}

/** Returns whether an agent holds its lock. */
export async function isWatched(host: Host): Promise<boolean> {
  return (await host.run('sh', ['-c', '[ -e /run/guestwire.agent ] && ! flock -sn /run/guestwire.agent true'])).code === 0;
}

/**
 * Resolves to the milliseconds from now, or from `since`, until `isSo`; looks every 5 ms unless `pause` says otherwise.
 */
export async function until(
  isSo: () => Promise<boolean>,
  { what, since = performance.now(), timeout = 60_000, pause = 5 }: {
    pause?: number; what: string; since?: number; timeout?: number;
  },
): Promise<number> {
  while (!await isSo()) {
    if (performance.now() - since > timeout) throw new Error(`waited ${timeout} ms in vain for ${what}`);
    await sleep(pause);
  }
  return performance.now() - since;
}

/** Returns guestwire's routes as 'DESTINATION DEV', sorted. */
export async function routesOf(host: Host): Promise<string[]> {
  const text = await host.ok('sh', ['-c', 'ip route show proto 117; ip -6 route show proto 117']);
  return text.trim().split('\n').filter(Boolean).map((line) =>
    line.replace(/^(\S+) (?:via \S+ )?dev (\S+).*/, '$1 $2')).sort();
}
