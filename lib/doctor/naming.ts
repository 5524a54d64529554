/**
 * Names in the host config and in permissions that this host does not have, and NICs that no source mentions. A typing
 * error or a rename otherwise leaves a guest without its network in silence.
 */
import type { Finding } from '../attachments/health-facts.js';
import { guardOf } from '../attachments/attachment.js';
import type { Attachment, Wired } from '../attachments/kinds.js';
import { bridgeNamed } from '../config/bridge-tables.js';
import type { HostConfig } from '../config/host-config.js';
import { tableHeader } from '../config/toml.js';
import type { Domain } from '../domain/domain.js';
import { guestLabel, nicLabel } from '../domain/guest.js';
import type { Peer } from '../intent/policy.js';
import { quote, shellWord } from '../values/quote.js';
import { isUuid } from '../values/uuid.js';

/** A guest that libvirt defines here, and what it asks for. */
export interface DefinedGuest {
  readonly domain: Domain;
  /** undefined: guestwire refuses what it asks for. Another warning has the reason. */
  readonly attachments: readonly Attachment[] | undefined;
}

export interface AskedGuest {
  readonly guest: string;
  readonly attachments: readonly (Attachment | Wired)[];
}

export interface NamingFacts {
  readonly config: HostConfig;
  readonly defined: readonly DefinedGuest[];
  /** What guests have here: those that are defined, or, while libvirt does not answer, those that are wired. */
  readonly asked: readonly AskedGuest[];
  /** Names of all bridges of the host. */
  readonly allBridges: readonly string[];
}

/** Returns the findings; those about names need libvirt's answer. */
export function namingFindings(facts: NamingFacts): Finding[] {
  const named = facts.defined.length === 0 ? [] : [tableFindings, bridgeFindings, peerFindings, unmentioned];
  return [...named, unfiltered].flatMap((check) => check(facts));
}

function tableFindings({ config, defined }: NamingFacts): Finding[] {
  return [...config.guests].flatMap(([key, nics]): Finding[] => {
    const owner = defined.find(({ domain: { name, uuid } }) => key === (isUuid(key) ? uuid : name));
    if (owner !== undefined) return [];
    const holders = defined.filter(({ domain }) => domain.nics.some(({ mac }) => mac !== undefined && nics.has(mac)));
    const what = `${tableHeader(['guest', key])} of the host config names no guest of this host`;
    const [holder] = holders;
    if (holder === undefined) return [{ severity: 'note', what, why: 'a guest with another name starts without what the table says', cure: 'correct the name, or remove the table' }];
    const { name, uuid = name } = holder.domain;
    return [{
      severity: 'warning', what: `${what}, and guest ${quote(name)} has a NIC with a MAC of that table`, why: 'that NIC has no filter and no address from the table',
      cure: `rename the table to [guest."${uuid}"] in the host config: a UUID survives 'virsh domrename'`,
    }];
  });
}

function bridgeFindings({ config, allBridges }: NamingFacts): Finding[] {
  return [...config.bridges].flatMap(([name, { made }]): Finding[] => (made !== undefined || allBridges.includes(name)
    ? []
    : [{ severity: 'warning', what: `bridge ${quote(name)} of the host config does not exist`, why: 'what its table says holds for no guest', cure: `correct the name in ${tableHeader(['bridge', name])}, or make the bridge (docs/vlan.md)` }]));
}

/** A permission for an unknown name opens nothing. */
function peerFindings({ defined }: NamingFacts): Finding[] {
  const guests = new Set(defined.map(({ domain }) => domain.name));
  const policies = defined.flatMap(({ domain, attachments = [] }) =>
    attachments.flatMap((one) => {
      const policy = guardOf(one)?.policy;
      return policy === undefined ? [] : [{ guest: domain.name, policy }];
    }));
  const groups = new Set(policies.flatMap(({ policy }) => policy.groups));
  const isMissing = (peer: Peer): boolean =>
    (peer.kind === 'guest' && !guests.has(peer.name)) || (peer.kind === 'group' && !groups.has(peer.name));
  const texts = policies.flatMap(({ guest, policy }) => policy.allows.flatMap(({ peers }) =>
    peers.filter(isMissing).map((peer) => `${guest}\n${peer.kind}\n${'name' in peer ? peer.name : ''}`)));
  return [...new Set(texts)].map((text): Finding => {
    const [guest = '', kind = '', name = ''] = text.split('\n');
    const lack = kind === 'group' ? `group ${quote(name)}, in which no NIC is` : `guest ${quote(name)}, which this host does not have`;
    return { severity: 'warning', what: `a permission of ${guestLabel(guest)} names ${lack}`, why: 'the permission lets nothing pass for it', cure: `virsh edit ${shellWord(guest)}` };
  });
}

function unmentioned({ config, defined }: NamingFacts): Finding[] {
  const used = new Set(defined.flatMap(({ attachments = [] }) =>
    attachments.flatMap((one) => guardOf(one)?.bridge ?? [])));
  return defined.flatMap(({ domain, attachments }) => (attachments === undefined ? [] : domain.nics)
    .filter(({ index }) => attachments?.every(({ nic }) => nic !== index) === true)
    .flatMap((nic): Finding[] => {
      const what = `nothing mentions ${nicLabel(domain.name, nic)}`;
      if (nic.joins.kind === 'ethernet') {
        return [{ severity: 'note', what, why: 'its tap has no filter, no address and no route from guestwire', cure: `virsh edit ${shellWord(domain.name)}` }];
      }
      if (nic.joins.kind !== 'bridge') return [];
      const { bridge } = nic.joins;
      if (!used.has(bridge) && bridgeNamed(config, bridge) === undefined) return [];
      return [{ severity: 'note', what: `${what} on bridge ${quote(bridge)}`, why: 'it has the VLANs that the bridge gives a new port, and no filter', cure: `vlan = { tags = [...] } or undeclared = "refuse" in ${tableHeader(['bridge', bridge])} of the host config` }];
    }));
}

function unfiltered({ asked }: NamingFacts): Finding[] {
  const found = new Map<string, string[]>();
  for (const { guest, attachments } of asked) {
    for (const one of attachments) {
      const guard = guardOf(one);
      if (guard === undefined || guard.filters) continue;
      const bridge = guard.bridge ?? '';
      found.set(bridge, [...new Set([...found.get(bridge) ?? [], guest])]);
    }
  }
  return [...found].map(([bridge, guests]): Finding => ({
    severity: 'note', what: `guestwire does not filter NICs of ${guests.map(guestLabel).join(', ')} on bridge ${quote(bridge)}`, why: "only libvirt's <vlan> or [bridge] names their VLANs", cure: `filter = "all" in ${tableHeader(['bridge', bridge])} of the host config, if these guests need no DHCP server or router advertisements of their own`,
  }));
}
