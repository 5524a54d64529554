/**
 * Many calls of the launcher from one shell inside a host's namespaces. A call of `host.hook` forks jest and runs
 * nsenter and env first, and they take as long as a launcher that ends without node.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HookHost, Outcome } from './hook-run.js';

export interface Call {
  readonly operation: string;
  readonly guest: string;
  /** Text without a NUL: a shell variable holds it. */
  readonly xml: string | Uint8Array;
  /** What the stand-in of nodeless-host.ts does as node; what /run/node.exit says unless given. */
  readonly exit?: string;
  /** In front of the launcher: another shell, a limit. */
  readonly through?: readonly string[];
}

export interface Ended extends Outcome {
  /** Whether the stand-in ran as node. */
  readonly gotToNode: boolean;
}

/** As `runHook` of hook-run.ts cleans it. */
const ENVIRONMENT = ['LC_ALL=C', 'HOME=/root', 'GUESTWIRE_CONFIG=/run/config.toml', 'GUESTWIRE_ADDRESSES_DIR=/run/tools/addresses'];

/**
 * XML, exit of node and PATH, then the words of the launcher. The XML comes through a pipe, as from libvirt. Tests fill
 * /run or make it read-only, so what a call leaves is elsewhere.
 */
const FUNCTION = `
calls=\${0%/*}
call() {
	xml=$1 exit=$2 path=$3 count=$((count + 1))
	shift 3
	[ -z "$exit" ] || echo "$exit" >/run/node.exit
	printf '%s' "$xml" 2>/dev/null | { export PATH="$path"; exec "$@" >"$calls/$count.out" 2>"$calls/$count.err"; }
	echo $? >"$calls/$count.status"
	[ ! -s /run/node.log ] || { : >"$calls/$count.node"; : >/run/node.log; }
}
count=0
cd /
`;

/** Runs the calls one after another with this PATH, one that `host.tools` returned. */
export async function hookAll(host: HookHost, path: string, calls: readonly Call[]): Promise<Ended[]> {
  const dir = mkdtempSync(join(tmpdir(), 'guestwire-calls-'));
  // A guest's XML may have megabytes: the script says each once.
  const texts = [...new Set(calls.map(({ xml }) => xml))];
  const variables = texts.map((text, at) => `xml${at}=${word(text)}\n`);
  const lines = calls.map((call) => lineOf(path, `"$xml${texts.indexOf(call.xml)}"`, call));
  writeFileSync(`${dir}/script`, [FUNCTION, ...variables, ...lines].join(''), 'latin1');
  await runScript(host.target, `${dir}/script`);
  rmSync(host.outside('/run/node.log'), { force: true });
  const ended = calls.map((_, index) => {
    const read = (what: string): string => readFileSync(`${dir}/${index + 1}.${what}`, 'utf8');
    const gotToNode = existsSync(`${dir}/${index + 1}.node`);
    return { status: Number(read('status')), stdout: read('out'), stderr: read('err'), gotToNode };
  });
  rmSync(dir, { recursive: true });
  return ended;
}

/** Returns a word of the shell, with a character for each byte: not all XML is UTF-8. */
function word(text: string | Uint8Array): string {
  const bytes = typeof text === 'string' ? Buffer.from(text) : Buffer.from(text);
  return `'${bytes.toString('latin1').replaceAll("'", "'\\''")}'`;
}

function lineOf(path: string, xml: string, { operation, guest, exit = '', through = [] }: Call): string {
  const end = operation === 'stopped' || operation === 'release' ? 'end' : 'begin';
  const words = [exit, path, ...through, '/run/checkout/hooks/qemu', guest, operation, end, '-'];
  return `call ${xml} ${words.map(word).join(' ')}\n`;
}

/** Without a limit of its own: jest has one. */
function runScript(target: string, script: string): Promise<void> {
  const clean = ['/usr/bin/env', '-i', 'PATH=/usr/bin:/bin', ...ENVIRONMENT];
  const words = ['--net', '--mount', '--target', target, '--wd=/', ...clean, '/bin/sh', script];
  return new Promise((done, fail) => {
    const child = spawn('nsenter', words, { stdio: ['ignore', 'ignore', 'inherit'] });
    child.once('error', fail);
    child.once('exit', (code) => {
      if (code === 0) done();
      else fail(new Error(`the shell of the calls ended with ${String(code)}`));
    });
  });
}
