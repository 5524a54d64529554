/** What must be so before anything is installed: root, a node that libvirt may run, the tools of the hook, a build. */
import { accessSync, constants, existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { isAppArmorOn } from '../kernel/host-settings.js';
import { assertSuccess } from '../system/exec.js';
import { quote } from '../values/quote.js';
import { HOOK, LIBRARY_FILES } from './layout.js';
import { NODE_CURE, nodeFault } from './node-version.js';

/** Where AppArmor's profile of libvirtd lets a hook run programs (Debian 12 and 13). */
const PROGRAM_DIRS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

const NODE = '/usr/bin/node';

/** Debian's packages of the programs without which no guest is wired. */
const NEEDED: Readonly<Record<string, string>> = { flock: 'util-linux', ip: 'iproute2', bridge: 'iproute2' };

/** Something that a package of Debian brings. */
export class MissingError extends HostError {
  constructor(message: string, readonly packages: readonly string[]) {
    super(message);
  }
}

/** What `npm run build` and the package hold that goes to the host. */
export interface Build {
  readonly library: readonly { readonly name: string; readonly content: Buffer }[];
  readonly launcher: Buffer;
  readonly completion: string;
}

/** Throws unless the hook will find what it runs on this host; warns of what it can do without. */
export async function assertHost(io: Io): Promise<void> {
  if (!existsSync('/etc/libvirt')) throw new MissingError("'/etc/libvirt' is missing: install libvirt first (apt-get install libvirt-daemon-system)", ['libvirt-daemon-system']);
  const lacking = Object.entries(NEEDED).filter(([tool]) => !isInstalled(tool));
  const missing = lacking.map(([tool, name]) => `'${tool}' (package ${name})`);
  if (missing.length > 0) throw new MissingError(`the hook needs ${missing.join(', ')} in ${PROGRAM_DIRS.slice(0, -1).join(', ')} or ${PROGRAM_DIRS.at(-1) ?? ''}: install what is missing`, [...new Set(lacking.map(([, name]) => name))]);
  if (!isInstalled('logger')) io.warn("'logger' (package bsdutils) is missing: guests are wired without it, but nothing is written to the system's journal");
  await assertNode(io);
}

/** Returns the files to install. Throws when the build is missing or does not run. */
export async function readBuild(io: Io): Promise<Build> {
  const top = dirname(fileURLToPath(new URL('..', import.meta.url)));
  const [main, ...companions] = LIBRARY_FILES.map((name) => ({ name, path: join(top, 'dist', name) }));
  if (main === undefined || !existsSync(main.path)) throw new HostError(`${quote(join(top, 'dist/hook.cjs'))} is missing: run 'npm run build' in ${quote(top)}`);
  // An operation libvirt does not have: the hook loads, and does nothing.
  const { exitCode, stderr } = await io.exec({ tool: NODE, args: [main.path, 'install', 'check'] });
  if (exitCode !== 0) throw new HostError(`${quote(main.path)} does not run: ${/^\w*Error\b.*/m.exec(stderr)?.[0] ?? `node ended with status ${exitCode ?? 'unknown'}`}`);
  const library = [main, ...companions.filter(({ path }) => existsSync(path))].map(({ name, path }) => ({
    name, content: readFileSync(path),
  }));
  return {
    library, launcher: readLauncher(join(top, 'hooks/qemu')),
    completion: readCompletion(join(top, 'dist/completion.bash')),
  };
}

function readCompletion(path: string): string {
  if (!existsSync(path)) throw new HostError(`${quote(path)} is missing: run 'npm run build'`);
  return readFileSync(path, 'utf8');
}

/** Returns the agent as it was built. */
export function agentBuild(): Buffer {
  const path = join(dirname(fileURLToPath(new URL('..', import.meta.url))), 'dist/agent.mjs');
  if (!existsSync(path)) throw new HostError(`${quote(path)} is missing: run 'npm run build'`);
  return readFileSync(path);
}

/** The launcher of a checkout finds that checkout's build; the installed one is told where its hook is. */
function readLauncher(path: string): Buffer {
  if (!existsSync(path)) throw new HostError(`${quote(path)} is missing: this copy of guestwire is not complete, install the package again`);
  const text = readFileSync(path, 'utf8');
  const told = text.replace(/^hook=$/m, `hook=${HOOK}`);
  if (told === text) throw new HostError(`${quote(path)} has no line 'hook=': this copy of guestwire was changed, install the package again`);
  return Buffer.from(told);
}

async function assertNode(io: Io): Promise<void> {
  if (!existsSync(NODE)) throw new MissingError(`'${NODE}' is missing, and AppArmor lets libvirt's hooks run only programs in the system's own directories: ${NODE_CURE}`, ['nodejs']);
  const real = realpathSync(NODE);
  if (!PROGRAM_DIRS.includes(dirname(real)) && isAppArmorOn()) {
    throw new MissingError(`'${NODE}' leads to ${quote(real)}, and AppArmor lets libvirt's hooks run only programs in the system's own directories: ${NODE_CURE}`, ['nodejs']);
  }
  const request = { tool: NODE, args: ['--version'] };
  const result = await io.exec(request);
  assertSuccess(request, result, 'asking for its version');
  const version = result.stdout.trim();
  const fault = nodeFault(version);
  if (fault !== undefined) throw new MissingError(`'${NODE}' is version ${quote(version)}, and the hook ${fault}`, ['nodejs']);
}

function isInstalled(tool: string): boolean {
  return PROGRAM_DIRS.some((directory) => {
    try {
      accessSync(join(directory, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
