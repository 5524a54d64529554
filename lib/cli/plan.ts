/** `guestwire plan`: the exact batches that would run now, with every check made and nothing changed. */
import { foreseen, placedOf, withPlaceholders } from '../attachments/attachment.js';
import { deriveAttachments } from '../attachments/derive.js';
import type { Placed } from '../attachments/kinds.js';
import { type Domain, parseDomain } from '../domain/domain.js';
import { NIL_UUID } from '../domain/guest.js';
import type { Io } from '../guests/io.js';
import type { Kernel } from '../kernel/kernel.js';
import { EMPTY_SCOPE, type LinkFacts, type Observation } from '../kernel/observation.js';
import { hostFrom, pastOf } from '../reconcile/host.js';
import type { Plan } from '../reconcile/plan.js';
import { planWiring } from '../reconcile/reconcile.js';
import type { Batch } from '../state/render.js';
import { TOOLS } from '../state/tools.js';
import { quote } from '../values/quote.js';
import { command, JSON_VERSION, readDomainXml } from './command.js';

export const plan = command({
  name: 'plan',
  summary: 'show what a start of the guest would change on this host now',
  help: `Usage: guestwire plan (-f FILE | GUEST) [--json]

Shows the exact lines that 'ip', 'bridge' and 'nft' would get, and the sysctls that would be written, if the guest
started now. Reads the host; changes nothing. A tap that libvirt has not named yet appears as NIC-0, NIC-1 and so on.

  -f, --file FILE  read the domain XML from FILE; '-' is standard input
  GUEST            name, UUID or id: ask libvirt for it
  --json           print {"version", "guest": {"name", "uuid"}, "batches": [{"tool", "lines"}]}`,
  options: { file: { type: 'string', short: 'f' }, json: { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values, positionals }, io) => {
    const domain = parseDomain(await readDomainXml(io, values.file, positionals));
    const { batches } = await planNow(io, domain);
    io.print(values.json === true ? toJson(domain, batches) : toText(domain, batches));
    return 0;
  },
});

async function planNow(io: Io, domain: Domain): Promise<Plan> {
  const attachments = deriveAttachments(domain, io.config.read());
  const host = hostFrom(io);
  const guest = { name: domain.name, uuid: domain.uuid ?? NIL_UUID };
  const named = attachments.map((one) => withPlaceholders(one, `NIC-${one.nic}`));
  return planWiring(host, {
    guest, attachments, fresh: true, incoming: false,
    foresee: async (observation) => ({
      attachments: named, observation: await foresee(host.kernel, placedOf(named), observation),
    }),
  }, pastOf(host, guest.uuid));
}

/** Returns `observation` with the links that are to come, as the kernel makes them. */
async function foresee(kernel: Kernel, placed: readonly Placed[], observation: Observation): Promise<Observation> {
  const coming = placed
    .filter(({ link }) => !observation.links.has(link))
    .map((one) => ({ link: one.link, ...foreseen(one, observation) }))
    .filter(({ absent }) => absent !== true);
  const sysctls = coming.flatMap((one) => one.sysctls);
  const defaults = await kernel.observe({ ...EMPTY_SCOPE, sysctls: sysctls.map(({ source }) => source) });
  const vlans = coming.flatMap(({ link, vlans: members }) => (members === undefined ? [] : [[link, members] as const]));
  // A link that guestwire makes is down, whatever else has its name.
  const down = new Set(coming.filter(({ up }) => !up).map(({ link }) => link));
  return {
    ...observation,
    vlans: new Map([...observation.vlans, ...vlans]),
    links: new Map([
      ...observation.links,
      ...coming.map(({ link, master }) => [link, { ...freshTap(link, !down.has(link)), master }] as const),
    ]),
    sysctls: new Map([...observation.sysctls, ...sysctls.flatMap(({ path, source }) => {
      const value = defaults.sysctls.get(source);
      return value === undefined ? [] : [[path, value] as const];
    })]),
  };
}

/** 1000 is the queue length of a tap that libvirt makes (measured on Linux 6.18). */
function freshTap(ifname: string, up: boolean): LinkFacts {
  return {
    ifname, ifindex: 0, up, txqlen: 1000, mac: undefined, mtu: undefined, allmulticast: false, alias: undefined,
    peer: undefined, tap: undefined,
    master: undefined, addresses: [], isolated: false, bridge: undefined,
  };
}

function toJson({ name, uuid }: Domain, batches: readonly Batch[]): string {
  const shown = batches.map(({ tool, lines }) => ({ tool, lines: lines.map(({ text }) => text) }));
  return JSON.stringify({ version: JSON_VERSION, guest: { name, uuid: uuid ?? null }, batches: shown }, null, 2);
}

function toText({ name }: Domain, batches: readonly Batch[]): string {
  if (batches.length === 0) return `guest ${quote(name)}: nothing to do`;
  const lines = batches.flatMap((batch) => [`# ${TOOLS[batch.tool].command}`, ...batch.lines.map(({ text }) => text)]);
  return lines.join('\n');
}
