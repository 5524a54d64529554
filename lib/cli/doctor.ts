/** `guestwire doctor`: what is wrong, or may go wrong, with this host, and the command that mends it. */
import type { Finding } from '../attachments/health-facts.js';
import { diagnose } from '../doctor/diagnosis.js';
import { doctorFacts } from '../doctor/facts.js';
import { untoldServices } from '../install/drop-ins.js';
import { hookFindings } from '../install/hook-health.js';
import { assertRootToRead, command, JSON_VERSION } from './command.js';
import { painted } from './table.js';

export const doctor = command({
  name: 'doctor',
  summary: 'show what is wrong with this host, and how to repair it',
  help: `Usage: guestwire doctor [--json]

Examines what guests need of this host, and what is known to break them: bridges, uplinks, forwarding, sysctls,
firewalls, network daemons, duplicate addresses and MACs among all defined guests, libvirt's hook, versions. Each
finding says why it matters and how to repair it. Changes nothing.

  --json  print {"version", "findings": [{"severity": "error", "warning" or "note", "what", "why", "cure"}]}

Needs root. Exit status: 0 no error, 1 an error is found.`,
  options: { json: { type: 'boolean' } },
  run: async ({ values: { json = false } }, io) => {
    assertRootToRead('doctor');
    const findings = diagnose(await doctorFacts(io, { install: await hookFindings(io), untold: untoldServices() }));
    if (json) io.print(JSON.stringify({ version: JSON_VERSION, findings }, null, 2));
    else io.print(findings.length === 0
      ? 'nothing is wrong with this host'
      : findings.map((finding) => findingText(finding, io.colours === true)).join('\n'));
    return findings.some(({ severity }) => severity === 'error') ? 1 : 0;
  },
});

const COLOURS = { error: 'red', warning: 'yellow', note: undefined } as const;

function findingText({ severity, what, why, cure }: Finding, colours: boolean): string {
  return `${painted(severity, COLOURS[severity], colours)}: ${what}\n  why:  ${why}\n  cure: ${cure}`;
}
