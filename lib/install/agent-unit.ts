/** systemd's unit of the agent: what it may do, and how it comes and goes with `install --agent` and `uninstall`. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../config/paths.js';
import { HostError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { assertSuccess, toolFailure } from '../system/exec.js';
import { quote } from '../values/quote.js';
import type { FileSet } from './file-set.js';
import { AGENT, linkStat } from './layout.js';
import { agentBuild } from './requirements.js';
import { SYSTEMCTL_DEADLINE, UNITS_DIR } from './units.js';

const UNIT = 'guestwire-agent.service';
export const AGENT_UNIT = join(UNITS_DIR, UNIT);

const MARK = '# Written by guestwire install --agent';
/** Made by systemd when it is process 1 (sd_booted(3)). */
const SYSTEMD = '/run/systemd/system';

/** Returns whether the agent's unit is there and guestwire's. */
export function isAgentInstalled(): boolean {
  return linkStat(AGENT_UNIT)?.isFile() === true && readFileSync(AGENT_UNIT, 'utf8').startsWith(MARK);
}

/** Returns the agent and its unit when they are asked for, or there already and to be updated. */
export function agentFiles(io: Io, isAsked: boolean): FileSet {
  if (!isAsked && !isAgentInstalled()) return { directories: [], files: [], surplus: [] };
  if (linkStat(AGENT_UNIT) !== undefined && !isAgentInstalled()) throw new HostError(`${quote(AGENT_UNIT)} is not guestwire's: move it away`);
  if (!existsSync(UNITS_DIR)) throw new HostError(`${quote(UNITS_DIR)} is missing: without systemd run 'guestwire agent' with this host's own init system`);
  return {
    directories: [],
    files: [
      { path: AGENT, content: agentBuild(), mode: 0o644 },
      { path: AGENT_UNIT, content: Buffer.from(agentUnitText(io.settings)), mode: 0o644 },
    ],
    surplus: [],
  };
}

/** Starts the agent after an installation, or restarts it when an update changed its files. */
export async function startAgent(io: Io, changed: readonly string[]): Promise<void> {
  if (!isAgentInstalled()) return;
  if (!existsSync(SYSTEMD)) {
    io.warn(`systemd does not run here: 'systemctl enable --now ${UNIT}' starts the agent once it does`);
    return;
  }
  const isNew = [AGENT, AGENT_UNIT].some((path) => changed.includes(path));
  await systemctl(io, ['enable', UNIT]);
  // Not waited for: libvirt may not run yet, and the agent is ready when it has seen it.
  await systemctl(io, ['--no-block', isNew ? 'restart' : 'start', UNIT]);
}

/** Ends the agent for good; its files are still there afterwards. Never throws. */
export async function stopAgent(io: Io): Promise<void> {
  if (!isAgentInstalled() || !existsSync(SYSTEMD)) return;
  const request = { tool: 'systemctl', args: ['disable', '--now', UNIT], deadline: SYSTEMCTL_DEADLINE };
  const result = await io.exec(request);
  if (result.exitCode !== 0) io.warn(`the agent may still run: disabling ${UNIT}: ${toolFailure(request, result)}`);
}

async function systemctl(io: Io, args: readonly string[]): Promise<void> {
  const request = { tool: 'systemctl', args, deadline: SYSTEMCTL_DEADLINE };
  assertSuccess(request, await io.exec(request), 'starting the agent');
}

const HARDENING = `CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_DAC_OVERRIDE
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
LockPersonality=yes
NoNewPrivileges=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6 AF_PACKET
# The agent loads its nftables rules into a new namespace, to compare them with the host's.
RestrictNamespaces=net user
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
# libvirtd gives the hook the same umask: dnsmasq and radvd run as other users and read its files.
UMask=0022
`;

/**
 * Returns the unit. What is left out would break it: node's compiler writes code, and /proc/sys/net is what it sets.
 */
export function agentUnitText({ stateDir }: Pick<Settings, 'stateDir'>): string {
  return `${MARK}
[Unit]
Description=guestwire agent: keeps running guests wired as their domain XML says
After=network.target libvirtd.service virtqemud.service virtnetworkd.service
StartLimitIntervalSec=0

[Service]
Type=notify
# systemd-notify is a child of the agent.
NotifyAccess=all
# Half the memory for a tenth more CPU: the agent works for seconds a day, but always runs.
ExecStart=/usr/bin/node --max-semi-space-size=1 --optimize-for-size ${AGENT}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
TimeoutStartSec=infinity
WatchdogSec=60
# Changes are in the system's journal already, with the tag guestwire.
StandardOutput=null
# A batch that has begun runs to its end, and holds the lock until then.
KillMode=mixed

${HARDENING}# ${stateDir} and what stands beside it: made and replaced by name.
ReadWritePaths=/run

[Install]
WantedBy=multi-user.target
`;
}
