/** `guestwire install`: puts the hook where libvirt calls it and AppArmor lets it run, and tells libvirt's daemon. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, HostError, UsageError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { LOCK_WAIT } from '../guests/locked.js';
import { refusedGuests } from '../guests/refused.js';
import { agentFiles, startAgent } from '../install/agent-unit.js';
import { dropIns, type DropIns } from '../install/drop-ins.js';
import { applyFileSet, type FileSet, type FileSpec } from '../install/file-set.js';
import {
  assertSafeDirectory, BESIDE, BESIDE_DIR, findPlace, HOOKS_DIR, LIBRARY_DIR, LIBRARY_FILES, linkStat, MAIN,
  type InstallPlace, standingAt,
} from '../install/layout.js';
import { type InstallRecord, readRecord, recordFile } from '../install/record.js';
import { type Consent, daemonKey, reloadDaemons } from '../install/reload.js';
import { assertHost, type Build, readBuild } from '../install/requirements.js';
import { reloadUnits, unitFiles } from '../install/units.js';
import { installedVersion } from '../libvirt/this-host.js';
import { acquireLock } from '../system/lock.js';
import { now } from '../system/process.js';
import { quote } from '../values/quote.js';
import { assertRoot, command } from './command.js';

export const install = command({
  name: 'install',
  summary: "install or update libvirt's hook on this host",
  help: `Usage: guestwire install [--yes | --no-reload] [--drop-ins] [--agent]

Copies the hook to /usr/lib/guestwire and its launcher to /etc/libvirt/hooks/qemu. If another script is there, the
launcher goes to /etc/libvirt/hooks/qemu.d/guestwire, which libvirt runs since 6.5. A launcher that is installed already
stays where it is. Files are replaced atomically, so guests may start meanwhile; after a failure everything is as it was
before. Nothing that is not guestwire's is touched. Run it again after every update of guestwire.

It names guestwire's route protocol in /etc/iproute2/rt_protos.d/guestwire.conf, for 'ip route show proto guestwire'. If
package bash-completion is there, it also writes /usr/share/bash-completion/completions/guestwire.

libvirtd and virtqemud see a new hook when they start or reload. A reload does not touch running guests, but libvirtd
then starts every inactive network and storage pool that is set to autostart. install names these and asks you first.
Without a terminal it reloads only with --yes.

With [serve] in the host config it writes the systemd units guestwire-dhcp@ and guestwire-ra@ to /etc/systemd/system;
without [serve] it removes them. Run it again after you add or remove [serve].

With --agent it also installs, enables and starts guestwire-agent.service, which runs 'guestwire agent'. A later install
updates the service; uninstall removes it.

  -y, --yes        reload without asking
      --no-reload  do not reload: libvirt calls the hook once the daemon is reloaded or restarted
      --drop-ins   tell systemd-networkd and NetworkManager, if they are there, to leave guests' routes and taps alone:
                   write guestwire.conf in /etc/systemd/networkd.conf.d and /etc/NetworkManager/conf.d
      --agent      install the agent, too

At the end it warns of every defined guest that would not start with this release and the host config.

Needs root, /usr/bin/node 18.19 or newer, and the packages iproute2 and util-linux.`,
  options: {
    yes: { type: 'boolean', short: 'y' }, 'no-reload': { type: 'boolean' }, 'drop-ins': { type: 'boolean' },
    agent: { type: 'boolean' },
  },
  run: async ({ values: flags }, io) => {
    const consent = consentOf(flags);
    assertRoot('install');
    await assertHost(io);
    const build = await readBuild(io);
    const extra = dropIns({
      protocol: protocolOfHost(io), completion: build.completion, services: flags['drop-ins'] === true,
    });
    const record = await installFiles(io, build, { extra, agent: flags.agent === true });
    const reloaded = await reloadDaemons(io, record, consent);
    if (reloaded.length > 0) remember({ ...record, told: [...record.told, ...reloaded.map(daemonKey)] });
    await warnOfRefused(io);
    return 0;
  },
});

function consentOf(flags: { readonly yes?: boolean; readonly 'no-reload'?: boolean }): Consent {
  if (flags.yes === true && flags['no-reload'] === true) throw new UsageError("'--yes' and '--no-reload' exclude each other");
  if (flags['no-reload'] === true) return 'never';
  return flags.yes === true ? 'agree' : 'ask';
}

/**
 * An update may refuse what the release before it took. The warning about a config that cannot be read comes earlier.
 */
async function warnOfRefused(io: Io): Promise<void> {
  try {
    for (const sentence of await refusedGuests(io)) io.warn(`refused at the next start: ${sentence}`);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
  }
}

/** A broken config is for the guests it is about; here it only means that the protocol is not known. */
function protocolOfHost(io: Io): number | undefined {
  try {
    return io.config.read().routed.protocol;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    io.warn(`${error.message}: until it is repaired, guestwire refuses the guests that it wires, and its route protocol has no name`);
    return undefined;
  }
}

/** Under the host's lock, so that two installations do not undo each other. A refusal leaves no lock file behind. */
async function installFiles(
  io: Io, build: Build, { extra, agent }: { readonly extra: DropIns; readonly agent: boolean },
): Promise<InstallRecord> {
  const { lock: path } = io.settings;
  const isNew = !existsSync(path);
  const lock = await acquireLock(io.exec, { path, wait: LOCK_WAIT, holder: 'guestwire install' });
  try {
    for (const directory of [HOOKS_DIR, LIBRARY_DIR]) assertSafeDirectory(directory);
    const place = findPlace();
    if (place.launcher === BESIDE) assertSafeDirectory(BESIDE_DIR);
    if (place.launcher === BESIDE && !existsSync(BESIDE)) await assertRunsBeside(io);
    const draft = recordFor(place, extra);
    extra.warnings.forEach(io.warn);
    const units = unitFiles(io);
    const agents = agentFiles(io, agent);
    const set = fileSet(build, { place, extra }, draft);
    const done = applyFileSet({
      directories: [...set.directories, ...units.directories], files: [...units.files, ...set.files, ...agents.files],
      surplus: [...set.surplus, ...units.surplus],
    });
    const record = { ...draft, placed: draft.placed ?? await now(io.exec) };
    remember(record);
    if (place.launcher === BESIDE && existsSync(MAIN)) io.print(`${quote(MAIN)} is another script: the launcher goes beside it`);
    const changed = done.filter(({ isChanged }) => isChanged).map(({ path: file }) => file);
    [...done.map(({ text }) => text), ...extra.advice(changed)].forEach(io.print);
    await reloadUnits(io, changed);
    await startAgent(io, changed);
    return record;
  } catch (error) {
    if (isNew) rmSync(path, { force: true });
    throw error;
  } finally {
    lock.release();
  }
}

interface Layout {
  readonly place: InstallPlace;
  readonly extra: DropIns;
}

function fileSet(build: Build, { place, extra }: Layout, record: InstallRecord): FileSet {
  const library = build.library.map(({ name, content }): FileSpec => ({
    path: join(LIBRARY_DIR, name), content, mode: 0o644,
  }));
  const outdated = LIBRARY_FILES.filter((name) => !build.library.some((file) => file.name === name));
  return {
    directories: [...directoriesOf(place), ...extra.directories],
    files: [
      // First, so that a run that is killed leaves a record of what it made; the launcher last, when all it runs is
      // there.
      recordFile(record),
      ...extra.files,
      ...library,
      // libvirt runs whatever is executable in qemu.d, a draft too.
      { path: place.launcher, content: build.launcher, mode: 0o755, staging: HOOKS_DIR },
    ],
    surplus: [
      ...outdated.map((name) => ({ path: join(LIBRARY_DIR, name) })),
      ...place.surplus.map((path) => ({ path, staging: HOOKS_DIR })),
    ],
  };
}

function directoriesOf({ launcher }: InstallPlace): string[] {
  return [LIBRARY_DIR, HOOKS_DIR, ...(launcher === BESIDE ? [BESIDE_DIR] : [])];
}

function recordFor(place: InstallPlace, extra: DropIns): InstallRecord {
  const earlier = readRecord();
  const made = [...directoriesOf(place), ...extra.directories].filter((directory) => linkStat(directory) === undefined);
  const stays = earlier !== undefined && standingAt(place.launcher) === 'ours';
  return {
    version: 1,
    directories: [...new Set([...(earlier?.directories ?? []), ...made])],
    placed: stays ? earlier.placed : undefined,
    told: stays ? earlier.told : [],
  };
}

/** libvirt before 6.5.0 would never run the launcher there, and guests would start without their network. */
async function assertRunsBeside(io: Io): Promise<void> {
  const version = await installedVersion(io.exec);
  const [major = 0, minor = 0] = version?.split('.').map(Number) ?? [];
  if (version === undefined) io.warn(`libvirt runs scripts in ${quote(BESIDE_DIR)} since 6.5, and without virsh the version of libvirt is unknown`);
  else if (major < 6 || (major === 6 && minor < 5)) {
    throw new HostError(`${quote(MAIN)} is another script, and libvirt ${version} does not run scripts in ${quote(BESIDE_DIR)}: update libvirt to 6.5 or newer, or move that script away`);
  }
}

function remember(record: InstallRecord): void {
  applyFileSet({ directories: [], files: [recordFile(record)], surplus: [] });
}
