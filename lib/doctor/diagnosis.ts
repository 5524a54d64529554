/**
 * What may be wrong with a host that is to carry guests: facts to findings. Pure; each finding says how to repair it.
 */
import { isAmong } from '../attachments/chain-cures.js';
import type { Finding, HostFacts } from '../attachments/health-facts.js';
import { HEALTH } from '../attachments/health.js';
import { quote, shellWord, sysctlName } from '../values/quote.js';
import { namingFindings, type NamingFacts } from './naming.js';

export interface DoctorFacts extends HostFacts, NamingFacts {
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
    ...installFindings, ...versionFindings,
    ...HEALTH.flatMap(({ findings, cuts }) => (cuts === undefined ? [findings] : [findings, cuts])),
    namingFindings, ...duplicateFindings,
    ...sourceFindings, ...filterFindings, ...daemonFindings,
  ];
  return all.flatMap((check) => check(facts)).sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
}

const ORDER: readonly Finding['severity'][] = ['error', 'warning', 'note'];

type Check = (facts: DoctorFacts) => readonly Finding[];

const installFindings: readonly Check[] = [({ install }) => install.map((finding) => ({ why: 'libvirt starts guests without their network', ...finding }))];

const versionFindings: readonly Check[] = [
  ({ libvirt }) => (libvirt === undefined || atLeast(libvirt, [6, 5]) ? [] : [{
    severity: 'warning', what: `libvirt ${libvirt.join('.')} is old`, why: 'before 6.5 it runs only one hook script, and guestwire is not tested with it', cure: 'apt-get install --only-upgrade libvirt-daemon-system libvirt-clients',
  }]),
  ({ kernel }) => (atLeast(kernel, [5, 10]) ? [] : [{
    severity: 'warning', what: `Linux ${kernel.join('.')} is old`, why: 'its neighbour proxies keep no protocol number, and guestwire is not tested with it', cure: 'apt-get install linux-image-amd64, and a reboot when the guests allow it',
  }]),
];

const duplicateFindings: readonly Check[] = [
  ({ nics }) =>
    twice(nics.flatMap(({ guest, routed = [] }) => routed.map(({ text }) => ({ key: text, guest })))).map(({
      key, guests,
    }) => ({
      severity: 'error', what: `address ${quote(key)} belongs to guests ${guests.map(quote).join(' and ')}`, why: 'only the guest that had it last starts, or the first one', cure: `virsh edit ${shellWord(guests.at(-1) ?? '')}`,
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

const sourceFindings: readonly Check[] = [
  ({ uplinks, sysctls }) => uplinks.filter((dev) => Math.max(
    ...['all', dev].map((name) => Number(sysctls.get(`net/ipv4/conf/${name}/rp_filter`) ?? 0)),
  ) === 1).map((dev) => ({
    severity: 'note', what: `rp_filter is strict on ${quote(dev)}`, why: 'the kernel drops packets that arrive on another link than its own route to their sender uses', cure: `sysctl -w ${sysctlName(`net/ipv4/conf/${dev}/rp_filter`)}=2`,
  })),
  // The greater of the two is in force, so a loose `all` takes the strict check from every guest's link.
  (facts) => (facts.sysctls.get('net/ipv4/conf/all/rp_filter') === '2'
    ? [{ severity: 'warning', what: 'rp_filter of all links is loose', why: "it overrides the strict check on guests' links, and the host answers ARP requests with forged senders", cure: `sysctl -w ${[...strictLinks(facts).map((dev) => `${sysctlName(rpFilter(dev))}=2`), 'net.ipv4.conf.all.rp_filter=0'].join(' ')}` }]
    : []),
];

/** Links that become strict when `all` is loose no more: the host may be reachable through them by another way. */
function strictLinks({ sysctls, nics }: DoctorFacts): string[] {
  const guests = nics.map(({ link }) => link);
  return [...sysctls].flatMap(([path, value]) => {
    const dev = /^net\/ipv4\/conf\/(.+)\/rp_filter$/.exec(path)?.[1];
    return dev === undefined || value !== '1' || dev === 'all' || isAmong(dev, guests) ? [] : [dev];
  });
}

function rpFilter(dev: string): string {
  return `net/ipv4/conf/${dev}/rp_filter`;
}

const filterFindings: readonly Check[] = [
  ({ sysctls, nics, allBridges }) => {
    const used = new Set(nics.flatMap(({ bridge }) => bridge ?? []));
    if (used.size === 0) return [];
    // A bridge of Docker or Kubernetes keeps what it has of the setting for all.
    const others = allBridges.filter((name) => !used.has(name));
    return ['iptables', 'ip6tables', 'arptables']
      .filter((name) => sysctls.get(`net/bridge/bridge-nf-call-${name}`) === '1')
      .map((name) => ({
        severity: 'warning', what: `bridged frames go through ${name}`, why: "rules for the host's own traffic, such as Docker's, then drop traffic between guests in one VLAN; Docker and Kubernetes need this on their own bridges and may turn it on again: docs/host.md says what to do there",
        cure: [...others.map((bridge) => `ip link set dev ${bridge} type bridge nf_call_${name} 1`), `sysctl -w net.bridge.bridge-nf-call-${name}=0`].join(' && '),
      }));
  },
];

const daemonFindings: readonly Check[] = [
  ({ untold }) => untold.map((name) => ({ severity: 'warning', what: `${name} runs without guestwire's drop-in`, why: 'it may remove routes of guest links, or take over their taps', cure: 'guestwire install --drop-ins' })),
];

function atLeast([major, minor]: readonly [number, number], [least, lesser]: readonly [number, number]): boolean {
  return major > least || (major === least && minor >= lesser);
}
