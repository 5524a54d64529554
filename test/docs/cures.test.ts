/**
 * Every command of lib/ that changes the network of a host and that guestwire prints for an operator: a test runs each
 * on the host where it was printed, with pings of the host where it could cut the host off.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const DOCTOR = 'test/cli/doctor.test.ts';
const SETTINGS = 'test/kernel-real/host-settings.test.ts';
const CURES = 'test/lab/uml/cures.test.js';

/** By command, the test that runs it, and what that test looks for. X: what lib/ puts in. */
const RUN_BY: Readonly<Record<string, readonly [file: string, finds: string]>> = {
};

/** Returns the commands in the literals of a file, with X for what is put in. */
function commandsIn(text: string): string[] {
  const whole = text.replace(/^\s*(?:\/\*\*|\*|\/\/).*$/gm, '').replace(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, 'X');
  return [...whole.matchAll(/['"`( ](?=((?:(?:ip (?:-6 )?(?:link|route|rule|address) (?:set|add|del)|bridge vlan add|sysctl -w|nft (?:insert|list)) [^'"`\n]*|X -I [^'"`\n]*)))/g)]
    .map(([, command = '']) => command.trim());
}

test('a test runs every command that guestwire prints against a fault of the host', () => {
  const found = readdirSync('lib', { recursive: true, encoding: 'utf8' })
    .filter((name) => /^(?:attachments|doctor|cli|guests|reconcile|hook|install|survey)\/.*\.ts$/.test(name))
    .flatMap((name) => commandsIn(readFileSync(join('lib', name), 'utf8')));
  expect([...new Set(found)].sort()).toEqual(Object.keys(RUN_BY).sort());
});

test.each(Object.entries(RUN_BY))('%s', (_command, [file, finds]) => {
  expect(readFileSync(file, 'utf8')).toContain(finds);
});
