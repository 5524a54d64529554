/**
 * systemd's templates for what serves guests: an instance of each per live link, which the hook starts and stops.
 * Nothing is enabled; after a boot there are no instances until guests start.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Settings } from '../config/paths.js';
import { ConfigError, HostError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { ADVERTISER, type Service, SERVICES } from '../serve/daemon-config.js';
import { serveDir } from '../serve/serve.js';
import { assertSuccess } from '../system/exec.js';
import { quote } from '../values/quote.js';
import type { FileSet, FileSpec } from './file-set.js';
import { linkStat } from './layout.js';

export const UNITS_DIR = '/etc/systemd/system';

const MARK = '# Written by guestwire install';

/** Returns the files of both templates: to write when the host config has `[serve]`, else to remove. */
export function unitFiles(io: Io): FileSet {
  const units = SERVICES.map((service): FileSpec => ({
    path: dropInPath(service), content: Buffer.from(unitText(service, io.settings)), mode: 0o644,
  }));
  const foreign = units.find(({ path }) => linkStat(path) !== undefined && !isOurs(path));
  const wanted = isWanted(io);
  if (wanted === 'unknown' || (wanted === 'no' && foreign !== undefined)) {
    return { directories: [], files: [], surplus: [] };
  }
  if (wanted === 'no') return { directories: [], files: [], surplus: units };
  if (foreign !== undefined) throw new HostError(`${quote(foreign.path)} is not guestwire's: move it away, or remove [serve] from the host config`);
  if (existsSync(UNITS_DIR)) return { directories: [UNITS_DIR], files: units, surplus: [] };
  io.warn(`${quote(UNITS_DIR)} is missing: without systemd no program serves guests as [serve] of the host config says`);
  return { directories: [], files: [], surplus: [] };
}

/** Returns the templates that are installed. */
export function installedUnits(): string[] {
  return SERVICES.map(dropInPath).filter((path) => linkStat(path)?.isFile() === true && isOurs(path));
}

/**
 * Milliseconds: longer than systemd gives a unit to stop (DefaultTimeoutStopSec, 90 s) or a busy one needs to read all
 * units.
 */
export const SYSTEMCTL_DEADLINE = 100_000;

/** Makes a running systemd read its files again when one of the changed files is a unit. */
export async function reloadUnits(io: Io, changed: readonly string[]): Promise<void> {
  if (!changed.some((path) => dirname(path) === UNITS_DIR) || !existsSync('/run/systemd/system')) return;
  const request = { tool: 'systemctl', args: ['daemon-reload'], deadline: SYSTEMCTL_DEADLINE };
  assertSuccess(request, await io.exec(request), 'making systemd read its units');
}

/** Returns a template as systemd reads it; %i is the link's name as systemd escapes it, %I the name itself. */
export function unitText(service: Service, settings: Settings): string {
  const dir = join(serveDir(settings), '%I');
  return `${MARK}; the hook starts and stops its instances.
[Unit]
Description=guestwire: ${service.does} on %I
BindsTo=sys-subsystem-net-devices-%i.device
After=sys-subsystem-net-devices-%i.device
ConditionPathExists=${dir}/${service.config}
StartLimitIntervalSec=0
CollectMode=inactive-or-failed

[Service]
Type=exec
ExecStart=${[service.program, ...service.args(dir)].join(' ')}
Restart=on-failure
RestartSec=1
${service === ADVERTISER ? KEEP_ROUTE : ''}NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
ReadWritePaths=${dir}
`;
}

const KEEP_ROUTE = `# At an orderly end radvd withdraws the guest's default route; a restart must keep it.
KillSignal=SIGKILL
`;

function isWanted(io: Io): 'yes' | 'no' | 'unknown' {
  try {
    return io.config.read().serve?.on === true ? 'yes' : 'no';
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    io.warn(`systemd's units stay as they are, because [serve] of the host config cannot be read: ${error.message}`);
    return 'unknown';
  }
}

function dropInPath({ unit }: Service): string {
  return join(UNITS_DIR, `${unit}@.service`);
}

function isOurs(path: string): boolean {
  return readFileSync(path, 'utf8').startsWith(MARK);
}
