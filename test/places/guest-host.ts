/** A throw-away host whose guests the real hook wires, and the command beside a virsh that knows them. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { type Netns, openNetns } from './netns.js';
import { hookIn } from './routed-host.js';

export interface Said {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface GuestHost {
  readonly netns: Netns;
  readonly dir: string;
  /** Starts a guest: its taps must be there. Throws unless the hook let it. */
  start(xml: string): void;
  /** What libvirt says of a guest from now on; undefined: it runs no more. */
  say(xml: string, running?: boolean): void;
  /** What `virsh domstate --reason` says of a guest, if it is not what follows from whether it runs. */
  sayState(name: string, state: string): void;
  /** Runs the command; with `libvirt: false` nobody answers there. */
  guestwire(args: readonly string[], options?: { libvirt?: boolean; env?: Record<string, string> }): Said;
  /** Does what {@link guestwire} does, without a start of node for each command. */
  command(...args: readonly string[]): Promise<Said>;
  /** What a dry run must not change: what the kernel holds and every file of guestwire's. */
  dump(): string;
  close(): void;
}

const VIRSH = `#!/bin/sh
dir=$(dirname "$0")
[ -e "$dir/down" ] && { echo 'error: failed to connect to the hypervisor' >&2; exit 1; }
command=; domain=; next=
for word; do case $word in
  --domain=*) domain=\${word#--domain=} ;;
  --domain) next=1 ;;
  -*) ;;
  *) if [ "$next" ]; then domain=$word; next=; elif [ -z "$command" ]; then command=$word; fi ;;
esac; done
case $command in
  uri) echo qemu+ssh:///system ;;
  version) echo "Running against daemon: 9.0.0"; exit 0 ;;
  list) case "$*" in *--all*) cat "$dir"/defined/* ;; *) cat "$dir"/running/* ;; esac 2>/dev/null; exit 0 ;;
  *) [ -e "$dir/xml/$domain" ] || { echo "error: failed to get domain '$domain'" >&2; exit 1; } ;;
esac
case $command in
  domstate) if [ -e "$dir/state-of/$domain" ]; then cat "$dir/state-of/$domain"; elif grep -q " $domain\\$\\|^$domain " "$dir"/running/* 2>/dev/null; then echo 'running (booted)'; else echo 'shut off (destroyed)'; fi ;;
  dumpxml) cat "$dir/xml/$domain" ;;
  domid) sed -n "s/^<domain[^>]* id='\\([0-9]*\\)'.*/\\1/p" "$dir/xml/$domain" ;;
esac
`;

/** One run of ip answers all that it knows: a dry run is between two dumps. */
const DUMP = `
{
  ip -details -oneline link | sed 's/ promiscuity.*alias/ alias/; s/ promiscuity.*//'
  printf '%s\\n' address rule 'route show table all' 'neighbour show proxy' | ip -oneline -batch -
  ip -6 rule
} | sed '/^multicast ff00/d; s/ tentative//; s/valid_lft.*//; s/ expires [0-9]*sec//'
nft --stateless list ruleset
grep -s . $(find /proc/sys/net/ipv4 /proc/sys/net/ipv6 -type f -perm -200 ! -name flush | sort) || true
find "$STATE" "$QUARANTINE" -printf '%p %m %T@\\n' 2>/dev/null | sort
find "$STATE" "$QUARANTINE" -type f -exec cat {} + 2>/dev/null || true
`;

/** Runs a command for each line of arguments, and answers each with a line. */
const SERVER = `
import { createInterface } from 'node:readline';
const { main, processIo } = await import(process.argv[1]);
for await (const line of createInterface({ input: process.stdin })) {
  const [out, err] = [[], []];
  const io = { ...processIo(), print: (text) => { out.push(text + '\\n'); }, warn: (text) => { err.push('guestwire: ' + text + '\\n'); } };
  const status = await main(JSON.parse(line), io).catch((error) => { err.push(String(error.stack)); return null; });
  process.stdout.write(JSON.stringify({ status, stdout: out.join(''), stderr: err.join('') }) + '\\n');
}`;

interface Server {
  ask(args: readonly string[]): Promise<Said>;
  close(): void;
}

function startServer(netns: Netns, env: Readonly<Record<string, string>>): Server {
  const node = [process.execPath, '--input-type=module', '-e', SERVER, resolve('dist/cli/main.js')];
  const child = spawn('nsenter', ['--net', '--mount', '--target', netns.target, '--wd=.', ...node], {
    env, stdio: ['pipe', 'pipe', 'inherit'],
  });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    ask: async (args) => {
      child.stdin.write(`${JSON.stringify(args)}\n`);
      const answer = await answers.next();
      if (answer.done === true) throw new Error(`the commands' process ended at: ${args.join(' ')}`);
      return JSON.parse(answer.value) as Said;
    },
    close: () => { child.stdin.end(); },
  };
}

export async function openGuestHost(config = ''): Promise<GuestHost> {
  const netns = await openNetns();
  const dir = mkdtempSync(join(tmpdir(), 'guestwire-host-'));
  for (const name of ['xml', 'running', 'defined', 'state-of']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'virsh'), VIRSH);
  chmodSync(join(dir, 'virsh'), 0o755);
  netns.sh('sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1');
  const hook = hookIn(netns, dir, config);
  const env = {
    PATH: `${dir}:${process.env['PATH'] ?? ''}`, GUESTWIRE_STATE_DIR: join(dir, 'state'),
    GUESTWIRE_CONFIG: join(dir, 'config.toml'),
    GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'), LIBVIRT_DEFAULT_URI: 'qemu+ssh:///system',
  };
  const say: GuestHost['say'] = (xml, running = true) => {
    const [name = '', uuid = ''] = ['name', 'uuid'].map((word) =>
      new RegExp(`<${word}>(.*?)</${word}>`).exec(xml)?.[1] ?? '');
    // As virsh takes it, which knows a UUID in capitals, too, and a guest that runs by its id.
    const id = /^<domain[^>]* id='(\d+)'/.exec(xml)?.[1] ?? String(100 + Number.parseInt(uuid.slice(-2), 16));
    rmSync(join(dir, 'xml', id), { force: true });
    const shown = running ? xml.replace(/^<domain (?![^>]* id=)/, `<domain id='${id}' `) : xml;
    for (const file of [name, uuid, uuid.toUpperCase(), ...(running ? [id] : [])])
      writeFileSync(join(dir, 'xml', file), shown);
    rmSync(join(dir, 'running', uuid), { force: true });
    writeFileSync(join(dir, 'defined', uuid), `${uuid} ${running ? id : '-'} ${name}\n`);
    if (running) writeFileSync(join(dir, 'running', uuid), `${uuid} ${id} ${name}\n`);
  };
  let server: Server | undefined;
  return {
    netns, dir, say,
    sayState: (name, state) => { writeFileSync(join(dir, 'state-of', name), state); },
    start: (xml) => {
      const { status, stderr } = hook('start', xml);
      if (status !== 0) throw new Error(`the hook refused: ${stderr}`);
      say(xml);
    },
    guestwire: (args, { libvirt = true, env: more = {} } = {}) => {
      if (libvirt) rmSync(join(dir, 'down'), { force: true });
      else writeFileSync(join(dir, 'down'), '');
      return netns.run(process.execPath, [resolve('dist/cli.js'), ...args], { env: { ...env, ...more } });
    },
    command: (...args) => {
      rmSync(join(dir, 'down'), { force: true });
      server ??= startServer(netns, env);
      return server.ask(args);
    },
    dump: () => netns.sh(
      DUMP, { STATE: join(dir, 'state'), QUARANTINE: join(dir, 'quarantine'), PATH: process.env['PATH'] ?? '' },
    ),
    close: () => {
      server?.close();
      netns.close();
      rmSync(dir, { recursive: true });
    },
  };
}
