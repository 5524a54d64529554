/**
 * `guestwire set` and `guestwire unset`: a guest's metadata through libvirt's API, judged before anything is written.
 */
import { deriveAttachments } from '../attachments/derive.js';
import type { Attachment } from '../attachments/kinds.js';
import type { HostConfig } from '../config/host-config.js';
import { agentLockOf } from '../config/paths.js';
import { type Domain, METADATA_NAMESPACE, parseDomain } from '../domain/domain.js';
import {
  assertNic, domainWith, metadataElement, type MetadataChange, wholeMetadata, withChange, withoutNic,
} from '../domain/metadata-edit.js';
import type { NicMetadata } from '../domain/metadata.js';
import { DomainXmlError, GuestwireError, HostError, UsageError } from '../errors.js';
import { assertFree } from '../guests/address-clash.js';
import type { Io } from '../guests/io.js';
import { domainNamed } from '../guests/named.js';
import { askLibvirt, isUsersOwn } from '../guests/inquiry.js';
import type { Connection } from '../libvirt/connection.js';
import { LibvirtError } from '../libvirt/errors.js';
import type { DomainRef } from '../libvirt/refs.js';
import { isHeld } from '../system/lock.js';
import { quote } from '../values/quote.js';
import { command } from './command.js';

const WHERE = `  -n, --nic MAC    the NIC
      --live       change only the running guest; default: both, or only --config if the guest does not run
      --config     change only what the guest starts with next

Writes nothing unless the guest and the host config allow all of it, and no other guest has it: neither a guest that is
wired here nor one that this host's libvirt defines. The agent ('guestwire agent') rewires a running guest at once;
without the agent, run 'guestwire reconcile GUEST'.

GUEST is a name, a UUID or an id. Needs root, or the group libvirt and LIBVIRT_DEFAULT_URI=qemu:///system. Exit status:
0 written, 1 the guest may not have that, or there is no such guest or NIC, 2 an option or a value is wrong.`;

const SHARED = { nic: { type: 'string', short: 'n' }, live: { type: 'boolean' }, config: { type: 'boolean' } } as const;

export const set = command({
  name: 'set',
  summary: "write into a guest's metadata what a NIC is on the network",
  help: `Usage: guestwire set GUEST --nic MAC (--vlan VID | --trunk VIDS [--native VID]) [--isolated]
       guestwire set GUEST --nic MAC [--ip ADDRESS]... [--route PREFIX[,GATEWAY]]...

Makes the NIC a VLAN port or a routed link. What you do not name stays as it is. A VLAN port that becomes a routed link,
or a routed link that becomes a VLAN port, loses its previous settings.

      --vlan VID   an access port
      --trunk VIDS tagged VLANs such as 20,30-40
      --native VID the VLAN of a trunk's untagged frames
      --isolated   keep isolated guests of the bridge from each other
      --ip ADDRESS an address of the guest; may be repeated. These addresses replace the present ones
      --route ...  a prefix behind the guest, via GATEWAY or the guest's first address; may be repeated
${WHERE}`,
  options: {
    ...SHARED, vlan: { type: 'string' }, trunk: { type: 'string' }, native: { type: 'string' },
    isolated: { type: 'boolean' }, ip: { type: 'string', multiple: true }, route: { type: 'string', multiple: true },
  },
  operand: 'guest',
  run: async ({ values, positionals }, io) => {
    const { vlan, trunk, native, isolated, ip: ips, route: routes } = values;
    const change: MetadataChange = { vlan, trunk, native, isolated, ips, routes };
    // Told before libvirt is asked.
    withChange([], '', change);
    await edit(io, { ...editTarget(values, positionals), make: (intents, mac) => withChange(intents, mac, change) });
    return 0;
  },
});

export const unset = command({
  name: 'unset',
  summary: "remove a NIC from a guest's metadata",
  help: `Usage: guestwire unset GUEST --nic MAC

Removes everything that the guest's metadata says about the NIC.

${WHERE}`,
  options: SHARED,
  operand: 'guest',
  run: async ({ values, positionals }, io) => {
    await edit(io, { ...editTarget(values, positionals), make: withoutNic });
    return 0;
  },
});

interface Target {
  readonly name: string;
  readonly mac: string;
  readonly affect: readonly ('live' | 'config')[];
  /** Neither --live nor --config is given. */
  readonly isDefault: boolean;
}

interface Edit extends Target {
  readonly make: (intents: readonly NicMetadata[], mac: string) => NicMetadata[];
}

function editTarget(
  { nic, live, config }: { nic?: string; live?: boolean; config?: boolean }, [name, extra]: readonly string[],
): Target {
  if (name === undefined || extra !== undefined) throw new UsageError('give the name of one guest');
  if (nic === undefined) throw new UsageError("'--nic' is missing: give the MAC of the NIC");
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(nic)) throw new UsageError(`--nic: ${quote(nic)} is not a MAC address: write it as '52:54:00:12:34:56'`);
  // The config first: what cannot be saved must not be changed in the running guest alone.
  const affect = [...(config === true ? ['config' as const] : []), ...(live === true ? ['live' as const] : [])];
  return { name, mac: nic, affect: affect.length === 0 ? ['config', 'live'] : affect, isDefault: affect.length === 0 };
}

async function edit(io: Io, { name, mac, affect, isDefault, make }: Edit): Promise<void> {
  // libvirt gives a user other than root a daemon of its own, and no hook wires the guests there.
  if (isUsersOwn()) {
    throw new HostError("'guestwire set' and 'unset' change guests of this host: run them as root, or, in the group libvirt, with LIBVIRT_DEFAULT_URI=qemu:///system");
  }
  await askLibvirt(io, async (libvirt) => {
    const domain = await domainNamed(libvirt, name);
    const places = affect.filter((place) => place === 'config' || domain.id !== undefined || !isDefault);
    const drafts = [];
    for (const place of places) drafts.push({ place, xml: await draft(io, libvirt, { domain, place, mac, make }) });
    for (const { place, xml } of drafts) {
      const isWritten = await write(libvirt, domain, { affect: place, xml, mayLack: isDefault && drafts.length > 1 });
      if (!isWritten) io.warn(`guest ${quote(domain.name)} is transient and has no persistent config`);
      else io.print(`guest ${quote(domain.name)}: ${place === 'live' ? 'the running guest' : 'its config'} ${xml === undefined ? 'has no guestwire metadata now' : 'is changed'}`);
    }
    if (places.includes('live') && libvirt.transport === 'socket' && process.geteuid?.() === 0 && !await isHeld(
      io.exec, agentLockOf(io.settings),
    )) {
      io.print(`guest ${quote(domain.name)}: no agent runs here: run 'guestwire reconcile ${domain.name}' to rewire it`);
    }
  }, { readOnly: false });
}

interface Draft extends Pick<Edit, 'mac' | 'make'> {
  readonly domain: DomainRef;
  readonly place: 'live' | 'config';
}

/** Returns the element to write. Throws when the guest may not have what it then asks for. */
async function draft(
  io: Io, libvirt: Connection, { domain: ref, place, mac, make }: Draft,
): Promise<string | undefined> {
  const config = io.config.read();
  const domain = parseDomain(await libvirt.domainXml(ref, { from: place === 'live' ? 'live' : 'inactive' }));
  const intents = wholeMetadata(domain);
  // What is left of a NIC that was detached can be taken away, too.
  const nic = intents.some((intent) => intent.mac === mac.toLowerCase()) ? mac.toLowerCase() : assertNic(domain, mac);
  const changed = make(intents, nic);
  const isOfNic = (one: Attachment): boolean => one.mac === nic;
  const wanted = judged(domain, changed, { config, warn: io.warn, without: withoutNic(changed, nic) }).filter(isOfNic);
  if (wanted.length > 0) await assertFree({ io, libvirt }, ref, {
    wanted, had: orNothing(() => deriveAttachments(domain, config, () => undefined)).filter(isOfNic),
  });
  return metadataElement(changed);
}

interface Judging {
  readonly config: HostConfig;
  readonly warn: (line: string) => void;
  /** The metadata without the NIC that is changed. */
  readonly without: readonly NicMetadata[];
}

/**
 * Returns what the guest would ask for. A value that is none is the command line's fault when all is well without it.
 */
function judged(domain: Domain, changed: readonly NicMetadata[], { config, warn, without }: Judging): Attachment[] {
  try {
    return deriveAttachments(domainWith(domain, changed), config, warn);
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    deriveAttachments(domainWith(domain, without), config, () => undefined);
    throw new UsageError(error.message, { cause: error });
  }
}

/** What it had before may be what is to be mended. */
function orNothing(derive: () => Attachment[]): Attachment[] {
  try {
    return derive();
  } catch (error) {
    if (error instanceof GuestwireError) return [];
    throw error;
  }
}

interface Written {
  readonly affect: 'live' | 'config';
  readonly xml: string | undefined;
  /** A transient guest has no config, and that is no error. */
  readonly mayLack: boolean;
}

async function write(libvirt: Connection, domain: DomainRef, { affect, xml, mayLack }: Written): Promise<boolean> {
  try {
    await libvirt.setMetadata(domain, { uri: METADATA_NAMESPACE, key: 'gw', xml, affect });
    return true;
  } catch (error) {
    if (
      mayLack &&
      affect === 'config' &&
      error instanceof LibvirtError &&
      error.refusal.reason === 'VIR_ERR_OPERATION_INVALID'
    ) {
      return false;
    }
    throw error;
  }
}
