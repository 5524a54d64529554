/** `guestwire status`: what guestwire wires on this host and whether it is so, NIC by NIC. */
import { shownOf } from '../attachments/attachment.js';
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { parseDomain } from '../domain/domain.js';
import type { Guest } from '../domain/guest.js';
import { UsageError } from '../errors.js';
import type { Io } from '../guests/io.js';
import { askBeside } from '../guests/ask-libvirt.js';
import { guestAmong, guestOfLibvirt } from '../guests/named.js';
import { askLibvirt } from '../guests/inquiry.js';
import { bytesOn } from '../kernel/link-files.js';
import { type Host, hostFrom } from '../reconcile/host.js';
import { unrecorded } from '../reconcile/unrecorded.js';
import { nicsIn, type NicState, type SurveyedNic } from '../survey/nic-state.js';
import { survey } from '../survey/survey.js';
import { quote, unquoted } from '../values/quote.js';
import { formatMembership } from '../values/vlan.js';
import { command, JSON_VERSION } from './command.js';
import { type Cell, type Colour, type Column, renderTable } from './table.js';

export const status = command({
  name: 'status',
  summary: 'show what is wired on this host, and what changed since',
  help: `Usage: guestwire status [GUEST] [--json]

Shows each NIC that guestwire wires: its link, its VLANs or addresses, its state, the bytes that the guest received (IN)
and sent (OUT), and how long it has been wired. Reads the state directory, the host and, if it answers, libvirt;
changes nothing. Needs root.

  wired        the NIC is as guestwire wired it
  drifted      something changed since: 'guestwire check' shows what, 'guestwire reconcile' repairs it
  quarantined  'guestwire quarantine' cut it off
  waiting for its migration  the guest is coming by migration, and its routes wait for it
  not wired    its link is gone
  without a record  the guest runs, and its wiring has no record: 'guestwire reconcile --all' writes one
  left alone   neither XML nor host config asks guestwire to wire it

  GUEST   name, UUID or id; also of a guest that guestwire does not wire, if libvirt knows it
  --json  print {"version", "nics": [{"guest": {"name", "uuid"}, "nic", "mac", "link", "kind", "bridge", "vlans",
          "addresses", "routes", "state", "differences", "traffic": {"received", "sent"}, "since"}]}: an absent value
          is null; traffic is in bytes`,
  options: { json: { type: 'boolean' } },
  operand: 'guest',
  run: async ({ values, positionals: [name, extra] }, io) => {
    if (extra !== undefined) throw new UsageError('give the name of one guest');
    const host = hostFrom(io);
    const nics = nicsIn(await survey(host), host.isQuarantined);
    const unknown = await unrecordedRows(io, host);
    const rows = name === undefined ? [...nics.map(rowOf), ...unknown] : await rowsOfGuest(io, { nics, unknown }, name);
    if (unknown.length === 0) await warnOfMarks(io, host);
    const shown = rows.map((row) => row.shown);
    io.print(values.json === true
      ? JSON.stringify({ version: JSON_VERSION, nics: shown }, null, 2)
      : toText(rows, io, name));
    return 0;
  },
});

/** As `--json` prints it. */
interface ShownNic {
  readonly guest: { readonly name: string; readonly uuid: string | null };
  readonly nic: number;
  readonly mac: string | null;
  readonly link: string | null;
  readonly kind: Attachment['kind'] | null;
  readonly bridge: string | null;
  readonly vlans: string | null;
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
  readonly state: NicState | 'unrecorded' | 'left-alone';
  readonly differences: readonly string[];
  readonly traffic: { readonly received: number; readonly sent: number } | null;
  readonly since: string | null;
}

function rowOf({ guest, wired, state, differences, since }: SurveyedNic): Row {
  const shown: ShownNic = {
    guest: { name: guest.name, uuid: guest.uuid }, nic: wired.nic, mac: wired.mac ?? null, link: wired.link,
    kind: wired.kind,
    ...networkOf(wired),
    state, differences, traffic: state === 'not-wired' ? null : trafficOf(wired.link), since,
  };
  return { shown, network: shownOf(wired).network };
}

interface Row {
  readonly shown: ShownNic;
  /** The network in words. */
  readonly network: string;
}

/** What the host's end sends, the guest receives. */
function trafficOf(link: string): ShownNic['traffic'] {
  const bytes = bytesOn(link);
  return bytes === undefined ? null : { received: bytes.sent, sent: bytes.received };
}

interface Known {
  readonly nics: readonly SurveyedNic[];
  readonly unknown: readonly Row[];
}

async function rowsOfGuest(io: Io, { nics, unknown }: Known, name: string): Promise<Row[]> {
  const guest = guestAmong(nics.map((nic) => nic.guest), name) ?? await guestOfLibvirt(io, name);
  const own = [
    ...nics.filter((nic) => nic.guest.uuid === guest.uuid).map(rowOf),
    ...unknown.filter(({ shown }) => shown.guest.uuid === guest.uuid),
  ];
  return own.length > 0 ? own : unwiredOf(io, guest);
}

/** Returns the NICs of running guests that ask for wiring and have no entry: the state directory may be lost. */
async function unrecordedRows(io: Io, host: Host): Promise<Row[]> {
  const guests = await askBeside(io, new Set(host.journal.list().map(({ guest }) => guest.uuid)));
  return guests.flatMap(({ guest: { name, uuid }, attachments }) => attachments.map((one): Row => ({
    shown: {
      guest: { name, uuid }, nic: one.nic, mac: one.mac ?? null, link: one.link ?? null, kind: one.kind,
      ...networkOf(one), state: 'unrecorded', differences: [],
      traffic: one.link === undefined ? null : trafficOf(one.link), since: null,
    },
    network: shownOf(one).network,
  })));
}

/** The kernel shows the wiring also while libvirt does not answer. */
async function warnOfMarks(io: Io, host: Host): Promise<void> {
  const { length } = await unrecorded(host);
  if (length > 0) io.warn(`this host has wiring without a record (objects: ${length}): 'guestwire check' shows it, 'guestwire reconcile --all' repairs it`);
}

/** Of a guest that guestwire has not wired, what libvirt knows. */
async function unwiredOf(io: Io, { uuid, name }: Guest): Promise<Row[]> {
  const domain = parseDomain(await askLibvirt(io, (libvirt) => libvirt.domainXml({ uuid, name, id: undefined })));
  const attachments = deriveAttachments(domain, io.config.read(), io.warn);
  return domain.nics.map(({ index, mac, target }): Row => {
    const asked = attachments.find(({ nic }) => nic === index);
    const shown: ShownNic = {
      guest: { name: domain.name, uuid: domain.uuid ?? null }, nic: index, mac: mac ?? null, link: target.dev ?? null,
      kind: asked?.kind ?? null,
      ...networkOf(asked),
      state: asked === undefined ? 'left-alone' : 'not-wired', differences: [], traffic: null, since: null,
    };
    return { shown, network: shownOf(asked).network };
  });
}

const COLUMNS: readonly Column[] = [
  { title: 'GUEST', least: 8 }, { title: 'NIC' }, { title: 'LINK', least: 8 }, { title: 'NETWORK', least: 16 },
  { title: 'STATE', least: 8 },
  { title: 'IN' }, { title: 'OUT' }, { title: 'SINCE' },
];

const WORDS: Readonly<Record<ShownNic['state'], { readonly text: string; readonly colour?: Colour }>> = {
  wired: { text: 'wired', colour: 'green' }, drifted: { text: 'drifted', colour: 'red' },
  quarantined: { text: 'quarantined', colour: 'yellow' },
  waiting: { text: 'waiting for its migration', colour: 'yellow' }, 'not-wired': { text: 'not wired', colour: 'red' },
  unrecorded: { text: 'without a record', colour: 'red' }, 'left-alone': { text: 'left alone' },
};

const WIDTH = 80;

function toText(rows: readonly Row[], { colours = false }: Io, name: string | undefined): string {
  if (rows.length === 0) return name === undefined ? 'guestwire wires no guest on this host now' : `guest ${quote(name)} has no NIC`;
  const now = Date.now();
  const cells = rows.map(({ network, shown: { guest, nic, link, state, traffic, since } }): Cell[] => [
    { text: unquoted(guest.name) }, { text: String(nic) }, { text: link ?? '-' }, { text: network }, WORDS[state],
    { text: traffic === null ? '-' : size(traffic.received) }, { text: traffic === null ? '-' : size(traffic.sent) },
    { text: since === null ? '-' : age(now - Date.parse(since)) },
  ]);
  return renderTable(COLUMNS, cells, { width: WIDTH, colours }).join('\n');
}

function networkOf(one: Attachment | Wired | undefined): Pick<ShownNic, 'bridge' | 'vlans' | 'addresses' | 'routes'> {
  const { bridge = null, vlans, addresses, routes } = shownOf(one);
  return { bridge, vlans: vlans === undefined ? null : formatMembership(vlans), addresses, routes };
}

const UNITS = ['', 'K', 'M', 'G', 'T', 'P'];

/** Returns bytes in at most four characters and a unit of 1000. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)}${UNITS[unit] ?? ''}`;
}

/** Returns milliseconds as their two greatest units. */
export function age(milliseconds: number): string {
  const minutes = Math.max(0, Math.floor(milliseconds / 60_000));
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  if (days > 0) return `${days}d ${hours}h`;
  return hours > 0 ? `${hours}h ${minutes % 60}m` : `${minutes}m`;
}
