// @tier fast kernel
/** Completion in a real bash: commands, options, guests and MACs, from the table of commands. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { COMMANDS, main } from '../../lib/cli/main.js';
import type { Io } from '../../lib/guests/io.js';
import { testWith } from '../places/capability.js';

const bashTest = testWith('bash');
const SCRIPT = `
source "$1"
COMP_LINE=$2 COMP_POINT=\${#2} COMP_CWORD=1
read -ra COMP_WORDS <<<"$2"
_guestwire guestwire "" "" 2>"$3"
((\${#COMPREPLY[@]} == 0)) || printf '%s\\n' "\${COMPREPLY[@]}"
`;

let dir: string;
let script = '';
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'guestwire-completion-'));
  const io = {
    print: (text: string) => { script = text; }, warn: (text: string) => { throw new Error(text); },
  } as Pick<Io, 'print' | 'warn'> as Io;
  expect(await main(['completion', 'bash'], io)).toBe(0);
  writeFileSync(join(dir, 'script'), script);
  writeFileSync(join(dir, 'virsh'), `#!/bin/sh
case "$*" in
  '--readonly --quiet list --all --name') printf '%s\\n' web1 web2 'db one' 'x$(touch ${dir}/owned)' "it's" '' ;;
  '--readonly --quiet domiflist web1') echo ' vnet0  bridge  br0  virtio  52:54:00:aa:bb:01'; echo ' -  ethernet  -  virtio  52:54:00:aa:cc:02' ;;
  *) exit 1 ;;
esac
`);
  chmodSync(join(dir, 'virsh'), 0o755);
});
afterAll(() => { rmSync(dir, { recursive: true }); });

/** What bash offers for a line whose end the cursor is at. */
function offered(line: string): string[] {
  const { status, stdout, stderr } = spawnSync(
    'bash', ['--norc', '-c', SCRIPT, 'bash', join(dir, 'script'), line, join(dir, 'errors')], {
      encoding: 'utf8', cwd: dir, env: { PATH: `${dir}:${process.env['PATH'] ?? ''}` },
    },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout.split('\n').filter((word) => word !== '');
}

describe('completion', () => {
  bashTest('offers every command, and of each all its options', () => {
    expect(offered('guestwire ')).toEqual([...COMMANDS.map(({ name }) => name), 'help', '--help', '--version']);
    for (const { name, options } of COMMANDS) expect(offered(`guestwire ${name} --`)).toEqual([
      ...Object.keys(options).map((option) => `--${option}`), '--help',
    ]);
    expect(offered('guestwire re')).toEqual(['reconcile']);
    expect(offered('guestwire help ')).toEqual(COMMANDS.map(({ name }) => name));
    expect(offered('guestwire help pl')).toEqual(['plan']);
    expect(offered('guestwire reconcile --dr')).toEqual(['--dry-run']);
    expect(offered('guestwire nothing ')).toEqual([]);
  });

  bashTest('offers guests where one is taken, whatever their names hold', () => {
    for (const { name, operand } of COMMANDS)
      expect(offered(`guestwire ${name} we`)).toEqual(operand === 'guest' ? ['web1', 'web2'] : []);
    expect(offered('guestwire status '))
      .toEqual(['web1', 'web2', 'db\\ one', `x\\$\\(touch\\ ${dir}/owned\\)`, "it\\'s"]);
    expect(spawnSync('test', ['-e', join(dir, 'owned')]).status).toBe(1);
  });

  bashTest('offers the MACs of the guest, also behind a colon', () => {
    expect(offered('guestwire set web1 --nic ')).toEqual(['52:54:00:aa:bb:01', '52:54:00:aa:cc:02']);
    expect(offered('guestwire set web1 --nic 52:54:00:aa:c')).toEqual(['cc:02']);
    expect(offered('guestwire unset web1 -n 52')).toEqual(['52:54:00:aa:bb:01', '52:54:00:aa:cc:02']);
    expect(offered('guestwire set none --nic ')).toEqual([]);
  });

  bashTest('offers files, and nothing where only the one who types knows', () => {
    expect(offered('guestwire plan -f scr')).toEqual(['script']);
    expect(offered('guestwire set web1 --vlan ')).toEqual([]);
    expect(offered('guestwire explain web1 --from 1')).toEqual([]);
    expect(offered('guestwire completion ')).toEqual(['bash']);
  });
});

test('there is one shell', async () => {
  const told: string[] = [];
  expect(await main(['completion', 'zsh'], { warn: (text: string) => { told.push(text); } } as Io)).toBe(2);
  expect(told).toEqual(["only 'bash' has a completion: see 'guestwire completion --help'"]);
});
