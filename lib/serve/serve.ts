/**
 * Serving live routed links: the configurations of dnsmasq and radvd in a run-time directory, one directory a link, and
 * systemd told of them. Nothing here refuses a guest: what cannot be served is a warning in the log. The daemons are
 * systemd's children, never the hook's.
 */
import {
  existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Wired } from '../attachments/kinds.js';
import type { ConfigReading } from '../config/file.js';
import type { Settings } from '../config/paths.js';
import type { ServeConfig } from '../config/serve-table.js';
import { type Guest, nicLabel } from '../domain/guest.js';
import { ConfigError } from '../errors.js';
import { isBridgePort, isThere } from '../kernel/link-files.js';
import { type Exec, type ExecRequest, toolFailure } from '../system/exec.js';
import type { Log } from '../system/log.js';
import { oneLine, quote } from '../values/quote.js';
import { FIRST_LEASES, type Served, servedLink, type Service, SERVICES } from './daemon-config.js';

export interface Serving {
  /** What the journal has of a guest. */
  readonly journal: { read(uuid: string): { readonly guest: Guest; readonly wired: readonly Wired[] } | undefined };
  readonly exec: Exec;
  readonly log: Pick<Log, 'info' | 'warn'>;
  readonly settings: Settings;
  readonly config: ConfigReading;
}

/** Made by systemd when it is process 1 (sd_booted(3)). */
const SYSTEMD = '/run/systemd/system';

/** Milliseconds for one systemctl run: it hands a job over and does not wait for its end, unless the job is to stop. */
const DEADLINE = 5_000;

/** A directory of the run-time directory, as it is found. */
interface Found {
  readonly link: string;
  readonly uuid: string;
  readonly ifindex: number;
}

/** Returns the directory in which every served link has one of its own. */
export function serveDir({ stateDir }: Settings): string {
  return `${stateDir}.serve`;
}

/**
 * Serves exactly the guest's live routed links, when the host config says so, and stops what is served on links that
 * are gone. `ended`: the guest stopped, and no longer has a link. Expects the lock to be held. Never throws.
 */
export async function serveGuest(
  serving: Serving, { uuid, ended }: { readonly uuid: string; readonly ended: boolean },
): Promise<void> {
  await guarded(serving, async () => {
    const dir = serveDir(serving.settings);
    const config = configOf(serving);
    if (config === undefined && !existsSync(dir)) return;
    const entry = serving.journal.read(uuid);
    const wanted = config === undefined || ended
      ? []
      : (entry?.wired ?? []).filter(isLive).flatMap((wired) => servedLink(wired, uuid, config) ?? []);
    const surplus = foundIn(dir).filter((found) =>
      !wanted.some(({ link }) => link === found.link) && (found.uuid === uuid || !isLive(found)));
    await stop(serving, surplus, 'at-once');
    await start(serving, { wanted, uuid, guest: entry?.guest.name ?? uuid });
  });
}

/**
 * Stops the daemons that still serve a link with one of these names for an earlier guest, before the new link gets the
 * addresses that make radvd speak on it. Returns when it is stopped. Never throws.
 */
export async function silence(serving: Serving, links: readonly (string | undefined)[]): Promise<void> {
  await guarded(serving, async () => {
    const dir = serveDir(serving.settings);
    if (!links.some((link) => link !== undefined && existsSync(join(dir, link)))) return;
    await stop(serving, foundIn(dir).filter((found) => links.includes(found.link) && !isLive(found)), 'wait');
  });
}

/** Stops everything that is served, and removes the run-time directory. Never throws. */
export async function stopServing(serving: Serving): Promise<void> {
  await guarded(serving, async () => {
    const dir = serveDir(serving.settings);
    if (!existsSync(dir)) return;
    await stop(serving, foundIn(dir), 'wait');
    rmSync(dir, { recursive: true, force: true });
    serving.log.info(`removed ${quote(dir)}`);
  });
}

async function guarded({ log }: Serving, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    log.warn(`cannot update the DHCP and router advertisements for guests: ${oneLine((error as Error).message)}`);
  }
}

/** The end of a guest needs nothing else of the config, and TOML takes time. */
function configOf({ config }: Serving): ServeConfig | undefined {
  try {
    if (!config.text().includes('serve')) return undefined;
    const { serve } = config.read();
    return serve?.on === true ? serve : undefined;
  } catch (error) {
    // What it says now cannot be told, so what is served goes on.
    if (error instanceof ConfigError) throw new Error(`nothing was changed: ${error.message}`, { cause: error });
    throw error;
  }
}

/** By the kernel's own word, without a tool run: the link has this ifindex and is no bridge port. */
function isLive(one: Pick<Wired, 'link' | 'ifindex'>): boolean {
  return isThere(one) && !isBridgePort(one.link);
}

function foundIn(dir: string): Found[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir).map((link) => {
    const [uuid = '', ifindex = ''] = fileText(join(dir, link, 'owner'))?.split(' ') ?? [];
    return { link, uuid, ifindex: Number(ifindex) };
  });
}

async function stop(serving: Serving, surplus: readonly Found[], when: 'at-once' | 'wait'): Promise<void> {
  if (surplus.length === 0) return;
  const units = surplus.flatMap(({ link }) => SERVICES.map((service) => instanceOf(service, link)));
  if (existsSync(SYSTEMD)) await systemctl(serving, [...(when === 'wait' ? [] : ['--no-block']), 'stop', ...units]);
  const dir = serveDir(serving.settings);
  for (const { link } of surplus) rmSync(join(dir, link), { recursive: true, force: true });
  if (readdirSync(dir).length === 0) rmdirSync(dir);
}

interface Start {
  readonly wanted: readonly Served[];
  readonly uuid: string;
  readonly guest: string;
}

/** A service with an unchanged configuration keeps running; a service that is down starts again. */
async function start(serving: Serving, { wanted, uuid, guest }: Start): Promise<void> {
  const changed: string[] = [];
  const same: string[] = [];
  for (const served of wanted) {
    const { link, ifindex, nic, mac, texts } = served;
    const where = nicLabel(guest, { index: nic, mac });
    const dir = join(serveDir(serving.settings), link);
    if (fileText(join(dir, 'owner')) !== ownerText(uuid, ifindex)) rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    replaceIfOther(join(dir, 'owner'), ownerText(uuid, ifindex));
    if (!existsSync(join(dir, 'leases'))) writeFileSync(join(dir, 'leases'), FIRST_LEASES, { mode: 0o644 });
    for (const [service, text] of texts) {
      const unit = instanceOf(service, link);
      const isOther = replaceIfOther(join(dir, service.config), text);
      if (isOther) serving.log.info(`${where}: serve ${service.does} on ${quote(link)}`);
      if (!existsSync(service.program)) {
        serving.log.warn(`${where}: no ${service.does} on ${quote(link)}, because ${quote(service.program)} is missing: install package ${service.from}`);
      } else if (existsSync(SYSTEMD)) (isOther ? changed : same).push(unit);
      else serving.log.warn(`${where}: no ${service.does} on ${quote(link)}, because systemd does not run here: run '${[service.program, ...service.args(dir)].join(' ')}' yourself`);
    }
  }
  if (changed.length > 0) await systemctl(serving, ['--no-block', 'restart', ...changed]);
  if (same.length > 0) await systemctl(serving, ['--no-block', 'start', ...same]);
}

async function systemctl({ exec, log }: Serving, args: readonly string[]): Promise<void> {
  const request: ExecRequest = { tool: 'systemctl', args, deadline: DEADLINE };
  const result = await exec(request);
  if (result.exitCode === 0) return;
  log.warn(`${toolFailure(request, result, args.join(' '))}: run 'guestwire install', which writes the units if the host config has [serve]`);
}

/** systemd's escaping of instance names, systemd-escape(1): the units turn it back with %I. */
function instanceOf({ unit }: Service, link: string): string {
  const escaped = link.replace(/[^A-Za-z0-9:_.]|^\./g, (letter) => `\\x${letter.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `${unit}@${escaped}.service`;
}

function ownerText(uuid: string, ifindex: number): string {
  return `${uuid} ${ifindex}\n`;
}

/** Replaced by a rename: a daemon that starts now reads the old or the new text, never half of one. */
function replaceIfOther(path: string, text: string): boolean {
  if (fileText(path) === text) return false;
  writeFileSync(`${path}.draft`, text, { mode: 0o644 });
  renameSync(`${path}.draft`, path);
  return true;
}

function fileText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
