/** What `doctor` finds about bridges that filter VLANs, and about their uplinks. */
import { quote } from '../../values/quote.js';
import { formatVids } from '../../values/vlan.js';
import { distinct } from '../attached.js';
import { throughCure } from '../chain-cures.js';
import type { Finding, HostFacts, KindHealth } from '../health-facts.js';
import { hostAddresses } from '../own-network.js';
import { taken } from './check.js';
import { FILTERING_CUTS, unfiltered, withoutDefault } from './filtering.js';

export const portHealth: KindHealth = {
  scope: ({ config, names }) => ({
    links: distinct([...names, ...names.flatMap((name) => config.bridges.get(name)?.uplinks ?? [])]),
    bridges: names, subinterfaces: names.length > 0,
  }),
  findings: (facts) => [...BRIDGES, ...UPLINKS].flatMap((check) => check(facts)),
  cuts: ({ dropping, nics }) => dropping.filter(({ family }) => family === 'bridge').flatMap((chain): Finding[] => {
    const links = distinct(nics.filter(({ bridge }) => bridge !== undefined).map(({ link }) => link));
    const cure = throughCure(chain, links);
    return cure === undefined ? [] : [{ severity: 'warning', what: `chain ${quote(chain.name)} drops frames that no rule accepts`, why: 'it drops what guests on bridges send and receive; add the rule to the configuration of the program that makes the chain', cure }];
  }),
};

type Check = (facts: HostFacts) => Finding[];

const BRIDGES: readonly Check[] = [
  ({ bridges, nics, observation }) => bridges
    .filter(({ name, filtering }) => !filtering && nics.some(({ bridge, vids }) => bridge === name && vids.length > 0))
    .map(({ name, uplinks }) => {
      const { what, cure } = unfiltered(name, [...uplinks.keys()], observation);
      return { severity: 'error', what, cure, why: `guests that ask for a VLAN on it do not start; once it filters, ${FILTERING_CUTS}` };
    }),
  ({ bridges, observation }) =>
    bridges.filter(({ filtering, defaultPvid }) => filtering && defaultPvid !== 0).map(({ name, defaultPvid }) => ({
      severity: 'warning', what: `bridge ${quote(name)} puts new ports into VLAN ${defaultPvid}`, why: 'a tap receives that VLAN until the hook runs; the cure ends that, and gives the VLAN back at once to the bridge and the ports that have it now',
      cure: withoutDefault(name, defaultPvid, observation),
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

const UPLINKS: readonly Check[] = [
  ({ bridges, subinterfaces, nics, observation }) => bridges.flatMap(({ name, uplinks }) => {
    const used = nics.filter(({ bridge }) => bridge === name).flatMap(({ vids }) => vids);
    const tags = observation.links.get(name)?.bridge?.protocol;
    return subinterfaces
      .filter(({ parent, vid, protocol }) => uplinks.has(parent) && used.includes(vid) && protocol === tags)
      .map((sub): Finding => ({ severity: 'error', ...taken(sub, name), why: 'guests that ask for that VLAN do not start' }));
  }),
  (facts) => facts.bridges.flatMap(({ name, uplinks }) => [...uplinks].flatMap(([dev, vids]): Finding[] =>
    (vids === undefined ? [outside(dev, name, facts)] : []))),
  ({ bridges, nics }) => bridges.flatMap(({ name, uplinks }) => [...uplinks.keys()].flatMap((dev): Finding[] => {
    const guest = nics.find(({ link }) => link === dev || (link === 'vnet*' && /^vnet[0-9]+$/.test(dev)))?.guest;
    return guest === undefined ? [] : [{
      severity: 'error', what: `uplink ${quote(dev)} of bridge ${quote(name)} can be the link of guest ${quote(guest)}`, why: "all guests' VLANs on the bridge go to that guest", cure: `name a link towards the world in 'uplinks' of [bridge.${name}]`,
    }];
  })),
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

/** An uplink that is not a port of its bridge. A port receives nothing for itself, so it may not carry the host. */
function outside(dev: string, bridge: string, { observation: { links }, uplinks }: HostFacts): Finding {
  const finding = (fault: string, cure: string): Finding => ({
    severity: 'error', what: `uplink ${quote(dev)} ${fault}`, why: "guests' VLANs do not leave this host through it", cure,
  });
  const facts = links.get(dev);
  if (facts === undefined) return finding(`of bridge ${quote(bridge)} does not exist`, `uplinks = ["..."] in [bridge.${bridge}] of the host config`);
  const fault = `is not a port of bridge ${quote(bridge)}`;
  if (facts.master !== undefined) return finding(fault, `name ${quote(facts.master)} in its place in 'uplinks', or take it out of ${quote(facts.master)} if nothing there needs it`);
  const [address] = hostAddresses(facts);
  if (address === undefined && !uplinks.includes(dev)) return finding(fault, `ip link set dev ${dev} master ${bridge}`);
  const carried = address === undefined ? 'a default route' : quote(address);
  return finding(fault, `it carries ${carried} of this host, which a port of a bridge cannot: move the host's addresses and routes to ${quote(bridge)} with a console at hand (docs/vlan.md)`);
}
