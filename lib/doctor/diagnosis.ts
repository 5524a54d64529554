/**
 * What may be wrong with a host that is to carry guests: facts to findings. Pure; each finding says how to repair it.
 */
import type { Finding } from '../attachments/attached.js';
import type { DroppingChain } from '../kernel/forward-chains.js';
import type { Subinterface } from '../kernel/observation.js';
import type { Address, Family } from '../values/address.js';
import { quote, sysctlName } from '../values/quote.js';
import { formatVids } from '../values/vlan.js';

export interface BridgeHealth {
  readonly name: string;
  readonly filtering: boolean;
  readonly defaultPvid: number;
  /** undefined: iproute2 or the kernel does not say. */
  readonly learnsLinkLocal: boolean | undefined;
  readonly snoops: boolean;
  readonly queries: boolean;
  /** Ports towards the world that the host config names, with the VIDs each carries; undefined: it is not a port. */
  readonly uplinks: ReadonlyMap<string, ReadonlySet<number> | undefined>;
}

/** A NIC of a defined guest, as its XML and the host config have it. */
export interface DefinedNic {
  readonly guest: string;
  readonly mac: string | undefined;
  /** Its addresses on a link of its own; undefined: the host routes nothing to it. */
  readonly routed: readonly Address[] | undefined;
  readonly bridge: string | undefined;
  readonly vids: readonly number[];
  /** As nftables writes it: `vnet*` where libvirt gives the name. */
  readonly link: string;
  readonly running: boolean;
}

export interface DoctorFacts {
  readonly bridges: readonly BridgeHealth[];
  readonly subinterfaces: readonly Subinterface[];
  readonly nics: readonly DefinedNic[];
  /** What the kinds report of bridges that guestwire makes; these are not among `bridges`. */
  readonly made: readonly Finding[];
  /** By path below /proc/sys; absent: this kernel does not have it. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Links with a default route from router advertisements, or that the host config names towards the world. */
  readonly uplinks: readonly string[];
  /** Forward chains that drop packets that no rule accepts. */
  readonly dropping: readonly DroppingChain[];
  /** Network daemons that run without guestwire's drop-in. */
  readonly untold: readonly string[];
  /** Faults of the hook, of node, or of what may run them, as install reports them. */
  readonly install: readonly (Omit<Finding, 'why'> & { readonly why?: string })[];
  /** undefined: unknown. */
  readonly libvirt: readonly [number, number] | undefined;
  readonly kernel: readonly [number, number];
}

/** Returns all that is found, the worst first. */
export function diagnose(facts: DoctorFacts): Finding[] {
  const all = [
    ...installFindings, ...versionFindings, ...bridgeFindings, ({ made }: DoctorFacts) => [...made], ...uplinkFindings,
    ...duplicateFindings, ...forwardingFindings, ...sourceFindings, ...tableFindings, ...filterFindings,
    ...daemonFindings,
  ];
  return all.flatMap((check) => check(facts)).sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
}

const ORDER: readonly Finding['severity'][] = ['error', 'warning', 'note'];

type Check = (facts: DoctorFacts) => Finding[];

const installFindings: readonly Check[] = [({ install }) => install.map((finding) => ({ why: 'libvirt starts guests without their network', ...finding }))];

const versionFindings: readonly Check[] = [
  ({ libvirt }) => (libvirt === undefined || atLeast(libvirt, [6, 5]) ? [] : [{
    severity: 'warning', what: `libvirt ${libvirt.join('.')} is old`, why: 'before 6.5 it runs only one hook script, and guestwire is not tested with it', cure: 'apt-get install --only-upgrade libvirt-daemon-system libvirt-clients',
  }]),
  ({ kernel }) => (atLeast(kernel, [5, 10]) ? [] : [{
    severity: 'warning', what: `Linux ${kernel.join('.')} is old`, why: 'its neighbour proxies keep no protocol number, and guestwire is not tested with it', cure: 'apt-get install linux-image-amd64 && reboot',
  }]),
];

const bridgeFindings: readonly Check[] = [
  ({ bridges, nics }) => bridges
    .filter(({ name, filtering }) => !filtering && nics.some(({ bridge, vids }) => bridge === name && vids.length > 0))
    .map(({ name }) => ({
      severity: 'error', what: `bridge ${quote(name)} does not filter VLANs`, why: 'guests that ask for a VLAN on it do not start', cure: `ip link set dev ${name} type bridge vlan_filtering 1`,
    })),
  ({ bridges }) =>
    bridges.filter(({ filtering, defaultPvid }) => filtering && defaultPvid !== 0).map(({ name, defaultPvid }) => ({
      severity: 'warning', what: `bridge ${quote(name)} puts new ports into VLAN ${defaultPvid}`, why: 'a tap receives that VLAN until the hook runs; but the change removes that VLAN from every port that still has it, the host included',
      cure: `ip link set dev ${name} type bridge vlan_default_pvid 0`,
    })),
  ({ bridges }) =>
    bridges.filter(({ filtering, learnsLinkLocal }) => filtering && learnsLinkLocal === true).map(({ name }) => ({
      severity: 'warning', what: `bridge ${quote(name)} learns from link-local frames`, why: "no nftables hook sees frames to LLDP's group address, so a guest can use them to move another guest's MAC to its own port", cure: `ip link set dev ${name} type bridge no_linklocal_learn 1`,
    })),
  ({ bridges }) =>
    bridges.filter(({ snoops, queries, uplinks }) => snoops && !queries && uplinks.size === 0).map(({ name }) => ({
      severity: 'note', what: `bridge ${quote(name)} snoops multicast without a querier`, why: 'without a querier in the VLAN, neighbour solicitations stop reaching guests after some minutes, and IPv6 fails', cure: `ip link set dev ${name} type bridge mcast_querier 1`,
    })),
];

const uplinkFindings: readonly Check[] = [
  ({ bridges, subinterfaces, nics }) => bridges.flatMap(({ name, uplinks }) =>
    subinterfaces.filter(({ parent }) => uplinks.has(parent)).map(({ ifname, parent, vid }): Finding => ({
      severity: nics.some(({ bridge, vids }) => bridge === name && vids.includes(vid)) ? 'error' : 'warning', what: `sub-interface ${quote(ifname)} takes VLAN ${vid} from ${quote(parent)}`,
      why: `bridge ${quote(name)} never receives that VLAN's frames`, cure: `ip link del ${ifname} (its addresses stop working; move them to ${shellWord(name)} first)`,
    }))),
  ({ bridges }) =>
    bridges.flatMap(({ name, uplinks }) => [...uplinks].flatMap(([dev, vids]): Finding[] => (vids ? [] : [{
      severity: 'error', what: `uplink ${quote(dev)} is not a port of bridge ${quote(name)}`, why: "guests' VLANs do not leave this host through it", cure: `ip link set dev ${dev} master ${name}`,
    }]))),
  // Another program removed VLANs that guestwire put there: guestwire adds them at each start.
  ({ bridges, nics }) => bridges.flatMap(({ name, uplinks }) => [...uplinks].flatMap(([dev, carried]): Finding[] => {
    const used = nics.filter(({ bridge, running }) => running && bridge === name).flatMap(({ vids }) => vids);
    const missing = carried === undefined
      ? []
      : [...new Set(used)].filter((vid) => !carried.has(vid)).sort((a, b) => a - b);
    return missing.length === 0 ? [] : [{ severity: 'error', what: `uplink ${quote(dev)} does not carry VLANs ${formatVids(missing)}`, why: 'running guests use them, and reach nothing outside this host', cure: 'guestwire reconcile --all' }];
  })),
  // guestwire keeps VIDs on uplinks that the host config names; without an uplink there, the administrator has to.
  ({ bridges, nics }) => bridges.filter(({ uplinks }) => uplinks.size === 0).flatMap(({ name }): Finding[] => {
    const vids = nics.filter(({ bridge }) => bridge === name).flatMap((nic) => nic.vids);
    return vids.length === 0 ? [] : [{ severity: 'note', what: `bridge ${quote(name)} has no uplink in the host config`, why: `its guests use VLANs ${formatVids([...new Set(vids)])}, but no uplink carries them`, cure: `uplinks = ["..."] in [bridge.${name}] of the host config` }];
  }),
];

const duplicateFindings: readonly Check[] = [
  ({ nics }) =>
    twice(nics.flatMap(({ guest, routed = [] }) => routed.map(({ text }) => ({ key: text, guest })))).map(({
      key, guests,
    }) => ({
      severity: 'error', what: `address ${quote(key)} belongs to guests ${guests.map(quote).join(' and ')}`, why: 'the second one that starts is refused', cure: `virsh edit ${shellWord(guests.at(-1) ?? '')}`,
    })),
  ({ nics }) =>
    twice(nics.flatMap(({ guest, mac }) => (mac === undefined ? [] : [{ key: mac, guest }]))).map(({
      key, guests,
    }) => ({
      severity: 'warning', what: `MAC ${key} belongs to guests ${guests.map(quote).join(' and ')}`, why: 'in one VLAN each receives frames for the other', cure: `virsh edit ${shellWord(guests.at(-1) ?? '')}`,
    })),
];

function twice(
  list: readonly { readonly key: string; readonly guest: string }[],
): { readonly key: string; readonly guests: readonly string[] }[] {
  const guests = new Map<string, string[]>();
  for (const { key, guest } of list) guests.set(key, [...(guests.get(key) ?? []), guest]);
  return [...guests].filter(([, names]) => names.length > 1).map(([key, names]) => ({ key, guests: names }));
}

function uses({ nics }: DoctorFacts, family: Family): boolean {
  return nics.some(({ routed = [] }) => routed.some((address) => address.family === family));
}

const forwardingFindings: readonly Check[] = [
  (facts) => (uses(facts, 'inet') && facts.sysctls.get('net/ipv4/ip_forward') === '0' ? [{
    severity: 'error', what: 'this host does not forward IPv4', why: 'guests on routed links do not start',
    cure: 'sysctl -w net.ipv4.ip_forward=1',
  }] : []),
  (facts) => (uses(facts, 'inet6') && facts.sysctls.get('net/ipv6/conf/all/forwarding') === '0'
    ? [{
      severity: 'error', what: 'this host does not forward IPv6', why: 'guests on routed links do not start', cure: `sysctl -w ${[...raLinks(facts, '1').map((dev) => `${sysctlName(`net/ipv6/conf/${dev}/accept_ra`)}=2`), 'net.ipv6.conf.all.forwarding=1'].join(' ')}`,
    }]
    : []),
  (facts) => (facts.sysctls.get('net/ipv6/conf/all/forwarding') !== '1' ? [] : raLinks(facts, '1').map((dev) => ({
    severity: 'warning', what: `${quote(dev)} ignores router advertisements, because this host forwards`, why: 'a default route learned from them is gone, or disappears when it expires', cure: `sysctl -w ${sysctlName(`net/ipv6/conf/${dev}/accept_ra`)}=2`,
  }))),
];

function raLinks({ uplinks, sysctls }: DoctorFacts, value: string): string[] {
  return uplinks.filter((dev) => sysctls.get(`net/ipv6/conf/${dev}/accept_ra`) === value);
}

const sourceFindings: readonly Check[] = [
  ({ uplinks, sysctls }) => uplinks.filter((dev) => Math.max(
    ...['all', dev].map((name) => Number(sysctls.get(`net/ipv4/conf/${name}/rp_filter`) ?? 0)),
  ) === 1).map((dev) => ({
    severity: 'note', what: `rp_filter is strict on ${quote(dev)}`, why: 'the kernel drops packets that arrive on another link than its own route to their sender uses', cure: `sysctl -w ${sysctlName(`net/ipv4/conf/${dev}/rp_filter`)}=2`,
  })),
  // The greater of the two is in force, so a loose `all` takes the strict check from every guest's link.
  ({ sysctls }) => (sysctls.get('net/ipv4/conf/all/rp_filter') === '2'
    ? [{ severity: 'warning', what: 'rp_filter of all links is loose', why: "it overrides the strict check on guests' links, and the host answers ARP requests with forged senders", cure: 'sysctl -w net.ipv4.conf.all.rp_filter=0' }]
    : []),
];

const tableFindings: readonly Check[] = [
  ({ nics, sysctls }) => (['ipv4', 'ipv6'] as const).flatMap((family): Finding[] => {
    const most = Number(sysctls.get(`net/${family}/neigh/default/gc_thresh3`) ?? Infinity);
    // A guest is a neighbour by its address and its link-local one, and what it learns of others takes as much again.
    const needed = nics.filter(({ routed }) => routed !== undefined).length * 4;
    return needed < most / 2 ? [] : [{ severity: 'warning', what: `the ${family} neighbour table has room for ${most}`, why: `the guests may need ${needed} entries, and a full table makes guests unreachable at random`, cure: `sysctl -w net.${family}.neigh.default.gc_thresh3=${needed * 4} net.${family}.neigh.default.gc_thresh2=${needed * 2}` }];
  }),
];

const filterFindings: readonly Check[] = [
  ({ sysctls }) => ['iptables', 'ip6tables', 'arptables']
    .filter((name) => sysctls.get(`net/bridge/bridge-nf-call-${name}`) === '1')
    .map((name) => ({
      severity: 'warning', what: `bridged frames go through ${name}`, why: "rules for the host's own traffic, such as Docker's, then drop traffic between guests in one VLAN", cure: `sysctl -w net.bridge.bridge-nf-call-${name}=0`,
    })),
  ({ dropping, nics }) => dropping.flatMap((chain): Finding[] => {
    const links = [...new Set(nics
      .filter(({ routed }) => routed !== undefined)
      .map(({ link }) => link))];
    const [from, to] = [
      links.filter((link) => !isAmong(link, chain.from)), links.filter((link) => !isAmong(link, chain.to)),
    ];
    if (from.length + to.length === 0) return [];
    return [{
      severity: 'warning', what: `chain ${quote(chain.name)} drops packets that no rule accepts`, cure: [
        ...from.map((link) => acceptOf(chain, 'from', link)), ...to.map((link) => acceptOf(chain, 'to', link)),
      ].join(' && '),
      why: "Docker, ufw, firewalld or an administrator set this, and it drops traffic of guests on routed links; they may write the chain again, so add the rule to their configuration",
    }];
  }),
];

function isAmong(link: string, accepted: readonly string[]): boolean {
  return accepted.some((one) => one === link || (one.endsWith('*') && link.startsWith(one.slice(0, -1))));
}

/** First in the chain, because whatever drops may stand anywhere. */
function acceptOf({ kind, name }: DroppingChain, side: 'from' | 'to', link: string): string {
  if (kind === 'legacy') return `${name} -I FORWARD ${side === 'from' ? '-i' : '-o'} ${link.replace(/\*$/, '+')} -j ACCEPT`;
  return `nft insert rule ${name} ${side === 'from' ? 'iifname' : 'oifname'} '"${link}"' accept`;
}

const daemonFindings: readonly Check[] = [
  ({ untold }) => untold.map((name) => ({ severity: 'warning', what: `${name} runs without guestwire's drop-in`, why: 'it may remove routes of guest links, or take over their taps', cure: 'guestwire install --drop-ins' })),
];

function atLeast([major, minor]: readonly [number, number], [least, lesser]: readonly [number, number]): boolean {
  return major > least || (major === least && minor >= lesser);
}

/** Returns a name as one word of a shell. */
function shellWord(name: string): string {
  return /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}
