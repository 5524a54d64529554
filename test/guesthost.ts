/** A throw-away host whose guests the real hook wires, and the command beside a virsh that knows them. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Netns, openNetns } from './netns.js';
import { hookIn } from './routedhost.js';

export interface GuestHost {
  readonly netns: Netns;
  readonly dir: string;
  /** Starts a guest: its taps must be there. Throws unless the hook let it. */
  start(xml: string): void;
  /** What libvirt says of a guest from now on; undefined: it runs no more. */
  say(xml: string, running?: boolean): void;
  /** Runs the command; with `libvirt: false` nobody answers there. */
  guestwire(args: readonly string[], options?: { libvirt?: boolean; env?: Record<string, string> }): { status: number | null; stdout: string; stderr: string };
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
  uri) echo qemu+ssh://test/system ;;
  version) echo "Running against daemon: 9.0.0"; exit 0 ;;
  list) case "$*" in *--all*) cat "$dir"/defined/* ;; *) cat "$dir"/running/* ;; esac 2>/dev/null; exit 0 ;;
  *) [ -e "$dir/xml/$domain" ] || { echo "error: failed to get domain '$domain'" >&2; exit 1; } ;;
esac
case $command in
  domstate) if grep -q " $domain\\$\\|^$domain " "$dir"/running/* 2>/dev/null; then echo 'running (booted)'; else echo 'shut off (destroyed)'; fi ;;
  dumpxml) cat "$dir/xml/$domain" ;;
  domid) echo 3 ;;
esac
`;

export async function openGuestHost(config = ''): Promise<GuestHost> {
  const netns = await openNetns();
  const dir = mkdtempSync(join(tmpdir(), 'guestwire-host-'));
  for (const name of ['xml', 'running', 'defined']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'virsh'), VIRSH);
  chmodSync(join(dir, 'virsh'), 0o755);
  netns.sh('sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1');
  const hook = hookIn(netns, dir, config);
  const env = {
    PATH: `${dir}:${process.env['PATH'] ?? ''}`, GUESTWIRE_STATE_DIR: join(dir, 'state'), GUESTWIRE_CONFIG: join(dir, 'config.toml'),
    GUESTWIRE_QUARANTINE_DIR: join(dir, 'quarantine'), LIBVIRT_DEFAULT_URI: 'qemu+ssh://test/system',
  };
  const say: GuestHost['say'] = (xml, running = true) => {
    const [name = '', uuid = ''] = ['name', 'uuid'].map((word) => new RegExp(`<${word}>(.*?)</${word}>`).exec(xml)?.[1] ?? '');
    for (const file of [name, uuid]) writeFileSync(join(dir, 'xml', file), xml);
    rmSync(join(dir, 'running', uuid), { force: true });
    writeFileSync(join(dir, 'defined', uuid), `${uuid} ${running ? '3' : '-'} ${name}\n`);
    if (running) writeFileSync(join(dir, 'running', uuid), `${uuid} 3 ${name}\n`);
  };
  return {
    netns, dir, say,
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
    close: () => {
      netns.close();
      rmSync(dir, { recursive: true });
    },
  };
}
