/**
 * The question before a start: does any neighbour on the LAN have an address of the guest? Asked on the links on which
 * the host will answer for the guest, for all addresses at once. Silence proves nothing, an answer does.
 */
import { proxiesOf } from '../attachments/attachment.js';
import type { Attachment } from '../attachments/kinds.js';
import { unusable } from '../attachments/presence.js';
import { guestLabel, nicLabel } from '../domain/guest.js';
import { CommandError, ConflictError, HostError } from '../errors.js';
import type { Kernel } from '../kernel/kernel.js';
import { EMPTY_SCOPE, type LinkFacts } from '../kernel/observation.js';
import type { Exec } from '../system/exec.js';
import type { Log } from '../system/log.js';
import { exchange, type Frame } from '../system/raw-socket.js';
import type { Address } from '../values/address.js';
import { quote } from '../values/quote.js';
import { claimIn, probeFrame } from './frames.js';

export interface Probing {
  readonly exec: Exec;
  readonly kernel: Pick<Kernel, 'observe'>;
  readonly log: Pick<Log, 'warn'>;
}

/**
 * Milliseconds of each round. A host that answers for others waits up to 800 ms unless told otherwise (proxy_delay), so
 * the second question is for lost frames only; in all, a guest with free addresses starts 0.9 s later.
 */
const ROUNDS = [350, 550];

/**
 * Throws ConflictError when a neighbour has an address of the guest, HostError when no neighbour can be asked because
 * the tool is missing. A link that cannot be used now is a warning: such a link has no neighbours.
 */
export async function probeNeighbours(
  { exec, kernel, log }: Probing, guest: string, attachments: readonly Attachment[],
): Promise<void> {
  const devs = [...new Set(proxiesOf(attachments).map(({ dev }) => dev))];
  if (devs.length === 0) return;
  const { links } = await kernel.observe({ ...EMPTY_SCOPE, links: devs });
  const skip = (dev: string, reason: string): void => { log.warn(`guest ${quote(guest)}: cannot probe the neighbours on ${quote(dev)} for its addresses: ${reason}`); };
  const usable = new Map<string, LinkFacts & { readonly mac: string }>();
  for (const dev of devs) {
    const facts = links.get(dev);
    const fault = unusable(facts) ?? (facts?.mac === undefined ? 'has no Ethernet address' : undefined);
    if (fault === undefined && facts?.mac !== undefined) usable.set(dev, { ...facts, mac: facts.mac });
    else skip(dev, `it ${fault ?? ''}`);
  }
  const { heard, faults } = await ask(exec, guest, framesFor(attachments, usable));
  for (const { dev, reason } of faults) skip(dev, reason);
  const own = new Set([...usable.values()].map(({ mac }) => mac));
  for (const { dev, bytes } of heard) {
    const claim = claimIn(bytes);
    const holder = claim && attachments.find((one) =>
      proxiesOf([one]).some(({ dev: asked, address }) => asked === dev && address.text === claim.address.text));
    if (claim === undefined || holder === undefined || own.has(claim.mac)) continue;
    throw new ConflictError(`${quote(claim.address.text)} is in use on ${quote(dev)} by MAC ${quote(claim.mac)}: give the guest another address, or remove it there`)
      .placeAt({ guest, nic: holder.nic, mac: holder.mac }, nicLabel(guest, { index: holder.nic, mac: holder.mac }));
  }
}

type Usable = ReadonlyMap<string, LinkFacts & { readonly mac: string }>;

function framesFor(attachments: readonly Attachment[], usable: Usable): Frame[] {
  return proxiesOf(attachments).flatMap(({ dev, address }) => {
    const facts = usable.get(dev);
    return facts === undefined ? [] : [{ dev, bytes: probeFrame(facts.mac, address, askingAddress(facts, address)) }];
  });
}

/**
 * The host's address on the link, best one in the network of the address that is asked for: any other may get no
 * answer.
 */
function askingAddress({ addresses }: LinkFacts, asked: Address): Address | undefined {
  const own = addresses.filter(({ address }) => address.family === 'inet');
  const network = ({ text }: Address, length: number): number =>
    Math.floor(text.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0) / 2 ** (32 - length));
  const near = own.find(({ address, length }) => network(address, length) === network(asked, length));
  return (near ?? own[0])?.address;
}

async function ask(exec: Exec, guest: string, frames: readonly Frame[]): ReturnType<typeof exchange> {
  if (frames.length === 0) return { heard: [], faults: [] };
  try {
    return await exchange(exec, frames, ROUNDS);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw new HostError(`cannot probe its neighbours for its addresses: ${error.message}: install perl (package perl-base), or set 'probe = false' in [routed] of the host config`, { cause: error })
      .placeAt({ guest }, guestLabel(guest));
  }
}
